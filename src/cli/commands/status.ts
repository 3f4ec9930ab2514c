import type { Command } from "commander";
import type { Config } from "../../config/config.ts";
import { readOperatorStatus } from "../../operator-app.ts";
import { wholeNumber } from "../arguments.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { readQuota } from "../read-quota.ts";
import { withStore, type Store } from "../with-store.ts";

interface Options {
  readonly watch?: true;
  readonly interval: number;
  readonly json?: true;
}
type Status = Awaited<ReturnType<typeof readOperatorStatus>>;

const COLORS = { ok: "green", degraded: "yellow", stopped: "red", unknown: "yellow" } as const;
const STATES = ["fresh", "stale", "never", "slowed", "lost", "paused"] as const;

/** `ballast status`: the verdict in a sentence, then the figures. */
export function addStatusCommand(program: Command, context: CommandContext): void {
  program
    .command("status")
    .description("How it is going: one sentence, then figures")
    .option("--watch", "again and again, until Ctrl-C")
    .option("--interval <seconds>", "between two looks", wholeNumber(1, 3_600), 2)
    .option("--json", "one JSON document a look")
    .addHelpText(
      "after",
      `
Exit code 5: the database cannot be read.

Examples:
  ballast status
  ballast status --json | jq .calendars
  ballast status --watch`,
    )
    .action(
      runs<Options>(context, (options) =>
        withStore(context, (store, config) => show(options, { store, config }, context)),
      ),
    );
}

async function show(
  options: Options,
  { store, config }: { readonly store: Store; readonly config: Config },
  context: CommandContext,
): Promise<ExitCode> {
  const { clock, output, interrupted } = context;
  for (;;) {
    const status = await readOperatorStatus(store, {
      clock,
      readQuota: () => readQuota(config, { clock, interrupted }),
    });
    if (options.json) output.json({ ...withNulls(status) });
    else describe(status, options, context);
    if (!options.watch) {
      return status.calendars === undefined ? EXIT.dependencyDown : EXIT.ok;
    }
    await clock.sleep(options.interval * 1_000, interrupted);
  }
}

/** What is not known is said as null: a key that is missing reads as a release that does not have it. */
function withNulls(status: Status): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(status).map(([key, value]: [string, unknown]) => [key, value ?? null]),
  );
}

function describe(status: Status, options: Options, { output }: CommandContext): void {
  const { calendars, accounts, backlog, push, quota } = status;
  if (options.watch && output.isTerminal) output.data("\u001b[2J\u001b[H");
  output.data(output.paint(COLORS[status.verdict], status.sentence));
  if (calendars !== undefined) {
    const states = STATES.map((state) => `${state} ${String(calendars[state])}`).join("  ");
    output.data(`calendars  ${String(calendars.total)}: ${states}`);
  }
  if (accounts !== undefined) {
    output.data(
      `accounts   ${String(accounts.connected)} connected, ${String(accounts["needs-reconnect"])} to reconnect, ${String(accounts.paused)} paused`,
    );
  }
  if (backlog !== undefined) {
    const waiting = Object.entries(backlog).map(([name, count]) => `${name} ${String(count)}`);
    output.data(`waiting    ${waiting.join("  ")}`);
  }
  if (push !== undefined) output.data(`push       ${describePush(push)}`);
  if (quota !== undefined) {
    const { minute, day } = quota;
    output.data(
      `quota      minute ${String(minute.used)} of ${String(minute.limit)}  day ${String(day.used)} of ${String(day.limit)}`,
    );
  }
  if (status.retryShare !== undefined) {
    output.data(`retries    ${(status.retryShare * 100).toFixed(1)} % of the requests`);
  }
}

function describePush(push: NonNullable<Status["push"]>): string {
  const { watched, unwatched, unwatchable, expiring, silent, silentReplaced } = push;
  const troubles = [
    [expiring, "end within a day"],
    [silent, "silent"],
    [silentReplaced, "opened after a silence"],
  ] as const;
  return [
    `${String(watched)} watched, ${String(unwatched + unwatchable)} polled only`,
    ...troubles.flatMap(([count, what]) => (count === 0 ? [] : [`${String(count)} ${what}`])),
  ].join(", ");
}
