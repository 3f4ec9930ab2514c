import { connect } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createRandom } from "../../src/simulator/random.ts";
import { createSimulator } from "../../src/simulator/simulator.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";
import { connectClient } from "../support/simulator-client.ts";
import type { SimulatorClient } from "../support/simulator-client.ts";

let simulator: Simulator;
let client: SimulatorClient;

beforeAll(async () => {
  simulator = await createSimulator({ generate: { accounts: 1, calendars: 1, events: 20 } });
  client = await connectClient(simulator);
});
afterAll(async () => {
  await simulator.close();
});

const good = {
  start: { dateTime: "2026-01-01T10:00:00Z" },
  end: { dateTime: "2026-01-01T11:00:00Z" },
};

test("bad events are refused with Google's reasons", async () => {
  const cases: [unknown, string][] = [
    [{ end: good.end }, "required"],
    [{ start: good.start }, "required"],
    [{ ...good, end: { dateTime: "2025-01-01T11:00:00Z" } }, "timeRangeEmpty"],
    [{ ...good, start: { date: "2026-02-31" } }, "invalid"],
    [{ ...good, start: { date: "2026-01-01" } }, "invalid"],
    [{ ...good, start: { dateTime: "2026-01-01T10:00:00" } }, "required"],
    [{ ...good, start: { dateTime: "2026-01-01T10:00:00Z", timeZone: "Mars/Olympus" } }, "invalid"],
    [{ ...good, recurrence: ["RRULE:FREQ=OFTEN"] }, "invalid"],
    [{ ...good, recurrence: "RRULE:FREQ=DAILY" }, "invalid"],
    [{ ...good, id: "UPPER" }, "invalid"],
    [{ ...good, status: "maybe" }, "invalid"],
    [{ ...good, attendees: [{ email: 5 }] }, "invalid"],
    [[], "invalid"],
    ["text", "invalid"],
  ];
  for (const [body, reason] of cases) {
    const answer = await client.post("calendars/primary/events", body);
    expect([body, answer.status, answer.body.error?.errors[0]?.reason]).toEqual([
      body,
      400,
      reason,
    ]);
  }
  const answer = await client.send("calendars/primary/events", {
    method: "POST",
    body: "{not json",
  });
  expect(answer.body.error?.errors[0]?.reason).toBe("parseError");
});

test("writes meet Google's other refusals: 404, 409, 410, and 403 for readers", async () => {
  const inserted = await client.post("calendars/primary/events", { ...good, id: "abcde12345" });
  expect(inserted.status).toBe(200);
  const again = await client.post("calendars/primary/events", { ...good, id: "abcde12345" });
  expect([again.status, again.body.error?.errors[0]?.reason]).toEqual([409, "duplicate"]);
  const path = "calendars/primary/events/abcde12345";
  expect((await client.send(path, { method: "DELETE" })).status).toBe(204);
  const gone = await client.send(path, { method: "DELETE" });
  expect([gone.status, gone.body.error?.errors[0]?.reason]).toEqual([410, "deleted"]);
  expect((await client.send(path)).body).toMatchObject({ status: "cancelled" });
  expect((await client.send("calendars/primary/events/none")).status).toBe(404);
  expect((await client.list("%ff")).status).toBe(404);
  expect((await client.send("calendars/%zz/events")).status).toBe(404);
  const [calendar] = [...simulator.world.calendars.values()].slice(1);
  if (!calendar) throw new Error("no calendar");
  for (const [role, list, insert] of [
    ["reader", 200, 403],
    ["freeBusyReader", 403, 403],
    ["owner", 200, 200],
  ] as const) {
    simulator.world.setAccess(calendar, client.account.email, role);
    expect((await client.list(calendar.id)).status).toBe(list);
    const path2 = `calendars/${encodeURIComponent(calendar.id)}/events`;
    expect((await client.post(path2, good)).status).toBe(insert);
  }
});

