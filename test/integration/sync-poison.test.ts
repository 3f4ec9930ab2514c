import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { CalendarSource, EventsPage } from "../../src/core/calendar-source.ts";
import { CallFailed } from "../../src/core/failure.ts";
import type { CalendarId } from "../../src/core/ids.ts";
import { openSyncWorld, type SyncWorld, type SyncWorldNeeds } from "../support/sync-world.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const HOUR = 3_600_000;

type ListEvents = CalendarSource["listEvents"];
type Query = Parameters<ListEvents>[1];

/** A world whose one calendar is published, and from then on is answered by `answer`. */
async function openPoisoned(needs: Partial<SyncWorldNeeds> = {}): Promise<{
  readonly world: SyncWorld;
  readonly id: CalendarId;
  readonly poison: (answer: (query: Query, asked: number) => EventsPage) => void;
  readonly asked: () => number;
}> {
  const script: { answer: ((query: Query, asked: number) => EventsPage) | undefined } = {
    answer: undefined,
  };
  let asked = 0;
  const world = await openSyncWorld({
    databaseUrl: `sqlite:${join(await temporaryDirectory(), "ballast.db")}`,
    simulator: { seed: 5, generate: { accounts: 1, calendars: 1, events: 20 } },
    wrapSource: (source) => ({
      ...source,
      listEvents: async (target, query, options) => {
        if (script.answer === undefined) return source.listEvents(target, query, options);
        asked += 1;
        options.onSent?.();
        return script.answer(query, asked);
      },
    }),
    ...needs,
  });
  const [row] = await world.calendars();
  if (row === undefined) throw new Error("No calendar was discovered");
  await world.refresh(row.id);
  return {
    world,
    id: row.id,
    asked: () => asked,
    poison: (answer) => {
      script.answer = answer;
    },
  };
}

function page(nextPageToken: string, ids: readonly string[]): EventsPage {
  return {
    items: ids.map((id) => ({ id })),
    bytes: 100,
    nextPageToken,
    nextSyncToken: undefined,
    timeZone: undefined,
    accessRole: undefined,
  };
}

/** How many of the next days' looks reached the calendar, and at how many requests. */
async function passDays(
  { world, id }: { readonly world: SyncWorld; readonly id: CalendarId },
  days: number,
): Promise<number> {
  let looks = 0;
  for (let hour = 0; hour < days * 24; hour += 1) {
    await world.store.clock.advance(HOUR);
    if ((await world.refresh(id)).kind !== "skipped") looks += 1;
  }
  return looks;
}

describe("I8: a listing that does not end", () => {
  const endless: Record<
    string,
    {
      readonly answer: (query: Query, asked: number) => EventsPage;
      readonly requests: number;
      readonly days: number;
    }
  > = {
    "because its page tokens lead in a circle": {
      answer: (_query, asked) => page(`token-${String(asked % 3)}`, [`event-${String(asked)}`]),
      requests: 4,
      days: 3,
    },
    "because its pages are all empty": {
      answer: (_query, asked) => page(`token-${String(asked)}`, []),
      requests: 100,
      days: 3,
    },
    "because it repeats the same events": {
      answer: (_query, asked) => page(`token-${String(asked)}`, ["a", "b"]),
      requests: 101,
      days: 3,
    },
    "although each page brings something new": {
      answer: (_query, asked) => page(`token-${String(asked)}`, [`event-${String(asked)}`]),
      requests: 4_000,
      days: 1,
    },
  };

  test.for(Object.entries(endless))(
    "%s is cut off, set aside with its reason, and looked at once a day",
    { timeout: 180_000 },
    async ([, { answer, requests, days }]) => {
      const poisoned = await openPoisoned();
      const { world, id, poison, asked } = poisoned;
      const before = await world.read(id);
      poison(answer);
      expect(await world.refreshNow(id)).toMatchObject({ kind: "postponed", requests });
      expect(await world.row(id)).toMatchObject({
        state: "slowed",
        stateReason: "BALLAST_ENDLESS_LISTING",
        hasUnfinishedRefresh: false,
        generation: 1,
      });
      expect(await world.read(id)).toEqual(before);

      const looks = await passDays(poisoned, days);
      expect(looks).toBeGreaterThanOrEqual(Math.floor(days / 1.25));
      expect(looks).toBeLessThanOrEqual(Math.ceil(days / 0.75));
      expect(asked()).toBe(requests * (1 + looks));
    },
  );

  test("is read in full by whoever asks once Google is sane again", async () => {
    const { world, id, poison } = await openPoisoned();
    poison((_query, asked) => page(`token-${String(asked % 2)}`, ["a"]));
    await world.refreshNow(id);
    world.simulator.changes.apply(5);
    poison((query) => {
      expect([query.pageToken, typeof query.syncToken]).toEqual([undefined, "string"]);
      return { ...page("", []), nextPageToken: undefined, nextSyncToken: "sane" };
    });
    expect(await world.refreshNow(id)).toMatchObject({ kind: "published" });
    expect((await world.row(id)).state).toBe("fresh");
  });
});

test("I8: a page token that dies each time it is used is not read from its first page for ever", async () => {
  // Each job has time for one page, so that each page token is used by the next job.
  const poisoned = await openPoisoned({ jobDeadlineMs: 0 });
  const { world, id, poison, asked } = poisoned;
  let firstPages = 0;
  poison(({ pageToken }, n) => {
    if (pageToken !== undefined) {
      throw new CallFailed({ kind: "page-token-dead" }, { operation: "events.list" });
    }
    firstPages += 1;
    return page(`token-${String(n)}`, ["a"]);
  });
  await world.store.calendars.request(id, { class: "poll", dueAt: world.store.now() });
  for (let look = 0; look < 500; look += 1) {
    await world.refresh(id);
    await world.store.clock.advance(60_000);
  }
  expect(await world.row(id)).toMatchObject({
    state: "slowed",
    stateReason: "GCAL_PAGE_TOKEN_DEAD",
  });
  expect(firstPages).toBeGreaterThan(5);
  expect(firstPages).toBeLessThan(15);
  const during = asked();
  await passDays(poisoned, 2);
  expect(asked() - during).toBeLessThan(2 * 2 * 6);
});

test("I8: notifications during its refresh do not bring back a calendar that is set aside; a person does", async () => {
  const { world, id, poison } = await openPoisoned();
  const ask = (requestClass: "push" | "interactive"): Promise<unknown> =>
    world.store.calendars.request(id, { class: requestClass, dueAt: world.store.now() });
  const during: { act: Promise<unknown> } = { act: Promise.resolve() };
  poison((_query, asked) => {
    if (asked === 1) during.act = ask("push");
    return page("token", ["a"]);
  });
  await world.refreshNow(id);
  await during.act;
  expect(await world.row(id)).toMatchObject({ state: "slowed", dueReason: "backoff" });
  expect(await world.refresh(id)).toEqual({ kind: "skipped", reason: "not-due" });
  await ask("interactive");
  expect((await world.refresh(id)).kind).toBe("postponed");
});
