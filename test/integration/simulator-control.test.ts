import { existsSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { runSimulator } from "../../src/simulator/run-simulator.ts";
import { createSimulator } from "../../src/simulator/simulator.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";
import type { Counters, LoggedRequest } from "../../src/simulator/request-log.ts";
import type { OracleReport } from "../../src/simulator/oracle.ts";
import { createManualClock } from "../support/manual-clock.ts";
import { connectClient, control } from "../support/simulator-client.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

async function start(...args: Parameters<typeof createSimulator>): Promise<Simulator> {
  const simulator = await createSimulator(...args);
  onTestFinished(() => simulator.close());
  return simulator;
}

/** The same requests and changes, whatever the simulator. */
async function runScript(seed: string): Promise<{ hash: string; titles: unknown }> {
  const simulator = await createSimulator(
    {
      seed,
      generate: { accounts: 2, calendars: 2, events: 20 },
      faults: {
        faults: [
          { match: { operation: "events.list", probability: 0.4 }, answer: { kind: "html" } },
        ],
      },
    },
    { clock: createManualClock() },
  );
  const client = await connectClient(simulator);
  const titles: unknown[] = [];
  for (let round = 0; round < 15; round++) {
    simulator.changes.apply(5);
    const answer = await client.list("primary");
    titles.push(answer.body.items?.map((item) => [item.id, item.summary, item.start]));
  }
  const { hash } = await control<{ hash: string }>(simulator, "GET requests");
  await simulator.close();
  return { hash, titles };
}

test("two runs of one seed give the same request-log hash and the same events; another seed does not", async () => {
  const first = await runScript("one");
  expect(await runScript("one")).toEqual(first);
  expect((await runScript("two")).hash).not.toBe(first.hash);
});

test("the counters know every arrival and the busiest window, by project and by quota user", async () => {
  const clock = createManualClock();
  const simulator = await start(
    {
      generate: { accounts: 2, calendars: 0, events: 1 },
      limits: { windowSeconds: 10, userPerWindow: 4 },
    },
    { clock },
  );
  const [one, two] = [await connectClient(simulator), await connectClient(simulator, 1)];
  for (let request = 0; request < 3; request++) await one.list("primary");
  await clock.advance(9_999);
  await two.list("primary");
  await one.list("primary");
  await one.list("primary");
  await clock.advance(1);
  await two.send("users/me/calendarList");
  const counters = await control<Counters>(simulator, "GET counters");
  expect(counters).toMatchObject({
    arrivals: 7,
    tokenRequests: 2,
    unattributed: 0,
    byOperation: { "events.list": 6, "calendarList.list": 1, "oauth.token": 2 },
    byOutcome: { ok: 8, rejected: 1 },
    byAccount: { [one.account.email]: 6, [two.account.email]: 3 },
    rejectedByLimit: { "quota-user": 1 },
    windowSeconds: 10,
    mostArrivals: {
      project: 6,
      quotaUser: 5,
      byQuotaUser: { [one.account.sub]: 5, [two.account.sub]: 2 },
    },
  });
  expect(counters).toHaveProperty("longestStallMs");
  // Windows of another length begin anew.
  await control(simulator, "POST limits", { windowSeconds: 20 });
  await two.send("users/me/calendarList");
  expect(await control<Counters>(simulator, "GET counters")).toMatchObject({
    windowSeconds: 20,
    mostArrivals: { project: 1 },
  });
  await control(simulator, "POST counters/reset", {});
  expect((await control<Counters>(simulator, "GET counters")).arrivals).toBe(0);
});

test("the request log is paged, bounded, and its figures outlive it", async () => {
  const simulator = await start({
    generate: { accounts: 1, calendars: 0, events: 0 },
    keepRequests: 5,
  });
  const client = await connectClient(simulator);
  for (let request = 0; request < 8; request++) await client.list("primary");
  await client.list("nowhere");
  const page = await control<{ requests: LoggedRequest[]; next: number }>(
    simulator,
    "GET requests?after=0&limit=3",
  );
  expect(page.requests.map((request) => request.sequence)).toEqual([6, 7, 8]);
  const rest = await control<{ requests: LoggedRequest[] }>(
    simulator,
    `GET requests?after=${page.next}`,
  );
  expect(rest.requests.at(-1)).toMatchObject({
    operation: "events.list",
    account: client.account.email,
    calendar: "nowhere",
    status: 404,
    outcome: "refused",
    reason: "notFound",
  });
  expect(simulator.counters().arrivals).toBe(9);
});

test("the oracle keeps every version of every event, with the time from which it held", async () => {
  const clock = createManualClock();
  const simulator = await start({ generate: { accounts: 1, calendars: 0, events: 0 } }, { clock });
  const client = await connectClient(simulator);
  const inserted = await client.post("calendars/primary/events", {
    summary: "One",
    start: { date: "2026-01-01" },
    end: { date: "2026-01-02" },
  });
  const path = `calendars/primary/events/${inserted.body.id ?? ""}`;
  await clock.advance(1000);
  await client.send(path, { method: "PATCH", body: JSON.stringify({ summary: "Two" }) });
  await clock.advance(1000);
  await client.send(path, { method: "DELETE" });
  const report = await control<OracleReport>(
    simulator,
    `GET oracle?calendar=${encodeURIComponent(client.account.email)}`,
  );
  expect(report.current).toEqual([]);
  const startMs = report.events[0]?.versions[0]?.fromMs ?? 0;
  expect(
    report.events[0]?.versions.map(({ fromMs, toMs, resource }) => [
      fromMs - startMs,
      toMs === undefined ? undefined : toMs - startMs,
      resource.summary ?? resource.status,
    ]),
  ).toEqual([
    [0, 1000, "One"],
    [1000, 2000, "Two"],
    [2000, undefined, "cancelled"],
  ]);
});

test("changes come at a rate until they are stopped", async () => {
  const clock = createManualClock();
  const simulator = await start({ generate: { accounts: 1, calendars: 1, events: 5 } }, { clock });
  const applied = await control<{ applied: Record<string, number> }>(simulator, "POST changes", {
    count: 100,
    perSecond: 200,
    mix: { insert: 1, delete: 1, "acl-change": 1, "token-death": 1 },
  });
  expect(totalOf(applied.applied)).toBe(100);
  await clock.advance(1000);
  expect(totalOf(simulator.changes.made())).toBe(300);
  await control(simulator, "DELETE changes");
  await clock.advance(1000);
  expect(totalOf(simulator.changes.made())).toBe(300);
});

function totalOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}

