/**
 * One piece of work per account at a time; whoever wants it meanwhile waits for the same.
 *
 * States of a flight: waiting (nothing sent) → sent → landed. While it waits, a more urgent caller takes
 * it over: the work starts anew in that caller's class, and those who waited wait for the new one. When
 * nobody waits any more, it is aborted.
 */
import type { Clock } from "../core/clock.ts";
import type { AccountId } from "../core/ids.ts";
import { DeadlinePassed } from "../core/refusal.ts";
import { REQUEST_CLASSES, type CallOptions, type RequestClass } from "../core/request.ts";

interface Flight<T> {
  readonly class: RequestClass;
  readonly abort: AbortController;
  readonly result: Promise<T>;
  waiters: number;
  wasSent: boolean;
  isSuperseded: boolean;
}

/** The call on whose behalf the work is done; its signal aborts when nobody waits any more. */
export interface FlightCall extends CallOptions {
  /** From here on the work is not taken over. */
  readonly noteSent: () => void;
}

/** Throws what the work threw, the caller's abort, or DeadlinePassed. */
export type SingleFlight<T> = (accountId: AccountId, call: CallOptions) => Promise<T>;

export function createSingleFlight<T>(
  work: (accountId: AccountId, call: FlightCall) => Promise<T>,
  { clock }: { readonly clock: Clock },
): SingleFlight<T> {
  const flights = new Map<AccountId, Flight<T>>();

  function start(accountId: AccountId, call: CallOptions): Flight<T> {
    const abort = new AbortController();
    const noteSent = (): void => {
      flight.wasSent = true;
    };
    const run = (): Promise<T> =>
      work(accountId, { ...call, signal: abort.signal, noteSent }).finally(() => {
        if (flights.get(accountId) === flight) flights.delete(accountId);
      });
    const flight: Flight<T> = {
      class: call.class,
      abort,
      // In a later turn, so that `flight` exists whatever the work does at once.
      result: Promise.resolve().then(run),
      waiters: 0,
      wasSent: false,
      isSuperseded: false,
    };
    flights.set(accountId, flight);
    return flight;
  }

  function join(accountId: AccountId, call: CallOptions): Flight<T> {
    const flying = flights.get(accountId);
    if (!flying || flying.abort.signal.aborted) return start(accountId, call);
    if (flying.wasSent || !isMoreUrgent(call.class, flying.class)) return flying;
    flying.isSuperseded = true;
    flying.abort.abort(new Error("A more urgent caller took this over"));
    return start(accountId, call);
  }

  return async (accountId, call) => {
    const over = new AbortController();
    const gaveUp = giveUp(call, { clock, over: over.signal });
    try {
      for (;;) {
        const flight = join(accountId, call);
        flight.waiters += 1;
        try {
          return await Promise.race([flight.result, gaveUp]);
        } catch (error) {
          if (!flight.isSuperseded || call.signal.aborted) throw error;
        } finally {
          flight.waiters -= 1;
          if (flight.waiters === 0) flight.abort.abort(new Error("Nobody waits for this any more"));
        }
      }
    } finally {
      over.abort(new Error("The wait is over"));
    }
  };
}

/** Rejects when the caller's patience ends; its rejection after `over` is nobody's news. */
function giveUp(
  { signal, deadlineMs }: CallOptions,
  { clock, over }: { readonly clock: Clock; readonly over: AbortSignal },
): Promise<never> {
  const waited = clock.sleep(deadlineMs, AbortSignal.any([signal, over])).then(() => {
    throw new DeadlinePassed({
      message: `No access token after ${deadlineMs} ms: the call's deadline passed`,
    });
  });
  // Whoever races it hears of it; when the race is over first, nobody waits for it any more.
  waited.catch(() => undefined);
  return waited;
}

function isMoreUrgent(one: RequestClass, other: RequestClass): boolean {
  return REQUEST_CLASSES.indexOf(one) < REQUEST_CLASSES.indexOf(other);
}
