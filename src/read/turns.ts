import { setImmediate } from "node:timers";

/**
 * Long work in short turns, so that the event loop is never held up.
 *
 * State: when the present turn began. Shared by everyone who expands in this process: turns of their
 * own would follow each other without letting anybody else in between.
 */
export interface Turns {
  /** True when the present turn has lasted long enough. */
  isOver(): boolean;
  /** Resolves in a turn that has only just begun. */
  next(): Promise<void>;
}

/** Each turn lasts about this long; one step beyond it is one series. */
const TURN_MS = 6;

export function createTurns(monotonicMs: () => number): Turns {
  let startedMs = -Infinity;
  let nextTurn: Promise<void> | undefined;
  const isOver = (): boolean => monotonicMs() - startedMs > TURN_MS;
  return {
    isOver,
    async next() {
      // Whoever is first in a turn may use it up.
      do {
        nextTurn ??= new Promise((resolve) => {
          setImmediate(() => {
            nextTurn = undefined;
            startedMs = monotonicMs();
            resolve();
          });
        });
        await nextTurn;
      } while (isOver());
    },
  };
}
