/**
 * Asks Ballast over HTTP to refresh calendars that were written to. It is told beside the write: how that
 * goes never changes how the write went.
 *
 * States of a calendar's ask: waiting (one is enough, however many want it) → asking (who wants it now waits
 * for the next one, since this one may have been served before their write) → asked | failed. At most
 * MOST_AT_ONCE ask at a time and MOST_WAITING wait. Closing ends all of them.
 */
import { z } from "zod";
import type { Clock } from "../../../src/core/clock.ts";

/** Where Ballast's HTTP server is, and a token of it with the scope `refresh`. */
export interface RefreshEndpoint {
  readonly url: string;
  readonly token: string;
}

/** One calendar as the adopter knows it. */
export interface RefreshTarget {
  readonly tenant: string;
  readonly account: string;
  readonly googleCalendarId: string;
}

/** Ballast was not told that a calendar changed; it will find out by itself, later. */
export class RefreshNotRequested extends Error {
  override readonly name = "RefreshNotRequested";
  readonly code = "BALLAST_REFRESH_NOT_REQUESTED";
  readonly target: RefreshTarget;
  /** Of Ballast's answer; undefined when there was none. */
  readonly status: number | undefined;

  constructor(
    target: RefreshTarget,
    details: { readonly why: string; readonly status?: number; readonly cause?: unknown },
  ) {
    super(
      `The refresh of ${target.googleCalendarId} (account ${target.account} of tenant ${target.tenant}) was not requested: ${details.why}`,
      { cause: details.cause },
    );
    this.target = target;
    this.status = details.status;
  }
}

export interface RefreshAsker {
  /** Resolves when Ballast has marked the calendar; rejects with a RefreshNotRequested. */
  ask(target: RefreshTarget): Promise<void>;
  /** Ends what waits and what is under way; let it settle first. */
  close(): Promise<void>;
}

const MOST_WAITING = 1_000;
const MOST_AT_ONCE = 4;
const MOST_TRIES = 3;
const ASK_TIMEOUT_MS = 5_000;
const BETWEEN_TRIES_MS = 300;
/** Ballast's own polling is not much later than this. */
const LONGEST_RETRY_AFTER_MS = 5_000;

interface Waiting {
  readonly target: RefreshTarget;
  readonly told: PromiseWithResolvers<void>;
}

export function createRefreshAsker(
  endpoint: RefreshEndpoint,
  deps: { readonly clock: Clock; readonly fetch: typeof fetch },
): RefreshAsker {
  const address = `${endpoint.url.replace(/\/+$/, "")}/v1/refresh`;
  const send = createSend({ address, token: endpoint.token }, deps);
  const waiting = new Map<string, Waiting>();
  const asking = new Map<string, Promise<void>>();
  const closing = new AbortController();

  function start(key: string, { target, told }: Waiting): void {
    waiting.delete(key);
    const work = send(target, closing.signal)
      .then(told.resolve, told.reject)
      .finally(() => {
        asking.delete(key);
        startNext();
      });
    asking.set(key, work);
  }

  function startNext(): void {
    for (const [key, one] of waiting) {
      if (asking.size >= MOST_AT_ONCE) return;
      if (!asking.has(key)) start(key, one);
    }
  }

  return {
    ask: (target) => {
      const key = JSON.stringify([target.tenant, target.account, target.googleCalendarId]);
      const known = waiting.get(key);
      if (known) return known.told.promise;
      if (closing.signal.aborted) return Promise.reject(notAsked(target, CLOSED));
      if (waiting.size >= MOST_WAITING) {
        return Promise.reject(
          notAsked(target, `${MOST_WAITING} calendars wait for theirs already`),
        );
      }
      const told = Promise.withResolvers<void>();
      waiting.set(key, { target, told });
      startNext();
      return told.promise;
    },
    close: async () => {
      closing.abort(new Error(CLOSED));
      for (const { target, told } of waiting.values()) told.reject(notAsked(target, CLOSED));
      waiting.clear();
      while (asking.size > 0) await Promise.all(asking.values());
    },
  };
}

const CLOSED = "the client is closed";

const problemSchema = z.object({ detail: z.string() });

interface Answer {
  readonly kind: "asked" | "failed" | "try-again";
  readonly error: RefreshNotRequested | undefined;
  readonly waitMs: number;
}

function createSend(
  options: { readonly address: string; readonly token: string },
  deps: { readonly clock: Clock; readonly fetch: typeof fetch },
): (target: RefreshTarget, signal: AbortSignal) => Promise<void> {
  async function post(target: RefreshTarget, signal: AbortSignal): Promise<Answer> {
    try {
      const response = await deps.fetch(options.address, {
        method: "POST",
        headers: {
          authorization: `Bearer ${options.token}`,
          "content-type": "application/json",
        },
        body: JSON.stringify(target),
        redirect: "error",
        signal: AbortSignal.any([signal, AbortSignal.timeout(ASK_TIMEOUT_MS)]),
      });
      return judge(target, response, await response.text());
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      return {
        kind: "try-again",
        error: notAsked(target, `${options.address} was not reached: ${why}`, error),
        waitMs: BETWEEN_TRIES_MS,
      };
    }
  }

  return async (target, signal) => {
    for (let tries = 1; ; tries += 1) {
      const { kind, error, waitMs } = await post(target, signal);
      if (error === undefined) return;
      if (kind === "failed" || tries === MOST_TRIES || signal.aborted) throw error;
      try {
        await deps.clock.sleep(waitMs * tries, signal);
      } catch {
        throw error;
      }
    }
  };
}

function judge(target: RefreshTarget, response: Response, text: string): Answer {
  const { status } = response;
  if (response.ok) return { kind: "asked", error: undefined, waitMs: 0 };
  const why = `Ballast answered ${status}: ${detailOf(text)}`;
  const error = new RefreshNotRequested(target, { why, status });
  if (status !== 429 && status < 500) return { kind: "failed", error, waitMs: 0 };
  const seconds = Number(response.headers.get("retry-after") ?? Number.NaN);
  if (!Number.isFinite(seconds)) return { kind: "try-again", error, waitMs: BETWEEN_TRIES_MS };
  const waitMs = Math.max(BETWEEN_TRIES_MS, seconds * 1_000);
  return { kind: waitMs <= LONGEST_RETRY_AFTER_MS ? "try-again" : "failed", error, waitMs };
}

function detailOf(text: string): string {
  try {
    const problem = problemSchema.safeParse(JSON.parse(text));
    return problem.success ? problem.data.detail : "no reason given";
  } catch {
    return "no reason given";
  }
}

function notAsked(target: RefreshTarget, why: string, cause?: unknown): RefreshNotRequested {
  return new RefreshNotRequested(target, { why, cause });
}
