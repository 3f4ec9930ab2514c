import { InvalidArgumentError, type Command } from "commander";
import { tenantId } from "../../core/ids.ts";
import {
  makeApiToken,
  TENANT_SCOPES,
  type ApiTokenRow,
  type TenantScope,
} from "../../core/token-store.ts";
import { nameArgument, wholeNumber } from "../arguments.ts";
import { CliError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { operatorName } from "../operator-name.ts";
import { formatTable } from "../output.ts";
import { withStore } from "../with-store.ts";

/** `ballast tokens`: who may call the HTTP API for a tenant. */
export function addTokensCommand(program: Command, context: CommandContext): void {
  const command = program
    .command("tokens")
    .description("Make, list and revoke tenants' tokens of the HTTP API");
  addCreate(command, context);
  addList(command, context);
  addRevoke(command, context);
}

interface CreateOptions {
  readonly tenant: string;
  readonly name: string;
  readonly scopes: readonly TenantScope[];
  readonly json?: true;
}

function addCreate(command: Command, context: CommandContext): void {
  command
    .command("create")
    .description("Make a token of one tenant; it is shown this once")
    .requiredOption("--tenant <tenant>", "whose calendars it may see", nameArgument)
    .requiredOption("--name <name>", "the program that will hold it", nameArgument)
    .requiredOption("--scopes <scopes>", `${TENANT_SCOPES.join(", ")}, comma-separated`, scopeList)
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
Only its hash is kept: store it at once. Tokens of one name share that name's limits, so a token can be
replaced without more being let through.

Examples:
  ballast tokens create --tenant acme --name booking-api --scopes read,refresh
  ballast tokens create --tenant acme --name booking-api --scopes refresh > booking-api.token`,
    )
    .action(runs<CreateOptions>(context, (options) => create(options, context)));
}

function scopeList(text: string): readonly TenantScope[] {
  const names = text.split(",").map((name) => name.trim());
  const scopes = TENANT_SCOPES.filter((scope) => names.includes(scope));
  if (scopes.length !== new Set(names).size) {
    throw new InvalidArgumentError(`It should be of ${TENANT_SCOPES.join(", ")}, comma-separated.`);
  }
  return scopes;
}

function create(options: CreateOptions, context: CommandContext): Promise<ExitCode> {
  return withStore(context, async (store) => {
    const { clock, output } = context;
    const now = clock.now();
    const { id, token, sha256 } = makeApiToken(now);
    const { name, scopes } = options;
    const outcome = await store.tokens.create(
      { id, sha256, name, scopes, tenantId: tenantId(options.tenant) },
      { actor: operatorName(), now },
    );
    if (outcome === "unknown-tenant") {
      throw new CliError(`There is no tenant ${options.tenant}: it has no account yet.`, {
        exitCode: EXIT.failure,
        code: "BALLAST_UNKNOWN_TENANT",
        next: `ballast connect --tenant ${options.tenant} --account …    (makes it known)`,
      });
    }
    if (options.json) {
      output.json({ token, id, tenant: options.tenant, name, scopes });
    } else {
      output.data(token);
      output.say(`Made ${id} for ${name} of ${options.tenant}. It is not shown again.`);
    }
    return EXIT.ok;
  });
}

interface ListOptions {
  readonly tenant?: string;
  readonly after?: string;
  readonly limit: number;
  readonly json?: true;
}

function addList(command: Command, context: CommandContext): void {
  command
    .command("list")
    .description("List tokens, revoked ones too; operators' are in BALLAST_API_TOKENS")
    .option("--tenant <tenant>", "of one tenant", nameArgument)
    .option("--after <id>", "the next page: tokens after this one", tokenIdArgument)
    .option("--limit <count>", "at most so many", wholeNumber(1, 1_000), 100)
    .option("--json", "one JSON document")
    .action(runs<ListOptions>(context, (options) => list(options, context)));
}

function list(options: ListOptions, context: CommandContext): Promise<ExitCode> {
  return withStore(context, async (store) => {
    const { output } = context;
    const { tenant, after, limit } = options;
    const tokens = await store.tokens.list({
      tenantId: tenant === undefined ? undefined : tenantId(tenant),
      after,
      limit,
    });
    const next = tokens.length === limit ? tokens.at(-1)?.id : undefined;
    if (options.json) {
      output.json({ tokens: tokens.map(toJson), next: next ?? null });
      return EXIT.ok;
    }
    if (tokens.length === 0) {
      output.say("No tokens. next: ballast tokens create --help");
      return EXIT.ok;
    }
    output.data(
      formatTable(
        ["ID", "TENANT", "NAME", "SCOPES", "MADE", "LAST USED", "REVOKED"],
        tokens.map((row) => [
          row.id,
          row.tenantId ?? "(operators)",
          row.name,
          row.scopes.join(","),
          showMoment(row.createdAt),
          showMoment(row.lastUsedAt),
          showMoment(row.revokedAt),
        ]),
      ),
    );
    if (next !== undefined) output.say(`More: ballast tokens list --after ${next}`);
    return EXIT.ok;
  });
}

function toJson(row: ApiTokenRow): Readonly<Record<string, unknown>> {
  return {
    ...row,
    tenantId: row.tenantId ?? null,
    lastUsedAt: row.lastUsedAt ?? null,
    revokedAt: row.revokedAt ?? null,
  };
}

function showMoment(at: number | undefined): string {
  return at === undefined ? "" : new Date(at).toISOString().slice(0, 16).replace("T", " ");
}

interface RevokeOptions {
  readonly reason?: string;
  readonly json?: true;
}

function addRevoke(command: Command, context: CommandContext): void {
  command
    .command("revoke")
    .description("Take a token's rights away, in force everywhere within two seconds")
    .argument("<id>", "tok_…, as `ballast tokens list` shows it", tokenIdArgument)
    .option("--reason <text>", "why, for those who read the record", nameArgument)
    .option("--json", "one JSON document")
    .action((id: string, options: RevokeOptions) =>
      runs<RevokeOptions>(context, () => revoke(id, options, context))(options),
    );
}

function revoke(id: string, options: RevokeOptions, context: CommandContext): Promise<ExitCode> {
  return withStore(context, async (store) => {
    const { clock, output } = context;
    const outcome = await store.tokens.revoke(id, {
      actor: operatorName(),
      reason: options.reason,
      now: clock.now(),
    });
    if (outcome === "unknown-token") {
      throw new CliError(`There is no token ${id}.`, {
        exitCode: EXIT.failure,
        code: "BALLAST_UNKNOWN_TOKEN",
        next: "ballast tokens list",
      });
    }
    if (options.json) output.json({ id, outcome });
    else if (outcome === "revoked") output.data(`Revoked ${id}.`);
    else output.say(`${id} was revoked before.`);
    return EXIT.ok;
  });
}

/** The public half; of a whole token its secret half is dropped, for it would be refused aloud. */
function tokenIdArgument(text: string): string {
  const [, id] = /^(tok_[0-9a-f]{12,64})(?:\.[A-Za-z0-9_-]*)?$/.exec(text) ?? [];
  if (id !== undefined) return id;
  throw new InvalidArgumentError("It should be tok_…, as `ballast tokens list` shows it.");
}
