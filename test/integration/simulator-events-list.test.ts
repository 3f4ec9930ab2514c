import { afterEach, beforeEach, expect, test } from "vitest";
import { createSimulator } from "../../src/simulator/simulator.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";
import { createManualClock } from "../support/manual-clock.ts";
import { connectClient, control } from "../support/simulator-client.ts";
import type { SimulatorAnswer, SimulatorClient } from "../support/simulator-client.ts";

const clock = createManualClock();
let simulator: Simulator;
let client: SimulatorClient;

beforeEach(async () => {
  simulator = await createSimulator(
    {
      seed: "list",
      generate: { accounts: 1, calendars: 6, events: 0 },
      accessTokenLifetimeSeconds: 1e9,
      syncTokenLifetimeMs: 3_600_000,
    },
    { clock },
  );
  client = await connectClient(simulator);
});
afterEach(async () => {
  await simulator.close();
});

function timed(day: number, more: object = {}): object {
  const date = `2026-02-${String(day).padStart(2, "0")}`;
  return {
    summary: `Day ${day}`,
    start: { dateTime: `${date}T09:00:00Z`, timeZone: "Europe/Zurich" },
    end: { dateTime: `${date}T10:00:00Z` },
    ...more,
  };
}

async function insert(event: object): Promise<string> {
  const answer = await client.post("calendars/primary/events", event);
  expect(answer.status).toBe(200);
  return answer.body.id ?? "";
}

function ids(answer: SimulatorAnswer): readonly string[] {
  return (answer.body.items ?? []).map((item) => item.id);
}

function reasonOf(answer: SimulatorAnswer): unknown {
  return [
    answer.status,
    answer.body.error?.errors[0]?.reason,
    answer.body.error?.errors[0]?.location,
  ];
}

test("pages come in a stable order while events change under them, and the sync token covers the listing's beginning", async () => {
  const inserted: string[] = [];
  for (let day = 1; day <= 7; day++) inserted.push(await insert(timed(day)));
  const first = await client.list("primary", { maxResults: "3" });
  expect(ids(first)).toEqual(inserted.slice(0, 3));
  expect(first.body.nextSyncToken).toBeUndefined();

  // Edit one that was read, delete one that was not, add one.
  await client.send(`calendars/primary/events/${inserted[0] ?? ""}`, {
    method: "PATCH",
    body: JSON.stringify({ summary: "Edited" }),
  });
  await client.send(`calendars/primary/events/${inserted[4] ?? ""}`, { method: "DELETE" });
  const added = await insert(timed(20));

  const pageToken = first.body.nextPageToken ?? "";
  const second = await client.list("primary", { maxResults: "3", pageToken });
  expect(ids(second)).toEqual([inserted[3], inserted[5], inserted[6]]);
  const third = await client.list("primary", {
    maxResults: "3",
    pageToken: second.body.nextPageToken ?? "",
  });
  expect(ids(third)).toEqual([added]);
  const delta = await client.list("primary", { syncToken: third.body.nextSyncToken ?? "" });
  expect(delta.body.items?.map((item) => [item.id, item.status])).toEqual([
    [inserted[0], "confirmed"],
    [inserted[4], "cancelled"],
    [added, "confirmed"],
  ]);
  const empty = await client.list("primary", { syncToken: delta.body.nextSyncToken ?? "" });
  expect(empty.body.items).toEqual([]);
  expect(empty.body.nextSyncToken).toBeTypeOf("string");
});

test("a page holds 250 events unless asked otherwise, and never more than 2500", async () => {
  simulator.changes.apply(2600, { mix: { insert: 1 }, calendars: [client.account.email] });
  expect((await client.list("primary")).body.items).toHaveLength(250);
  expect((await client.list("primary", { maxResults: "9999" })).body.items).toHaveLength(2500);
  for (const maxResults of ["0", "-1", "many", "1.5"]) {
    expect((await client.list("primary", { maxResults })).status).toBe(400);
  }
});

test("with a sync token the parameters Google refuses are refused, and other queries' tokens, too", async () => {
  await insert(timed(1));
  const { nextSyncToken: syncToken = "" } = (await client.list("primary")).body;
  const refused = {
    iCalUID: "x",
    orderBy: "updated",
    privateExtendedProperty: "a=b",
    q: "x",
    sharedExtendedProperty: "a=b",
    timeMin: "2026-01-01T00:00:00Z",
    timeMax: "2026-01-01T00:00:00Z",
    updatedMin: "2026-01-01T00:00:00Z",
    showDeleted: "false",
  };
  for (const [name, value] of Object.entries(refused)) {
    const answer = await client.list("primary", { syncToken, [name]: value });
    expect(reasonOf(answer)).toEqual([400, "syncTokenWithRequestRestrictions", name]);
  }
  expect((await client.list("primary", { syncToken, singleEvents: "true" })).status).toBe(400);
  expect((await client.list("primary", { syncToken, showDeleted: "true" })).status).toBe(200);
  expect((await client.list("primary", { syncToken, maxResults: "5" })).status).toBe(200);
  expect(reasonOf(await client.list("primary", { syncToken: "garbage" }))).toEqual([
    400,
    "invalid",
    "syncToken",
  ]);
  const other = simulator.accounts()[0]?.list.items[1]?.calendarId ?? "";
  expect((await client.list(other, { syncToken })).status).toBe(400);
});

