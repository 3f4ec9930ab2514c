import { join } from "node:path";
import { describe, expect, test } from "vitest";
import type { CalendarRow } from "../../src/core/calendar-store.ts";
import { openSyncWorld, type SyncWorld } from "../support/sync-world.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const MINUTE = 60_000;

/** One account with its primary calendar and six whose ids break clients that encode or fold them wrongly. */
async function openWorld(): Promise<SyncWorld> {
  const directory = await temporaryDirectory();
  return openSyncWorld({
    databaseUrl: `sqlite:${join(directory, "ballast.db")}`,
    simulator: { seed: 3, generate: { accounts: 1, calendars: 6, events: 4 } },
  });
}

async function rowOf(world: SyncWorld, googleId: string): Promise<CalendarRow> {
  const row = (await world.calendars()).find((one) => String(one.googleId) === googleId);
  if (row === undefined) throw new Error(`${googleId} was not discovered`);
  return row;
}

function simulated(
  world: SyncWorld,
  row: CalendarRow,
): Parameters<SyncWorld["simulator"]["world"]["setAccess"]>[0] {
  const calendar = world.simulator.world.calendars.get(String(row.googleId));
  if (calendar === undefined) throw new Error("The simulator does not know it");
  return calendar;
}

const EMAIL = "user1@example.com";

test("finds every calendar, whatever its id is made of, and each is read by its own id", async () => {
  const world = await openWorld();
  const rows = await world.calendars();
  expect(rows.map(({ googleId }) => String(googleId)).toSorted()).toEqual(
    [...world.simulator.world.calendars.keys()].toSorted(),
  );
  const texts = rows.map(({ googleId }) => String(googleId)).join("\n");
  for (const part of [":", "/", "#", "%", "☕"]) expect(texts).toContain(part);
  expect(new Set(texts.toLowerCase().split("\n")).size).toBeLessThan(rows.length);

  for (const { id } of rows) {
    expect(await world.refresh(id)).toMatchObject({ kind: "published" });
    const held = (await world.read(id)).toSorted((a, b) => (a.id < b.id ? -1 : 1));
    expect(held).toEqual(await world.truth(id));
  }
});

test("asks for a delta from then on, and what is new is due for its first sync", async () => {
  const world = await openWorld();
  world.simulator.world.addCalendar({
    id: "late@group.calendar.google.com",
    summary: "Late",
    timeZone: "UTC",
    ownerEmail: EMAIL,
  });
  const before = world.google.broker.asks.length;
  expect(await world.discover()).toMatchObject({ changes: { added: 1 }, requests: 1 });
  expect(world.google.broker.asks.length - before).toBe(1);
  expect(await rowOf(world, "late@group.calendar.google.com")).toMatchObject({
    state: "never",
    dueReason: "first-sync",
  });
});

describe("a calendar that the account has lost", () => {
  test("is lost, is not asked for any more, and is not taken for empty", async () => {
    const world = await openWorld();
    const [first] = await world.calendars();
    if (first === undefined) throw new Error("No calendar");
    await world.refresh(first.id);
    const copy = await world.read(first.id);

    world.simulator.world.setAccess(simulated(world, first), EMAIL, "none");
    expect(await world.discover()).toMatchObject({ changes: { lost: 1 } });
    expect((await world.row(first.id)).state).toBe("lost");
    expect(await world.read(first.id)).toEqual(copy);
    expect(await world.refresh(first.id)).toMatchObject({ kind: "skipped" });
  });

  test("keeps its id and is refreshed again when it comes back", async () => {
    const world = await openWorld();
    const [first] = await world.calendars();
    if (first === undefined) throw new Error("No calendar");
    await world.refresh(first.id);
    const calendar = simulated(world, first);
    world.simulator.world.setAccess(calendar, EMAIL, "none");
    await world.discover();
    world.simulator.world.setAccess(calendar, EMAIL, "owner");
    world.simulator.changes.apply(6, { calendars: [String(first.googleId)] });

    expect(await world.discover()).toMatchObject({ changes: { returned: 1 } });
    expect(await world.refresh(first.id)).toMatchObject({ kind: "published" });
    const held = (await world.read(first.id)).toSorted((a, b) => (a.id < b.id ? -1 : 1));
    expect(held).toEqual(await world.truth(first.id));
  });
});

test("a calendar that came back is lost again only by two answers in a row", async () => {
  const world = await openWorld();
  const [first] = await world.calendars();
  if (first === undefined) throw new Error("No calendar");
  const calendar = simulated(world, first);
  const missing = {
    match: { operation: "events.list" },
    answer: { kind: "error", status: 404, reason: "notFound" },
  } as const;
  world.simulator.faults.install({ faults: [missing] });
  await world.refresh(first.id);
  await world.store.clock.advance(2 * MINUTE);
  await world.refresh(first.id);
  expect((await world.row(first.id)).state).toBe("lost");

  world.simulator.world.setAccess(calendar, EMAIL, "reader");
  expect(await world.discover()).toMatchObject({ changes: { returned: 1 } });
  await world.refresh(first.id);
  expect((await world.row(first.id)).state).toBe("never");
  await world.store.clock.advance(2 * MINUTE);
  await world.refresh(first.id);
  expect((await world.row(first.id)).state).toBe("lost");
});

test("a dead list token leads to the whole list, in the same job", async () => {
  const world = await openWorld();
  world.simulator.faults.install({
    faults: [
      { match: { operation: "calendarList.list", times: 1 }, answer: { kind: "token-death" } },
    ],
  });
  expect(await world.discover()).toMatchObject({ kind: "applied", requests: 2 });
  expect((await world.calendars()).every(({ state }) => state === "never")).toBe(true);
});

test("a failure leaves every calendar as it was and is tried again later", async () => {
  const world = await openWorld();
  const before = await world.calendars();
  world.simulator.faults.install({
    faults: [{ match: { operation: "calendarList.list" }, answer: { kind: "malformed" } }],
  });
  expect(await world.discover()).toMatchObject({
    kind: "postponed",
    code: "GCAL_MALFORMED_RESPONSE",
  });
  expect(await world.calendars()).toEqual(before);
  const account = await world.store.accounts.get(world.accountId);
  expect(account?.discoveryDueAt).toBeGreaterThan(world.store.now());

  world.simulator.faults.install({ faults: [] });
  await world.store.clock.advance(30 * MINUTE);
  expect(await world.discover()).toMatchObject({ kind: "applied" });
});
