import type { Command } from "commander";
import type { ImportEntry, ImportVerdict } from "../../core/import-store.ts";
import { projectId } from "../../core/ids.ts";
import { readBackfillAllowance } from "../../operator-quota.ts";
import type { Config } from "../../config/config.ts";
import { wholeNumber } from "../arguments.ts";
import { CliError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { compareShadow } from "../compare-shadow.ts";
import { confirm } from "../confirm.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { operatorName } from "../operator-name.ts";
import {
  openImportFile,
  type ImportFile,
  type ImportLine,
  type ImportProblem,
} from "../read-import-file.ts";
import { withStore, type Store } from "../with-store.ts";

/** Small enough that nobody who writes meanwhile is held up. */
const PORTION = 50;
const JUDGED_AT_ONCE = 500;
/** Of an account that names no calendars: a guess for the preview. */
const CALENDARS_ASSUMED = 3;
const MOST_PROBLEMS = 10_000;

interface Options {
  readonly shadow?: true;
  readonly compare?: number;
  readonly dryRun?: true;
  readonly yes?: true;
  readonly timeout: number;
  readonly json?: true;
}

/** `ballast import accounts`: take accounts over from another system. */
export function addImportCommand(program: Command, context: CommandContext): void {
  program
    .command("import")
    .description("Take accounts over from another system")
    .command("accounts")
    .description("Import accounts from a file of JSON lines: checked whole, then stored")
    .argument("<file>", "one account a line")
    .option("--shadow", "mirror them and serve nothing of them")
    .option(
      "--compare <n>",
      "compare so many calendars in shadow with what Google has now",
      wholeNumber(1, 1_000),
    )
    .option("--dry-run", "check the file and show what would happen, change nothing")
    .option("--yes", "do not ask")
    .option("--timeout <seconds>", "wait so long for the comparison", wholeNumber(1, 86_400), 600)
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
A line: {"tenant":"acme","account":"ada@example.com","refreshToken":"1//…","scopes":["…"],
         "calendars":["ada@example.com"],
         "channels":[{"id":"…","resourceId":"…","calendar":"ada@example.com"}]}
\`scopes\`, \`calendars\` (synced without waiting for the account's list), \`channels\` (the old system's, to be stopped)
and \`sub\` (Google's number for the account) may be left out. The tokens must be of the same OAuth client.

Nothing is stored unless every line is good. Interrupted, the same command goes on; a second run changes nothing.
First syncs are backfill: they wait for everybody else. With --shadow, --compare reads a sample of calendars anew and
counts what differs; importing the file without --shadow then serves them.

Exit codes: 0 done, 1 the file has problems, 2 not confirmed, 3 differences were found, or not all compared.

Examples:
  ballast import accounts accounts.ndjson --dry-run
  ballast import accounts accounts.ndjson --yes --json
  ballast import accounts accounts.ndjson --shadow --compare 50`,
    )
    .action((file: string, options: Options) =>
      runs<Options>(context, () => importAccounts(file, options, context))(options),
    );
}

function importAccounts(
  path: string,
  options: Options,
  context: CommandContext,
): Promise<ExitCode> {
  return withStore(context, async (store, config) => {
    const file = await openImportFile(path);
    const isShadow = options.shadow === true;
    const checked = await check(file, { store, isShadow }, context);
    if (checked.problemCount > 0) return refuse(path, checked, { options, context });
    const preview = await previewOf(checked, store, config);
    if (options.dryRun || !options.json) showPreview(preview, options, context);
    if (options.dryRun) return EXIT.ok;
    const isWork = preview.new + preview.changed + preview.promoted > 0;
    if (isWork) {
      const question = isShadow ? "Import them in shadow?" : "Import them?";
      if (!(await confirm(question, options, context))) return EXIT.usage;
      await file.requireUnchanged();
    }
    const done = isWork
      ? await storeAll(file, { store, isShadow, path }, context)
      : { new: 0, changed: 0, promoted: 0, unchanged: checked.unchanged, refused: 0 };
    const compared =
      options.compare === undefined
        ? undefined
        : await compareShadow(
            { sample: options.compare, timeoutMs: options.timeout * 1_000 },
            store,
            context,
          );
    return report({ preview, done, compared }, options, context);
  });
}

