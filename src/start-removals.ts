import { tellTrouble, type Starting } from "./app-parts.ts";
import { consumer } from "./core/ids.ts";
import type { OpenGoogle } from "./open-google.ts";
import { createRemoveData, type RemoveOutcome } from "./operate/remove-data.ts";
import type { Store } from "./store/open-store.ts";

/** Fleet-wide: a removal is to end, not to end soon. */
const AT_ONCE = 2;
const LOOK_EVERY_MS = 1_000;

const WORK = {
  leaseMs: 120_000,
  turnMs: 20_000,
  portionRows: 500,
  restMs: 10,
  settleMs: 15_000,
  releaseWithinMs: 3_600_000,
  callDeadlineMs: 30_000,
} as const;

/** The part of a worker that takes away what was asked to go: turns of bounded length, of a few removals at once. */
export function startRemovals(
  { config, deps, options, started }: Starting,
  parts: { readonly store: Store; readonly leaving: OpenGoogle["leaving"] },
): void {
  const { clock, logger } = deps;
  const { removals, channels } = parts.store;
  const removeData = createRemoveData(
    { ...WORK, ...options.removals, consumer: consumer(config.consumer) },
    { removals, channels, ...parts.leaving, clock },
  );
  const stopping = new AbortController();
  const { signal } = stopping;
  const isStopping = (): boolean => signal.aborted;
  const tell = tellTrouble(deps, "Removals stand still");

  const look = async (): Promise<boolean> => {
    const claim = { now: clock.now(), atOnce: AT_ONCE, queuedForMs: WORK.leaseMs };
    const id = await removals.claimDue(claim);
    if (id === undefined) return false;
    const outcome = await removeData(id, { signal });
    report(id, outcome);
    return true;
  };
  const report = (removal: string, outcome: RemoveOutcome): void => {
    if (outcome.kind === "removed") {
      logger.log("info", "Removed", { removal, ...outcome.counts, scrub: outcome.scrub });
    } else if (outcome.kind === "put-back" && outcome.code !== undefined) {
      logger.log("info", "A removal waits", { removal, stage: outcome.stage, code: outcome.code });
    }
  };
  const run = async (): Promise<void> => {
    while (!signal.aborted) {
      try {
        if (!(await look())) await clock.sleep(LOOK_EVERY_MS, signal);
      } catch (error) {
        if (isStopping()) return;
        tell(error);
        await clock.sleep(LOOK_EVERY_MS, signal).catch(ignoreAbort);
      }
    }
  };
  const running = run();
  started.push({
    name: "removals",
    run: async () => {
      stopping.abort(new Error("The worker is shutting down"));
      await running;
    },
  });
}

/** The loop's condition sees it. */
function ignoreAbort(): void {
  // Nothing to do.
}