test("readers see that a private event is there, not what it is, under another etag", async () => {
  const [, calendar] = [...simulator.world.calendars.values()];
  if (!calendar) throw new Error("no calendar");
  const path = `calendars/${encodeURIComponent(calendar.id)}/events`;
  simulator.world.setAccess(calendar, client.account.email, "owner");
  const { body } = await client.post(path, { ...good, summary: "Secret", visibility: "private" });
  const find = async (): Promise<object | undefined> =>
    (await client.list(calendar.id, { maxResults: "2500" })).body.items?.find(
      ({ id }) => id === body.id,
    );
  expect(await find()).toMatchObject({ summary: "Secret", etag: body.etag });
  simulator.world.setAccess(calendar, client.account.email, "reader");
  const masked = await find();
  expect(masked).toMatchObject({ id: body.id, visibility: "private" });
  expect(masked).not.toHaveProperty("summary");
  expect(masked).not.toHaveProperty("etag", body.etag);
  simulator.world.setAccess(calendar, client.account.email, "owner");
});

test("a megabyte of description is stored and listed", async () => {
  const description = "x".repeat(1_000_000);
  const answer = await client.post("calendars/primary/events", { ...good, description });
  expect(answer.status).toBe(200);
  expect((await client.list("primary", { maxResults: "2500" })).text).toContain(description);
});

test("random garbage gets no 5xx and stops nothing", async () => {
  const random = createRandom("garbage");
  const event = simulator.world.calendars.get(client.account.email)?.events.items[0]?.id ?? "";
  const paths = [
    "users/me/calendarList",
    "calendars/primary",
    "calendars/primary/events",
    `calendars/primary/events/${event}`,
    `calendars/primary/events/${event}/instances`,
    `calendars/primary/events/${event}_20260101T100000Z`,
    "calendars/primary/events/watch",
    "channels/stop",
    "freeBusy",
    "colors",
  ];
  const names =
    "maxResults pageToken syncToken singleEvents showDeleted orderBy timeMin timeMax updatedMin q fields eventTypes iCalUID privateExtendedProperty timeZone originalStart minAccessRole".split(
      " ",
    );
  const values = [
    "",
    "0",
    "-1",
    "1e99",
    "true",
    "maybe",
    "2026-13-45T99:99:99Z",
    "((",
    "items(",
    "%",
    "a=b",
    "☃",
    "x".repeat(3000),
    "Zm9v",
    "null",
  ];
  const junk = (depth: number): unknown => {
    if (depth > 3) return null;
    return random.pick<() => unknown>([
      () => null,
      () => random.pick(values),
      () => random.next() * 1e20,
      () => true,
      () => [junk(depth + 1), junk(depth + 1)],
      () =>
        Object.fromEntries(
          [
            "start",
            "end",
            "dateTime",
            "date",
            "recurrence",
            "attendees",
            "id",
            "items",
            "timeMin",
            "timeMax",
            "address",
            "__proto__",
          ]
            .filter(() => random.chance(0.4))
            .map((name) => [name, junk(depth + 1)]),
        ),
    ])();
  };
  const statuses = new Map<number, number>();
  for (let request = 0; request < 1000; request++) {
    const method = random.pick(["GET", "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]);
    const query = new URLSearchParams(
      names
        .filter(() => random.chance(0.15))
        .map((name): [string, string] => [name, random.pick(values)]),
    );
    const answer = await client.send(`${random.pick(paths)}?${query.toString()}`, {
      method,
      ...(method.startsWith("P")
        ? { body: random.chance(0.1) ? "}{" : JSON.stringify(junk(0)) }
        : {}),
    });
    statuses.set(answer.status, (statuses.get(answer.status) ?? 0) + 1);
    const isRefusal = answer.status >= 400 && method !== "HEAD";
    expect(isRefusal ? answer.body.error?.code : answer.status).toBe(answer.status);
  }
  expect([...statuses.keys()].filter((status) => status >= 500)).toEqual([]);
  expect(statuses.get(400)).toBeGreaterThan(100);
  expect(statuses.get(200)).toBeGreaterThan(50);
  expect(simulator.counters().internalErrors).toBe(0);
}, 180_000);

test("bytes that are no HTTP, and clients that hang up, stop nothing", async () => {
  const { hostname, port } = new URL(simulator.url);
  for (const bytes of [
    "\u0000\u0001garbage\r\n\r\n",
    "POST /token HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf",
  ]) {
    await new Promise<void>((resolve) => {
      const socket = connect(Number(port), hostname, () => {
        socket.write(bytes, () => socket.destroySoon());
      });
      socket.on("error", () => {});
      socket.on("close", () => resolve());
    });
  }
  expect((await client.list("primary")).status).toBe(200);
});