type Tally = Readonly<Record<ImportVerdict["kind"], number>>;

interface Checked extends Tally {
  readonly problems: readonly ImportProblem[];
  readonly problemCount: number;
  readonly calendars: number;
  readonly withoutCalendars: number;
  readonly channels: number;
}

/** Reads the whole file, a portion at a time: nothing of it is kept but counts and what is wrong. */
async function check(
  file: ImportFile,
  { store, isShadow }: { readonly store: Store; readonly isShadow: boolean },
  { output, interrupted }: CommandContext,
): Promise<Checked> {
  const problems: ImportProblem[] = [];
  const sums = { problemCount: 0, calendars: 0, withoutCalendars: 0, channels: 0 };
  const tally = noTally();
  const note = (problem: ImportProblem): void => {
    sums.problemCount += 1;
    if (problems.length < MOST_PROBLEMS) problems.push(problem);
  };
  const judge = async (lines: readonly ImportLine[]): Promise<void> => {
    const verdicts = await store.imports.judge(
      lines.map(({ entry }) => entry),
      { isShadow },
    );
    for (const [index, { line, entry }] of lines.entries()) {
      const verdict = verdicts[index] ?? { kind: "unchanged" };
      tally[verdict.kind] += 1;
      if (verdict.kind === "refused") note({ line, problem: verdict.problem });
      if (verdict.kind === "unchanged" || verdict.kind === "refused") continue;
      sums.calendars += entry.calendars.length;
      sums.withoutCalendars += entry.calendars.length === 0 ? 1 : 0;
      sums.channels += entry.channels.length;
    }
  };
  let total = 0;
  for await (const lines of portionsOf(file, JUDGED_AT_ONCE, note)) {
    interrupted.throwIfAborted();
    await judge(lines);
    total += lines.length;
    output.progress(`${String(total)} lines checked …`);
  }
  return { ...tally, ...sums, problems };
}

async function* portionsOf(
  file: ImportFile,
  size: number,
  onProblem: (problem: ImportProblem) => void,
): AsyncGenerator<readonly ImportLine[]> {
  let portion: ImportLine[] = [];
  for await (const one of file.lines()) {
    if ("problem" in one) onProblem(one);
    else portion.push(one);
    if (portion.length < size) continue;
    yield portion;
    portion = [];
  }
  if (portion.length > 0) yield portion;
}

function noTally(): Record<ImportVerdict["kind"], number> {
  return { new: 0, changed: 0, unchanged: 0, promoted: 0, refused: 0 };
}

function refuse(
  path: string,
  { problems, problemCount }: Checked,
  { options, context }: { readonly options: Options; readonly context: CommandContext },
): ExitCode {
  const { output } = context;
  if (options.json) {
    output.json({ imported: 0, refused: problemCount, problems });
    return EXIT.failure;
  }
  for (const { line, problem } of problems) output.say(`${path}:${String(line)}: ${problem}`);
  const more = problemCount - problems.length;
  if (more > 0) output.say(`… and ${String(more)} more`);
  throw new CliError(`Nothing was imported: ${String(problemCount)} lines have problems.`, {
    exitCode: EXIT.failure,
    code: "BALLAST_IMPORT_REFUSED",
    next: "mend these lines, then the same again",
  });
}

interface Preview extends Pick<Checked, "new" | "changed" | "unchanged" | "promoted" | "channels"> {
  readonly calendars: number;
  /** The part of them that is a guess. */
  readonly calendarsAssumed: number;
  /** To Google, for first syncs. */
  readonly requests: number;
  readonly backfillPerDay: number;
  readonly days: number;
}

