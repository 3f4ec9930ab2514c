import type { Clock } from "../core/clock.ts";
import { DeadlinePassed } from "../core/refusal.ts";
import type { LogicalCall } from "../core/request.ts";

/** One call's alarm: aborts `signal` with a DeadlinePassed when its time is up. */
export interface Deadline {
  readonly signal: AbortSignal;
  /** Puts the alarm down; never rejects. */
  end(): Promise<void>;
}

/** Shared: it is thrown away by the sleep that it ends. */
const OVER = new Error("The call is over");

export function startDeadline(
  { operation, deadlineMs }: Pick<LogicalCall, "operation" | "deadlineMs">,
  clock: Clock,
): Deadline {
  const deadline = new AbortController();
  const isOver = new AbortController();
  const alarm = clock.sleep(deadlineMs, isOver.signal).then(
    () => {
      const message = `${operation} was given up after ${deadlineMs} ms: its deadline passed`;
      deadline.abort(new DeadlinePassed({ message }));
      return undefined;
    },
    () => undefined,
  );
  return {
    signal: deadline.signal,
    end: () => {
      isOver.abort(OVER);
      return alarm;
    },
  };
}
