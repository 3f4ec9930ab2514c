import { InvalidArgumentError, Option, type Command } from "commander";
import type { AccountRow, AccountState } from "../../core/account-store.ts";
import { accountId, tenantId, type AccountId } from "../../core/ids.ts";
import { nameArgument, wholeNumber } from "../arguments.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { formatAge, formatTable } from "../output.ts";
import { withStore } from "../with-store.ts";

const STATES: readonly AccountState[] = ["connected", "needs-reconnect", "paused", "removed"];

interface Options {
  readonly tenant?: string;
  readonly state?: AccountState;
  readonly limit: number;
  readonly after?: AccountId;
  readonly json?: true;
}

/** `ballast accounts`: every account with its state, why and since when, and what to do about it. */
export function addAccountsCommand(program: Command, context: CommandContext): void {
  program
    .command("accounts")
    .description("List accounts with their state, its reason, and what to do")
    .option("--tenant <tenant>", "only this tenant's", nameArgument)
    .addOption(new Option("--state <state>", "only those in this state").choices(STATES))
    .option("--limit <n>", "at most so many, 1 to 1000", wholeNumber(1, 1_000), 100)
    .option("--after <id>", "go on after this account", accountIdArgument)
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
Reasons are codes of docs/failure-modes.md, or an operator's words.

Examples:
  ballast accounts --state needs-reconnect
  ballast accounts --tenant acme --json`,
    )
    .action(runs<Options>(context, (options) => listAccounts(options, context)));
}

function accountIdArgument(text: string): AccountId {
  if (!/^acc_[0-9a-z]{8,64}$/.test(text)) {
    throw new InvalidArgumentError(
      "It should be Ballast's own id, acc_…, as `ballast accounts` lists it.",
    );
  }
  return accountId(text);
}

function listAccounts(options: Options, context: CommandContext): Promise<ExitCode> {
  return withStore(context, async (store) => {
    const { output, clock } = context;
    const { state, limit, after } = options;
    const tenant = options.tenant === undefined ? undefined : tenantId(options.tenant);
    const rows = await store.accounts.list({ tenantId: tenant, state, after, limit });
    const next = rows.length === limit ? rows.at(-1)?.id : undefined;
    if (options.json) {
      output.json({ accounts: rows.map(shown), next: next ?? null });
      return EXIT.ok;
    }
    if (rows.length === 0) {
      output.say("No accounts of this choice. `ballast connect --help` says how to connect one.");
      return EXIT.ok;
    }
    const now = clock.now();
    output.data(
      formatTable(
        ["ID", "STATE", "FOR", "TENANT", "ACCOUNT", "BY", "WHY", "NEXT"],
        rows.map((row) => [
          row.id,
          row.state,
          formatAge(now - row.stateSince),
          row.tenantId,
          row.name,
          row.grantKind,
          row.stateReason ?? "",
          nextStepFor(row) ?? "",
        ]),
      ),
    );
    if (next !== undefined) output.say(`More: ballast accounts --after ${next}`);
    return EXIT.ok;
  });
}

function shown(row: AccountRow): Readonly<Record<string, unknown>> {
  return {
    id: row.id,
    tenant: row.tenantId,
    name: row.name,
    state: row.state,
    reason: row.stateReason ?? null,
    since: row.stateSince,
    by: row.grantKind,
    scopes: row.scopes,
    next: nextStepFor(row) ?? null,
  };
}

/** What a person can do about the state that the account is in. */
function nextStepFor({ state, tenantId: tenant, name, grantKind }: AccountRow): string | undefined {
  if (state !== "needs-reconnect") return undefined;
  const by = grantKind === "service-account" ? " --service-account FILE --subject USER" : "";
  return `ballast connect --tenant ${quoted(tenant)} --account ${quoted(name)}${by}`;
}

/** For a shell: names are an adopter's, and may hold anything but line ends. */
function quoted(text: string): string {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`;
}