async function previewOf(checked: Checked, store: Store, { http }: Config): Promise<Preview> {
  const calendarsAssumed = checked.withoutCalendars * CALENDARS_ASSUMED;
  const calendars = checked.calendars + calendarsAssumed;
  const lists = checked.new + checked.changed;
  const watches = http.publicUrl === undefined ? 0 : calendars + checked.channels;
  const requests = lists + calendars + watches;
  const { perDay } = await readBackfillAllowance(store);
  return {
    new: checked.new,
    changed: checked.changed,
    unchanged: checked.unchanged,
    promoted: checked.promoted,
    channels: checked.channels,
    calendars,
    calendarsAssumed,
    requests,
    backfillPerDay: perDay,
    days: perDay === 0 ? 0 : Math.round((requests / perDay) * 100) / 100,
  };
}

function showPreview(preview: Preview, options: Options, { output }: CommandContext): void {
  if (options.json) {
    output.json({ preview });
    return;
  }
  const { calendars, calendarsAssumed, channels } = preview;
  const guess =
    calendarsAssumed === 0
      ? ""
      : ` (${String(calendarsAssumed)} of them assumed: ${String(CALENDARS_ASSUMED)} for each account that names none)`;
  output.say(
    `${String(preview.new)} new accounts, ${String(preview.changed)} changed, ${String(preview.promoted)} out of shadow, ${String(preview.unchanged)} unchanged; ${String(calendars)} calendars${guess}, ${String(channels)} old channels to stop.`,
  );
  output.say(
    `First syncs take about ${String(preview.requests)} requests: ${String(preview.days)} days of what backfills may send (${String(preview.backfillPerDay)} a day).`,
  );
}

async function storeAll(
  file: ImportFile,
  {
    store,
    isShadow,
    path,
  }: { readonly store: Store; readonly isShadow: boolean; readonly path: string },
  context: CommandContext,
): Promise<Tally> {
  const { clock, output, interrupted } = context;
  const tally = noTally();
  const isInterrupted = (): boolean => interrupted.aborted;
  try {
    for await (const lines of portionsOf(file, PORTION, () => undefined)) {
      if (isInterrupted()) break;
      const entries: readonly ImportEntry[] = lines.map(({ entry }) => entry);
      const options = { projectId: projectId("default"), isShadow, now: clock.now() };
      for (const { kind } of await store.imports.store(entries, options)) tally[kind] += 1;
      const sum = Object.values(tally).reduce((total, count) => total + count, 0);
      output.progress(`${String(sum)} accounts stored …`);
    }
  } finally {
    await store.operatorLog.append({
      at: clock.now(),
      actor: operatorName(),
      action: "accounts.imported",
      subject: path.split("/").at(-1) ?? path,
      reason: undefined,
      details: { ...tally, shadow: isShadow, interrupted: isInterrupted() },
    });
  }
  interrupted.throwIfAborted();
  return tally;
}

function report(
  result: {
    readonly preview: Preview;
    readonly done: Tally;
    readonly compared: Awaited<ReturnType<typeof compareShadow>> | undefined;
  },
  options: Options,
  { output }: CommandContext,
): ExitCode {
  const { preview, done, compared } = result;
  if (options.json) {
    const { new: imported, ...rest } = done;
    output.json({ preview, imported, ...rest, compared: compared ?? null });
  } else {
    output.data(
      `${String(done.new)} imported, ${String(done.changed)} changed, ${String(done.promoted)} out of shadow, ${String(done.unchanged)} unchanged.`,
    );
    if (done.refused > 0) output.say(`${String(done.refused)} were refused meanwhile.`);
    if (compared !== undefined) {
      output.data(
        `${String(compared.compared)} of ${String(compared.sample)} calendars compared with Google: ${String(compared.differences)} differences in ${String(compared.differing.length)} calendars.`,
      );
      for (const { calendarId, differences } of compared.differing) {
        output.data(`  ${calendarId}: ${String(differences)}`);
      }
    } else {
      output.say(
        "A running worker syncs them within what backfills may send. next: ballast status",
      );
    }
  }
  const isShort = compared !== undefined && compared.compared < compared.sample;
  if (done.refused > 0 || isShort || (compared?.differences ?? 0) > 0) return EXIT.partial;
  return EXIT.ok;
}
