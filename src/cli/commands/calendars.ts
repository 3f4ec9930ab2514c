import { Option, type Command } from "commander";
import type { AccountRow } from "../../core/account-store.ts";
import type { CalendarRow, CalendarState } from "../../core/calendar-store.ts";
import { accountId, accountName, tenantId, type CalendarId } from "../../core/ids.ts";
import { calendarIdArgument, nameArgument, wholeNumber } from "../arguments.ts";
import { CliError, usageError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { formatAge, formatTable } from "../output.ts";
import { withStore, type Store } from "../with-store.ts";
import { addCalendarsWhyCommand } from "./calendars-why.ts";

const STATES: readonly CalendarState[] = ["never", "fresh", "stale", "slowed", "lost", "paused"];

interface Options {
  readonly tenant?: string;
  readonly account?: string;
  readonly state?: CalendarState;
  readonly limit: number;
  readonly after?: CalendarId;
  readonly json?: true;
}

/** `ballast calendars`: every calendar with its state, one page at a time. */
export function addCalendarsCommand(program: Command, context: CommandContext): void {
  const calendars = program.command("calendars");
  addCalendarsWhyCommand(calendars, context);
  calendars
    .description("List calendars with their state and age")
    .option("--tenant <tenant>", "only this tenant's", nameArgument)
    .option("--account <account>", "only this account's: acc_…, or its name with --tenant")
    .addOption(new Option("--state <state>", "only those in this state").choices(STATES))
    .option("--limit <n>", "at most so many, 1 to 1000", wholeNumber(1, 1_000), 100)
    .option("--after <id>", "go on after this calendar", calendarIdArgument)
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
Examples:
  ballast calendars --state stale
  ballast calendars why cal_0123456789abcdef
  ballast calendars --tenant acme --account ada@example.com --json`,
    )
    .action(runs<Options>(context, (options) => listCalendars(options, context)));
}

function listCalendars(options: Options, context: CommandContext): Promise<ExitCode> {
  return withStore(context, async (store) => {
    const account = await findAccount(options, store);
    const calendars = await store.calendars.list({
      tenantId: options.tenant === undefined ? undefined : tenantId(options.tenant),
      accountId: account?.id,
      state: options.state,
      after: options.after,
      limit: options.limit,
    });
    const next = calendars.length === options.limit ? calendars.at(-1)?.id : undefined;
    if (options.json) {
      context.output.json({ calendars, next: next ?? null });
      return EXIT.ok;
    }
    const names = await readAccountNames(calendars, store);
    const { output } = context;
    if (calendars.length === 0) {
      output.say(await explainEmptyList(store));
      return EXIT.ok;
    }
    const now = context.clock.now();
    output.data(
      formatTable(
        ["ID", "STATE", "AGE", "TENANT", "ACCOUNT", "TITLE", "GOOGLE ID"],
        calendars.map((row) => [
          row.id,
          row.stateReason === undefined ? row.state : `${row.state} (${row.stateReason})`,
          formatAge(row.currentAsOf === undefined ? undefined : now - row.currentAsOf),
          row.tenantId,
          names.get(row.accountId)?.name ?? row.accountId,
          row.summary ?? "",
          row.googleId,
        ]),
      ),
    );
    if (next !== undefined) output.say(`More: ballast calendars --after ${next}`);
    return EXIT.ok;
  });
}

/** The account that `--tenant` and `--account` name together, or `acc_…` alone. */
export async function findAccount(
  options: { readonly tenant?: string; readonly account?: string },
  store: Store,
): Promise<AccountRow | undefined> {
  const { tenant, account } = options;
  if (account === undefined) return undefined;
  const isOurId = /^acc_[0-9a-z]{8,64}$/.test(account);
  if (!isOurId && tenant === undefined) {
    throw usageError(
      `--account ${account} needs --tenant: an account's name is unique within its tenant only.`,
    );
  }
  const found =
    isOurId || tenant === undefined
      ? await store.accounts.get(accountId(account))
      : await store.accounts.find(tenantId(tenant), accountName(account));
  if (found !== undefined) return found;
  throw new CliError(
    `There is no account ${account}${tenant === undefined ? "" : ` of tenant ${tenant}`}.`,
    { exitCode: EXIT.failure, code: "BALLAST_UNKNOWN_ACCOUNT", next: "ballast connect --help" },
  );
}

/** An empty list has three reasons, and only one of them is that nothing was ever connected. */
async function explainEmptyList(store: Store): Promise<string> {
  const { connected } = await store.accounts.countsByState();
  if (connected === 0) {
    return "No calendars: no account is connected. `ballast connect --help` says how to connect one.";
  }
  const accounts = connected === 1 ? "1 account is" : `${String(connected)} accounts are`;
  const { total } = await store.calendars.counts();
  return total === 0
    ? `No calendars yet: ${accounts} connected and wait for their first list. A running service reads it: \`ballast start\` or \`ballast worker\`.`
    : `No calendars of this choice; there are ${String(total)} in all. \`ballast calendars\` without a choice lists them.`;
}

async function readAccountNames(
  calendars: readonly CalendarRow[],
  store: Store,
): Promise<ReadonlyMap<string, AccountRow>> {
  const accounts = new Map<string, AccountRow>();
  for (const { accountId: id } of calendars) {
    if (accounts.has(id)) continue;
    const row = await store.accounts.get(id);
    if (row !== undefined) accounts.set(id, row);
  }
  return accounts;
}
