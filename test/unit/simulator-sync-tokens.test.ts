import { array, assert as check, constant, integer, oneof, property } from "fast-check";
import { expect, test } from "vitest";
import { epochMs, systemClock } from "../../src/core/clock.ts";
import type { ApiCall, ApiContext } from "../../src/simulator/api-call.ts";
import { createChangeGenerator } from "../../src/simulator/change-generator.ts";
import { listEvents } from "../../src/simulator/events-list.ts";
import { GoogleError } from "../../src/simulator/google-error.ts";
import { consultOracle } from "../../src/simulator/oracle.ts";
import { createRandom } from "../../src/simulator/random.ts";
import { seedAccount } from "../../src/simulator/seed-world.ts";
import type { EventResource } from "../../src/simulator/wire-resources.ts";
import { createWorld } from "../../src/simulator/world.ts";

interface ListPage {
  readonly items: EventResource[];
  readonly nextPageToken?: string;
  readonly nextSyncToken?: string;
}

/** The simplest client there is: it believes pages and tokens. */
function createMirror(list: (query: Record<string, string>) => ListPage): {
  step: () => void;
  drain: () => EventResource[];
} {
  let events = new Map<string, EventResource>();
  let staged: Map<string, EventResource> | undefined;
  let syncToken: string | undefined;
  let pageToken: string | undefined;
  const step = (): void => {
    const isFull = syncToken === undefined;
    try {
      const page = list({
        maxResults: "3",
        ...(syncToken === undefined ? {} : { syncToken }),
        ...(pageToken === undefined ? {} : { pageToken }),
      });
      const target = isFull ? (staged ??= new Map<string, EventResource>()) : events;
      for (const event of page.items) target.set(event.id ?? "", event);
      pageToken = page.nextPageToken;
      if (pageToken !== undefined) return;
      if (staged) events = staged;
      staged = undefined;
      syncToken = page.nextSyncToken;
    } catch (error) {
      if (!(error instanceof GoogleError) || error.detail.status !== 410) throw error;
      syncToken = undefined;
      pageToken = undefined;
      staged = undefined;
    }
  };
  const isUnfinished = (): boolean => pageToken !== undefined || syncToken === undefined;
  const isLiving = (id: string | null | undefined): boolean =>
    events.has(id ?? "") && events.get(id ?? "")?.status !== "cancelled";
  return {
    step,
    drain() {
      do step();
      while (isUnfinished());
      return [...events.values()].filter(
        (event) => event.status !== "cancelled" || isLiving(event.recurringEventId),
      );
    },
  };
}

function onError(error: unknown): void {
  throw error;
}

function byId(events: readonly EventResource[]): EventResource[] {
  return events.toSorted((left, right) => ((left.id ?? "") < (right.id ?? "") ? -1 : 1));
}

test("a client that follows page and sync tokens ends with exactly what exists, whatever changes between its pages", () => {
  const action = oneof(
    { weight: 5, arbitrary: constant("page" as const) },
    { weight: 4, arbitrary: integer({ min: 1, max: 12 }) },
    { weight: 1, arbitrary: constant("expire" as const) },
  );
  let pages = 0;
  let deltas = 0;
  check(
    property(integer(), array(action, { maxLength: 40 }), (seed, actions) => {
      const clock = { ...systemClock, now: () => epochMs(1_767_225_600_000) };
      const world = createWorld({ secret: `s${seed}`, keepsHistory: true }, { clock });
      const account = seedAccount(world, "a@example.com");
      const calendar = world.calendars.get(account.email);
      if (!calendar) throw new Error("no calendar");
      const changes = createChangeGenerator({ world, clock, random: createRandom(seed), onError });
      const context: ApiContext = { world, syncTokenLifetimeMs: 1e12 };
      const list = (query: Record<string, string>): ListPage => {
        pages += 1;
        if (query["syncToken"] !== undefined) deltas += 1;
        const call: ApiCall = {
          operation: "events.list",
          calendarId: account.email,
          eventId: "",
          query: new URLSearchParams(query),
          queryText: new URLSearchParams(query).toString(),
          ifMatch: undefined,
          ifNoneMatch: undefined,
          body: "",
          account,
          wantsEmptyPage: false,
        };
        return JSON.parse(listEvents(call, context).body ?? "") as ListPage;
      };
      const mirror = createMirror(list);
      changes.apply(10);
      for (const step of actions) {
        if (step === "page") mirror.step();
        else if (step === "expire") calendar.tokenEpoch += 1;
        else changes.apply(step);
      }
      mirror.drain();
      // One more delta for what changed under the last list.
      const mirrored = mirror.drain();
      expect(byId(mirrored)).toEqual(byId([...consultOracle(calendar, 0).current]));
    }),
    { numRuns: 150, seed: 7 },
  );
  expect(pages).toBeGreaterThan(500);
  expect(deltas).toBeGreaterThan(100);
});
