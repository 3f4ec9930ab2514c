import type { Command } from "commander";
import { tenantId } from "../../core/ids.ts";
import { findAddressProblem } from "../../core/webhook-address.ts";
import { makeWebhookSecret } from "../../core/webhook-secret.ts";
import type { WebhookRow } from "../../core/webhook-store.ts";
import { nameArgument } from "../arguments.ts";
import { CliError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { operatorName } from "../operator-name.ts";
import { formatTable } from "../output.ts";
import { withStore } from "../with-store.ts";

interface Options {
  readonly json?: true;
}

const MOST_SHOWN = 1_000;

/** `ballast webhooks`: where tenants' changes are sent. */
export function addWebhooksCommand(program: Command, context: CommandContext): void {
  const command = program
    .command("webhooks")
    .description("Where each tenant's changes are sent, at most one address a tenant")
    .addHelpText(
      "after",
      `
Changes are sent in order and at least once, signed as the Standard Webhooks specification says (HMAC-SHA256 over
webhook-id, webhook-timestamp and the body). What is not answered with 2xx is sent again, later each time; after three
days of that, or a 410, the webhook is disabled and keeps its place. Private addresses: BALLAST_WEBHOOK_PRIVATE.

Examples:
  ballast webhooks set acme https://app.example/ballast > acme.secret
  ballast webhooks show
  ballast webhooks resume acme`,
    );
  addSet(command, context);
  addShow(command, context);
  addOne(command, context, { name: "resume", does: "Try a webhook again now, a disabled one too" });
  addOne(command, context, { name: "remove", does: "Send a tenant's changes nowhere any more" });
}

function addSet(command: Command, context: CommandContext): void {
  command
    .command("set")
    .description("Send a tenant's changes to an address; the new secret is shown this once")
    .argument("<tenant>", "whose changes", nameArgument)
    .argument("<url>", "https, without name and password")
    .option("--json", "one JSON document")
    .action((tenant: string, url: string, options: Options) =>
      runs<Options>(context, () => set({ tenant, url }, options, context))(options),
    );
}

function set(
  { tenant, url }: { readonly tenant: string; readonly url: string },
  options: Options,
  context: CommandContext,
): Promise<ExitCode> {
  return withStore(context, async (store, config) => {
    const { clock, output } = context;
    const problem = findAddressProblem(url, { allowPrivate: config.allowPrivateWebhooks });
    if (problem !== undefined) {
      throw new CliError(`A webhook cannot point at ${JSON.stringify(url)}: ${problem}.`, {
        exitCode: EXIT.usage,
        code: "BALLAST_WEBHOOK_ADDRESS",
        next: "an https address that everybody can reach; or BALLAST_WEBHOOK_PRIVATE=allow, for the workers too",
      });
    }
    const secret = makeWebhookSecret();
    const by = { actor: operatorName(), now: clock.now() };
    const outcome = await store.webhooks.set(tenantId(tenant), { url, secret }, by);
    if (outcome === "unknown-tenant") {
      throw new CliError(`There is no tenant ${tenant}: it has no account yet.`, {
        exitCode: EXIT.failure,
        code: "BALLAST_UNKNOWN_TENANT",
        next: `ballast connect --tenant ${tenant} --account …    (makes it known)`,
      });
    }
    if (options.json) output.json({ tenant, url, outcome, secret });
    else {
      output.data(secret);
      output.say(
        outcome === "created"
          ? `Changes of ${tenant} go to ${url} from now on. The secret is not shown again.`
          : `Changes of ${tenant} go to ${url}, on from where they were; the secret before this one is no longer used.`,
      );
    }
    return EXIT.ok;
  });
}

function addShow(command: Command, context: CommandContext): void {
  command
    .command("show")
    .description("Show webhooks with their state, the last failure and when they are tried again")
    .argument("[tenant]", "of one tenant", nameArgument)
    .option("--json", "one JSON document")
    .action((tenant: string | undefined, options: Options) =>
      runs<Options>(context, () => show(tenant, options, context))(options),
    );
}

function show(
  tenant: string | undefined,
  options: Options,
  context: CommandContext,
): Promise<ExitCode> {
  return withStore(context, async (store) => {
    const { output } = context;
    const one = tenant === undefined ? undefined : await store.webhooks.get(tenantId(tenant));
    if (tenant !== undefined && one === undefined) throw unknownWebhook(tenant);
    const rows = one === undefined ? await store.webhooks.list({ limit: MOST_SHOWN }) : [one];
    if (options.json) {
      output.json({ webhooks: rows.map(toJson) });
      return EXIT.ok;
    }
    if (rows.length === 0) {
      output.say("No webhooks. next: ballast webhooks set --help");
      return EXIT.ok;
    }
    output.data(
      formatTable(
        ["TENANT", "URL", "STATE", "WHY", "FAILING SINCE", "TRIED AGAIN", "DELIVERED"],
        rows.map((row) => [
          row.tenantId,
          row.url,
          row.state,
          row.reason ?? "",
          showMoment(row.failingSince),
          row.state === "failing" ? showMoment(row.dueAt) : "",
          showMoment(row.deliveredAt),
        ]),
      ),
    );
    return EXIT.ok;
  });
}

function toJson(row: WebhookRow): Readonly<Record<string, unknown>> {
  return {
    ...row,
    reason: row.reason ?? null,
    failingSince: row.failingSince ?? null,
    deliveredAt: row.deliveredAt ?? null,
  };
}

function showMoment(at: number | undefined): string {
  return at === undefined ? "" : new Date(at).toISOString().slice(0, 16).replace("T", " ");
}

function addOne(
  command: Command,
  context: CommandContext,
  { name, does }: { readonly name: "resume" | "remove"; readonly does: string },
): void {
  const run = (tenant: string, options: Options): Promise<ExitCode> =>
    withStore(context, async (store) => {
      const by = { actor: operatorName(), now: context.clock.now() };
      const outcome = await store.webhooks[name](tenantId(tenant), by);
      if (outcome === "unknown-webhook") throw unknownWebhook(tenant);
      if (options.json) context.output.json({ tenant, outcome });
      else context.output.data(`The webhook of ${tenant} is ${outcome}.`);
      return EXIT.ok;
    });
  command
    .command(name)
    .description(does)
    .argument("<tenant>", "whose webhook", nameArgument)
    .option("--json", "one JSON document")
    .action((tenant: string, options: Options) =>
      runs<Options>(context, () => run(tenant, options))(options),
    );
}

function unknownWebhook(tenant: string): CliError {
  return new CliError(`There is no webhook of ${tenant}.`, {
    exitCode: EXIT.failure,
    code: "BALLAST_UNKNOWN_WEBHOOK",
    next: "ballast webhooks show",
  });
}
