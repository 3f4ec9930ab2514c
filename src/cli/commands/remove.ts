import { Option, type Command } from "commander";
import type { RemovalPreview, RemovalRow, RemovalTarget } from "../../core/removal-store.ts";
import { COUNTED_EVENTS } from "../../core/removal-store.ts";
import { tenantId, type CalendarId } from "../../core/ids.ts";
import { calendarIdArgument, nameArgument, wholeNumber } from "../arguments.ts";
import { CliError, usageError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { confirm } from "../confirm.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { operatorName } from "../operator-name.ts";
import { formatAge, formatTable } from "../output.ts";
import { withStore, type Store } from "../with-store.ts";
import { findAccount } from "./calendars.ts";

const MARKED_AT_ONCE = 50;
const LOOK_EVERY_MS = 500;
const MOST_SHOWN = 100;

interface Options {
  readonly tenant?: string;
  readonly account?: string;
  readonly calendar?: CalendarId;
  readonly status?: true;
  readonly revoke?: true;
  readonly reason?: string;
  readonly dryRun?: true;
  readonly yes?: true;
  readonly wait?: true;
  readonly timeout: number;
  readonly json?: true;
}

/** `ballast remove`: take a tenant, an account or a calendar away for good, with all that is stored of it. */
export function addRemoveCommand(program: Command, context: CommandContext): void {
  program
    .command("remove")
    .description(
      "Remove a tenant, an account or a calendar for good, and erase what is stored of it",
    )
    .option("--tenant <tenant>", "the tenant, or with --account the account's", nameArgument)
    .option("--account <account>", "the account: acc_…, or its name with --tenant")
    .option("--calendar <id>", "one calendar, cal_…; its account stays", calendarIdArgument)
    .option("--revoke", "also end the access at Google (revoke the refresh tokens)")
    .option("--reason <text>", "why, for those who read the record", nameArgument)
    .option("--dry-run", "show what would go, change nothing")
    .option("--yes", "do not ask")
    .option("--wait", "come back when everything is erased")
    .option("--timeout <seconds>", "wait at most so long", wholeNumber(1, 86_400), 3_600)
    .addOption(
      new Option("--status", "how far the removals under way are").conflicts([
        "tenant",
        "account",
        "calendar",
      ]),
    )
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
At once nothing of it is served, refreshed or asked of Google any more. A running worker then stops its channels, ends
its credentials, and erases its rows in portions; a crash in between costs nothing but time. What was done is in the
operator log. A calendar removed alone is not taken up again when its account's list is read.

Exit codes: 0 asked for (with --wait: gone), 1 there is no such thing, 2 not confirmed, 3 not gone in time.

Examples:
  ballast remove --tenant acme --dry-run
  ballast remove --tenant acme --revoke --reason "contract ended" --yes --wait
  ballast remove --tenant acme --account ada@example.com
  ballast remove --status`,
    )
    .action(runs<Options>(context, (options) => remove(options, context)));
}

function remove(options: Options, context: CommandContext): Promise<ExitCode> {
  return withStore(context, async (store) => {
    if (options.status) return showStatus(options, store, context);
    const { target, name } = await chooseTarget(options, store);
    const preview = await store.removals.preview(target);
    if (preview === undefined) throw unknownTarget(name);
    if (options.dryRun || !options.json) showPreview({ name, preview, options }, context);
    if (options.dryRun) return EXIT.ok;
    if (!(await confirm(`Remove ${name} for good?`, options, context))) return EXIT.usage;
    const by = {
      actor: operatorName(),
      reason: options.reason,
      isRevoking: options.revoke === true,
      now: context.clock.now(),
    };
    const asked = await store.removals.ask(target, by);
    if (asked.kind === "unknown") throw unknownTarget(name);
    await markAll(asked.removal.id, store, context);
    return finish({ asked: asked.removal, name, preview, options }, store, context);
  });
}

async function chooseTarget(
  { tenant, account, calendar }: Options,
  store: Store,
): Promise<{ readonly target: RemovalTarget; readonly name: string }> {
  if (calendar !== undefined) {
    if (tenant !== undefined || account !== undefined) {
      throw usageError("--calendar names a calendar by itself: no --tenant, no --account.");
    }
    return { target: { kind: "calendar", calendarId: calendar }, name: calendar };
  }
  if (account !== undefined) {
    const found = await findAccount(
      { ...(tenant === undefined ? {} : { tenant }), account },
      store,
    );
    if (found === undefined) throw unknownTarget(account);
    const name = `the account ${found.name} of ${found.tenantId}`;
    return { target: { kind: "account", accountId: found.id }, name };
  }
  if (tenant === undefined) {
    throw usageError("Say what: --tenant T, --tenant T --account A, --calendar ID, or --status.");
  }
  return { target: { kind: "tenant", tenantId: tenantId(tenant) }, name: `the tenant ${tenant}` };
}

function unknownTarget(name: string): CliError {
  return new CliError(`There is nothing to remove: ${name} is not known.`, {
    exitCode: EXIT.failure,
    code: "BALLAST_UNKNOWN_TARGET",
    next: "ballast accounts    (or: ballast calendars)",
  });
}

function showPreview(
  {
    name,
    preview,
    options,
  }: { readonly name: string; readonly preview: RemovalPreview; readonly options: Options },
  { output }: CommandContext,
): void {
  if (options.json) {
    output.json({ preview });
    return;
  }
  const { accounts, calendars, events, channels, apiTokens } = preview;
  const counted = events === COUNTED_EVENTS ? `over ${String(events)}` : String(events);
  output.say(
    `This removes ${name}: ${String(accounts)} accounts, ${String(calendars)} calendars, ${counted} events, ${String(apiTokens)} API tokens; ${String(channels)} channels are stopped at Google.`,
  );
  output.say(
    options.revoke
      ? "Google is asked to end the access; whoever shares the consent keeps it."
      : "The access at Google stays with the person; --revoke ends it.",
  );
}

/** Out of use before the command comes back, also where no worker runs. */
async function markAll(
  removalId: string,
  store: Store,
  { clock, interrupted, output }: CommandContext,
): Promise<void> {
  let total = 0;
  for (;;) {
    interrupted.throwIfAborted();
    const page = { limit: MARKED_AT_ONCE, now: clock.now() };
    const marked = await store.removals.markSome(removalId, page);
    if (marked === 0) return;
    total += marked;
    output.progress(`${String(total)} accounts out of use …`);
  }
}

async function finish(
  about: {
    readonly asked: RemovalRow;
    readonly name: string;
    readonly preview: RemovalPreview;
    readonly options: Options;
  },
  store: Store,
  context: CommandContext,
): Promise<ExitCode> {
  const { asked, name, preview, options } = about;
  const { output } = context;
  const isGone = options.wait ? await waitUntilGone(about, store, context) : undefined;
  if (options.json) {
    output.json({ removal: asked.id, preview, isGone: isGone ?? null });
  } else if (isGone) {
    output.data(`Removed ${name}: nothing of it is stored any more.`);
  } else {
    output.data(
      `${asked.id}: ${name} is out of use; a running worker erases what is stored of it.`,
    );
    output.say("next: ballast remove --status");
  }
  return isGone === false ? EXIT.partial : EXIT.ok;
}

async function waitUntilGone(
  { asked, options }: { readonly asked: RemovalRow; readonly options: Options },
  store: Store,
  { clock, output, interrupted }: CommandContext,
): Promise<boolean> {
  const endsAtMs = clock.monotonicMs() + options.timeout * 1_000;
  for (;;) {
    const row = await store.removals.get(asked.id);
    if (row === undefined) return true;
    if (clock.monotonicMs() > endsAtMs) return false;
    output.progress(`${row.stage}, ${String(row.counts.erasedRows)} rows erased …`);
    await clock.sleep(LOOK_EVERY_MS, interrupted);
  }
}

async function showStatus(
  options: Options,
  store: Store,
  { output, clock }: CommandContext,
): Promise<ExitCode> {
  const rows = await store.removals.list(MOST_SHOWN);
  if (options.json) {
    output.json({ removals: rows.map((row) => ({ ...row, reason: row.reason ?? null })) });
    return EXIT.ok;
  }
  if (rows.length === 0) {
    output.say("Nothing is being removed. What was removed is in the operator log.");
    return EXIT.ok;
  }
  const now = clock.now();
  output.data(
    formatTable(
      ["ID", "WHAT", "SUBJECT", "STAGE", "SINCE", "ERASED", "CHANNELS", "REVOKED", "BY"],
      rows.map(({ counts, ...row }) => [
        row.id,
        row.kind,
        row.subject,
        row.stage,
        formatAge(now - row.askedAt),
        String(counts.erasedRows),
        `${String(counts.channelsStopped)} stopped, ${String(counts.channelsLeft)} left`,
        row.isRevoking ? `${String(counts.tokensRevoked)}, ${String(counts.tokensLeft)} left` : "",
        row.askedBy,
      ]),
    ),
  );
  return EXIT.ok;
}