test("the page token of one query is refused by another", async () => {
  await insert(timed(1));
  await insert(timed(2));
  const { nextPageToken: pageToken = "" } = (await client.list("primary", { maxResults: "1" }))
    .body;
  expect((await client.list("primary", { pageToken, maxResults: "1" })).status).toBe(200);
  for (const other of [{ singleEvents: "true" }, { timeMin: "2026-01-01T00:00:00Z" }]) {
    const answer = await client.list("primary", { pageToken, ...other });
    expect(reasonOf(answer)).toEqual([400, "invalid", "pageToken"]);
  }
});

test("sync tokens die of age, of an access change, and on demand", async () => {
  const isDead = async (kill: () => Promise<unknown>): Promise<void> => {
    const { nextSyncToken: syncToken = "" } = (await client.list("primary")).body;
    expect((await client.list("primary", { syncToken })).status).toBe(200);
    await kill();
    expect(reasonOf(await client.list("primary", { syncToken }))).toEqual([
      410,
      "fullSyncRequired",
      "syncToken",
    ]);
  };
  const calendar = client.account.email;
  await isDead(() => clock.advance(3_600_001));
  await isDead(() => control(simulator, "POST acl-change", { calendar }));
  await isDead(() => control(simulator, "POST sync-tokens/expire", { calendar }));
  await isDead(() =>
    control(simulator, "POST faults", {
      faults: [{ match: { operation: "events.list", times: 1 }, answer: { kind: "token-death" } }],
    }),
  );
});

test("full lists show no deletions except the cancelled instances of living series; deltas show all", async () => {
  const { nextSyncToken: syncToken = "" } = (await client.list("primary")).body;
  const single = await insert(timed(1));
  const series = await insert(timed(2, { recurrence: ["RRULE:FREQ=DAILY;COUNT=5"] }));
  const dead = await insert(timed(3, { recurrence: ["RRULE:FREQ=DAILY;COUNT=5"] }));
  for (const id of [single, `${series}_20260203T090000Z`, `${dead}_20260204T090000Z`, dead]) {
    const answer = await client.send(`calendars/primary/events/${id}`, { method: "DELETE" });
    expect(answer.status).toBe(204);
  }
  const full = await client.list("primary");
  expect(ids(full)).toEqual([series, `${series}_20260203T090000Z`]);
  const cancelled = full.body.items?.[1];
  expect(cancelled).toMatchObject({
    status: "cancelled",
    recurringEventId: series,
    originalStartTime: { dateTime: "2026-02-03T10:00:00+01:00" },
  });
  const delta = await client.list("primary", { syncToken });
  expect(new Set(ids(delta))).toEqual(
    new Set([single, series, dead, `${series}_20260203T090000Z`, `${dead}_20260204T090000Z`]),
  );
  const tombstone = delta.body.items?.find((item) => item.id === single);
  expect(Object.keys(tombstone ?? {}).toSorted()).toEqual(["etag", "id", "kind", "status"]);
  expect(ids(await client.list("primary", { showDeleted: "true" }))).toHaveLength(5);
});

test("an empty page can have a next one, and nothing is lost by it", async () => {
  const inserted = [await insert(timed(1)), await insert(timed(2))];
  simulator.faults.install({
    faults: [
      { match: { operation: "events.list", probability: 1 }, answer: { kind: "empty-page" } },
    ],
  });
  const seen: string[] = [];
  let emptyPages = 0;
  let pageToken: string | undefined;
  do {
    const answer = await client.list("primary", pageToken === undefined ? {} : { pageToken });
    if (answer.body.items?.length === 0) emptyPages += 1;
    seen.push(...ids(answer));
    pageToken = answer.body.nextPageToken;
  } while (pageToken !== undefined);
  expect(seen).toEqual(inserted);
  expect(emptyPages).toBe(1);
});

test("conditional requests: 304 for what the client has, 412 for an edit of something else", async () => {
  const id = await insert(timed(1));
  const path = `calendars/primary/events/${id}`;
  const etag = (await client.send(path)).body.etag ?? "";
  expect((await client.send(path, { headers: { "if-none-match": etag } })).status).toBe(304);
  const listEtag = (await client.list("primary")).headers.get("etag") ?? "";
  const again = { headers: { "if-none-match": listEtag } };
  expect((await client.send("calendars/primary/events?", again)).status).toBe(304);
  const patch = (ifMatch: string, summary: string): Promise<SimulatorAnswer> =>
    client.send(path, {
      method: "PATCH",
      headers: { "if-match": ifMatch },
      body: JSON.stringify({ summary }),
    });
  expect((await patch(etag, "New")).status).toBe(200);
  expect(reasonOf(await patch(etag, "Newer"))).toEqual([412, "conditionNotMet", "If-Match"]);
  expect((await client.send(path, { headers: { "if-none-match": etag } })).status).toBe(200);
  expect((await client.send("calendars/primary/events?", again)).status).toBe(200);
});