test("limits, seeds, calendars and accounts change while it runs", async () => {
  const simulator = await start({});
  await control(simulator, "POST seed", { accounts: 2, calendars: 1, events: 2 });
  const client = await connectClient(simulator);
  expect((await client.list("primary")).body.items?.length).toBeGreaterThan(0);
  await control(simulator, "POST limits", { projectPerWindow: 1 });
  expect((await client.list("primary")).status).toBe(200);
  const refused = await client.list("primary");
  expect(refused.body.error?.message).toContain("'Queries per minute' of service");
  await control(simulator, "POST limits", { projectPerWindow: null });
  const owner = client.account.email;
  await control(simulator, "POST calendars", { id: "new@group", owner, summary: "New" });
  expect((await client.list("new@group")).status).toBe(200);
  await control(simulator, "POST calendars", { id: "new@group", isDeleted: true });
  expect((await client.list("new@group")).status).toBe(404);
  await control(simulator, "POST accounts", { account: owner, expireAccessTokens: true });
  expect((await client.list("primary")).status).toBe(401);
  const { error } = await control<{ error: string }>(simulator, "POST limits", {
    windowSeconds: -1,
  });
  expect(error).toContain("windowSeconds");
});

test("a simulator run from files carries on where it stopped: tokens of all kinds still hold", async () => {
  const directory = await temporaryDirectory();
  const stateFile = join(directory, "simulator.json");
  const faultScript = join(directory, "faults.json");
  await writeFile(faultScript, JSON.stringify({ faults: [] }));
  const options = { stateFile, faultScript, accounts: 2, calendars: 7, events: 30, seed: "state" };
  const first = await runSimulator(options);
  const client = await connectClient(first);
  await client.post("calendars/primary/events/watch", {
    id: "kept",
    type: "web_hook",
    address: "http://127.0.0.1:9/",
  });
  const before = await client.list("primary", { maxResults: "2500" });
  const half = await client.list("primary", { maxResults: "10" });
  const { nextSyncToken: listToken = "" } = (await client.send("users/me/calendarList")).body;
  await first.close();

  const second = await runSimulator({ ...options, seed: "ignored" });
  onTestFinished(() => second.close());
  const again = await connectClient(second);
  expect(again.account.refreshToken).toBe(client.account.refreshToken);
  const old = { headers: { authorization: `Bearer ${client.accessToken}` } };
  expect((await again.send("users/me/calendarList", old)).status).toBe(200);
  expect((await again.list("primary", { maxResults: "2500" })).body.items).toEqual(
    before.body.items,
  );
  second.changes.apply(1, { mix: { insert: 1 }, calendars: [again.account.email] });
  const delta = await again.list("primary", { syncToken: before.body.nextSyncToken ?? "" });
  expect(delta.body.items).toHaveLength(1);
  const page = await again.list("primary", {
    maxResults: "10",
    pageToken: half.body.nextPageToken ?? "",
  });
  expect(page.body.items?.[0]?.id).toBe(before.body.items?.[10]?.id);
  expect((await again.send(`users/me/calendarList?syncToken=${listToken}`)).body.items).toEqual([]);
  expect(second.channels.all.get("kept")).toMatchObject({ calendarId: again.account.email });
});

test("a state file that is none is refused, not overwritten", async () => {
  const stateFile = join(await temporaryDirectory(), "simulator.json");
  await writeFile(stateFile, "{}");
  await expect(createSimulator({ stateFile })).rejects.toThrow(/not a simulator state file/);
  expect(readFileSync(stateFile, "utf8")).toBe("{}");
});

test("calendars come from a file of event bodies, dealt out over the accounts", async () => {
  const shared = new URL("../../../shared/data/public-calendars.json", import.meta.url);
  const own = [
    {
      id: "meetings",
      summary: "Meetings",
      timeZone: "Europe/Berlin",
      events: [
        {
          summary: "Weekly",
          start: { dateTime: "2026-01-05T10:00:00", timeZone: "Europe/Berlin" },
          end: { dateTime: "2026-01-05T11:00:00", timeZone: "Europe/Berlin" },
          recurrence: ["RRULE:FREQ=WEEKLY"],
        },
      ],
    },
    { id: "holidays-x", events: [] },
  ];
  const calendars = existsSync(shared)
    ? (JSON.parse(readFileSync(shared, "utf8")) as typeof own)
    : own;
  const simulator = await start({ calendars: { accounts: 2, calendars } });
  const [first] = calendars;
  const id = `${first?.id ?? ""}@group.calendar.google.com`;
  const client = await connectClient(simulator);
  expect((await client.list(id)).body.items).toHaveLength(first?.events.length ?? 0);
  expect(simulator.world.calendars.size).toBe(calendars.length + 2);
  const holiday = [...simulator.world.calendars.values()].find((calendar) =>
    calendar.id.startsWith("holidays-"),
  );
  expect(holiday?.isWatchable).toBe(false);
});
