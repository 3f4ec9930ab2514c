import type { Store } from "./with-store.ts";
import type { CommandContext } from "./command-context.ts";

const LOOK_MS = 500;
/** Where no line can be replaced, one that has changed is written at most so often. */
const LINE_MS = 5_000;
const PAGE = 1_000;
const STARTING_MS = 10_000;

/** What jobs have done so far. */
export interface Done {
  readonly runs: number;
  readonly eventsChanged: number;
}

/** The verdict and why. */
interface StatusLine {
  readonly verdict: string;
  readonly sentence: string;
}

/** Keep a line up to date that says how many calendars are fresh, until the signal; says it once when all are. */
export async function showFreshness(
  deps: {
    readonly store: Store;
    readonly status: () => Promise<StatusLine>;
    readonly done: () => Done;
    readonly signal: AbortSignal;
  },
  { clock, output }: CommandContext,
): Promise<void> {
  const { store, status, done, signal } = deps;
  const startedMs = clock.monotonicMs();
  let saidAtMs = -Infinity;
  let said = "";
  let wasComplete = false;
  const tellVerdict = createVerdictTeller(output);
  while (!signal.aborted) {
    const { total, fresh, never, stale } = await store.calendars.counts();
    const isComplete = total > 0 && fresh === total && (await isDiscovered(store));
    const line = `${String(fresh)} of ${String(total)} calendars are fresh`;
    if (isComplete && !wasComplete) {
      const seconds = ((clock.monotonicMs() - startedMs) / 1_000).toFixed(1);
      output.say(
        output.paintTalk("green", `All ${String(total)} calendars are fresh, after ${seconds} s.`),
      );
      wasComplete = true;
      said = line;
    }
    // The ledger opens in the first moments of every start: that is no news until it takes long.
    const isStarting = clock.monotonicMs() - startedMs < STARTING_MS;
    const now = await status();
    if (!isStarting) tellVerdict(now);
    const { runs, eventsChanged } = done();
    output.progress(
      `${line}  ·  first sync ${String(never)}, stale ${String(stale)}  ·  ${String(runs)} jobs done, ${String(eventsChanged)} events written`,
    );
    if (!output.isTerminal && line !== said && clock.monotonicMs() - saidAtMs > LINE_MS) {
      output.say(`${line}.`);
      said = line;
      saidAtMs = clock.monotonicMs();
    }
    await clock.sleep(wasComplete ? LOOK_MS * 4 : LOOK_MS, signal);
  }
}

/** Says the sentence whenever the verdict has changed; that all is well is not worth a first line. */
function createVerdictTeller(
  output: Pick<CommandContext["output"], "say">,
): (now: StatusLine) => void {
  let last = "ok";
  return ({ verdict, sentence }) => {
    if (verdict !== last) output.say(sentence);
    last = verdict;
  };
}

/** Whether every account's calendar list was read: before that, all known calendars may be fresh and most unknown. */
async function isDiscovered(store: Store): Promise<boolean> {
  const accounts = await store.accounts.list({ limit: PAGE });
  return accounts.every(
    ({ state, discoveredAt }) => state !== "connected" || discoveredAt !== undefined,
  );
}