test("calendar ids with every awkward character, and ids that differ only by case, are different calendars", async () => {
  const calendars = simulator.accounts()[0]?.list.items.map((item) => item.calendarId) ?? [];
  expect(calendars.some((id) => /[:/#%]/.test(id))).toBe(true);
  expect(new Set(calendars.map((id) => id.toLowerCase())).size).toBeLessThan(calendars.length);
  for (const [index, id] of calendars.entries()) {
    const path = `calendars/${encodeURIComponent(id)}/events`;
    expect((await client.post(path, timed(1 + index))).status).toBe(200);
  }
  for (const [index, id] of calendars.entries()) {
    const { items } = (await client.list(id)).body;
    expect(items?.map((item) => item.summary)).toEqual([`Day ${1 + index}`]);
    const metadata = await client.send(`calendars/${encodeURIComponent(id)}`);
    expect(metadata.body.id).toBe(id);
  }
});

test("a fields mask keeps what it names and nothing else", async () => {
  await insert(timed(1, { attendees: [{ email: client.account.email }], location: "Room" }));
  const fields = "items(id,start/dateTime,attendees(self,responseStatus)),nextSyncToken";
  const { body } = await client.list("primary", { fields });
  expect(Object.keys(body).toSorted()).toEqual(["items", "nextSyncToken"]);
  expect(body.items).toEqual([
    {
      id: expect.any(String) as string,
      start: { dateTime: "2026-02-01T10:00:00+01:00" },
      attendees: [{ self: true, responseStatus: "needsAction" }],
    },
  ]);
  expect((await client.list("primary", { fields: "items(id" })).status).toBe(400);
});

test("times, words, types and order restrict a list; such lists expand series when asked", async () => {
  await insert(timed(5, { summary: "Alpha" }));
  await insert(timed(1, { summary: "Beta", recurrence: ["RRULE:FREQ=WEEKLY;COUNT=3"] }));
  const window = { timeMin: "2026-02-07T00:00:00Z", timeMax: "2026-02-16T00:00:00Z" };
  expect((await client.list("primary", window)).body.items?.map((item) => item.summary)).toEqual([
    "Beta",
  ]);
  const ordered = await client.list("primary", { singleEvents: "true", orderBy: "startTime" });
  expect(ordered.body.items?.map((item) => item.start?.dateTime?.slice(5, 10))).toEqual([
    "02-01",
    "02-05",
    "02-08",
    "02-15",
  ]);
  expect(ordered.body.nextSyncToken).toBeUndefined();
  expect((await client.list("primary", { orderBy: "startTime" })).status).toBe(400);
  expect((await client.list("primary", { q: "alp" })).body.items).toHaveLength(1);
  expect((await client.list("primary", { eventTypes: "focusTime" })).body.items).toEqual([]);
  const swapped = { timeMin: window.timeMax, timeMax: window.timeMin };
  expect(reasonOf(await client.list("primary", swapped))).toEqual([
    400,
    "timeRangeEmpty",
    "timeMax",
  ]);
  // The token of a restricted list carries its restriction.
  const { nextSyncToken: syncToken = "" } = (await client.list("primary", window)).body;
  await insert(timed(20));
  const inside = await insert(timed(10));
  expect(ids(await client.list("primary", { syncToken }))).toEqual([inside]);
});

test("the calendar list syncs by token: hidden and removed calendars are told", async () => {
  const first = await client.send("users/me/calendarList?maxResults=4");
  expect(first.body.items).toHaveLength(4);
  const rest = await client.send(
    `users/me/calendarList?maxResults=4&pageToken=${first.body.nextPageToken ?? ""}`,
  );
  expect(rest.body.items).toHaveLength(3);
  const syncToken = rest.body.nextSyncToken ?? "";
  const [, hidden, lost] = simulator.accounts()[0]?.list.items ?? [];
  const account = client.account.email;
  await control(simulator, "POST calendar-list", {
    calendar: hidden?.calendarId,
    account,
    hidden: true,
  });
  await control(simulator, "POST acl-change", {
    calendar: lost?.calendarId,
    account,
    role: "none",
  });
  const delta = await client.send(`users/me/calendarList?syncToken=${syncToken}`);
  expect(delta.body.items).toMatchObject([
    { id: hidden?.calendarId, hidden: true },
    { id: lost?.calendarId, deleted: true },
  ]);
  expect((await client.list(lost?.calendarId ?? "")).status).toBe(404);
  expect((await client.send("users/me/calendarList")).body.items).toHaveLength(5);
  const refused = await client.send(
    `users/me/calendarList?syncToken=${syncToken}&minAccessRole=reader`,
  );
  expect(refused.status).toBe(400);
});
