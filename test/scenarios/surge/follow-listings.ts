/**
 * Which calendars Google was asked to list, and when each request came there, read off its log now and then.
 *
 * States: following → stopped, after a last look.
 */
import { z } from "zod";
import { pause } from "../wait-until.ts";

/** A calendar as Google knows it: by one account. */
export interface Place {
  readonly account: string;
  readonly googleId: string;
}

/** What has arrived at Google. */
export interface Listings {
  /** When listings of this calendar came, by the wall clock, oldest first. */
  of(place: Place): readonly number[];
  /** Everything that had come by now is known when this resolves. */
  look(): Promise<void>;
  stop(): Promise<void>;
}

const pageSchema = z.object({
  next: z.number(),
  requests: z.array(
    z.object({
      atMs: z.number(),
      operation: z.string(),
      account: z.string(),
      calendar: z.string(),
    }),
  ),
});

const LOOK_EVERY_MS = 1_000;
const PAGE = 10_000;

export function followListings(controlUrl: string): Listings {
  const byPlace = new Map<string, number[]>();
  const stopping = new AbortController();
  let after = 0;
  let looking: Promise<void> = Promise.resolve();

  const readPages = async (): Promise<void> => {
    for (;;) {
      const answer = await fetch(
        `${controlUrl}requests?after=${String(after)}&limit=${String(PAGE)}`,
      );
      const { requests, next } = pageSchema.parse(await answer.json());
      for (const { atMs, operation, account, calendar } of requests) {
        if (operation !== "events.list") continue;
        const key = keyOf({ account, googleId: calendar });
        const times = byPlace.get(key) ?? [];
        times.push(atMs);
        byPlace.set(key, times);
      }
      after = next;
      if (requests.length < PAGE) return;
    }
  };
  // One look at a time: two would both read what follows the same request.
  const look = (): Promise<void> => {
    looking = looking.then(readPages);
    return looking;
  };
  const follow = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await look();
      await pause(LOOK_EVERY_MS);
    }
  };
  const following = follow();

  return {
    of: (place) => byPlace.get(keyOf(place)) ?? [],
    look,
    async stop() {
      stopping.abort();
      await following;
    },
  };
}

/** Most that came of one calendar within any such time. */
export function mostWithin(times: readonly number[], windowMs: number): number {
  let most = 0;
  let oldest = 0;
  const sorted = times.toSorted((a, b) => a - b);
  for (const [index, at] of sorted.entries()) {
    while ((sorted[oldest] ?? at) <= at - windowMs) oldest += 1;
    most = Math.max(most, index - oldest + 1);
  }
  return most;
}

function keyOf({ account, googleId }: Place): string {
  return JSON.stringify([account, googleId]);
}
