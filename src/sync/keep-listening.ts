/**
 * Says again and again that this process hears what Google sends, as long as it does. Whoever begins to listen
 * after nobody did for a while finds that out by it: what was sent meanwhile is lost.
 *
 * States: told → resting → told … → stopped. A database that is away is one that could not have kept what was sent.
 */
import type { Clock } from "../core/clock.ts";
import type { ProjectId } from "../core/ids.ts";
import type { PollStore } from "../core/poll-store.ts";
import { StoreUnavailable } from "../core/refusal.ts";

const TELL_EVERY_MS = 30_000;
/** Google tries a few times again, but not for as long as this. */
const GAP_MS = 2 * 60_000;

/** Begin to say so. No error ends it; each but a lost database is told. */
export function startListening(
  projectId: ProjectId,
  deps: {
    readonly polls: Pick<PollStore, "noteListening">;
    readonly clock: Clock;
    readonly onError: (error: unknown) => void;
  },
): { stop(): Promise<void> } {
  const { polls, clock } = deps;
  const stopping = new AbortController();
  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        await polls.noteListening(projectId, { now: clock.now(), gapMs: GAP_MS });
      } catch (error) {
        if (!(error instanceof StoreUnavailable)) deps.onError(error);
      }
      // Woken by being stopped.
      await clock.sleep(TELL_EVERY_MS, stopping.signal).catch(() => undefined);
    }
  };
  const ended = loop();
  return {
    async stop() {
      stopping.abort();
      await ended;
    },
  };
}
