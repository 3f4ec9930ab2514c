import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { loadConfig } from "../../src/config/config.ts";
import { epochMs, systemClock } from "../../src/core/clock.ts";
import type { GoogleEvent } from "../../src/core/google-event.ts";
import { accountName, projectId, tenantId, type CalendarId } from "../../src/core/ids.ts";
import { openAppStore } from "../../src/operator-app.ts";
import { runBallast } from "../support/ballast-process.ts";

vi.setConfig({ testTimeout: 180_000 });

type Store = Awaited<ReturnType<typeof openAppStore>>;

const EVENTS: readonly GoogleEvent[] = [
  {
    id: "series",
    status: "confirmed",
    summary: "Standup\u001b[31m",
    start: { dateTime: "2026-01-05T09:00:00Z" },
    end: { dateTime: "2026-01-05T09:15:00Z" },
    recurrence: ["RRULE:FREQ=DAILY"],
  },
  {
    id: "series_20260106T090000Z",
    status: "confirmed",
    summary: "Standup, later",
    recurringEventId: "series",
    originalStartTime: { dateTime: "2026-01-06T09:00:00Z" },
    start: { dateTime: "2026-01-06T10:00:00Z" },
    end: { dateTime: "2026-01-06T10:15:00Z" },
  },
  { id: "without-start", status: "confirmed", summary: "No start" },
];

let home = "";
let env: Record<string, string> = {};
let ids: readonly CalendarId[] = [];

/** Two calendars, one of them published with events an hour ago. */
async function seed(store: Store): Promise<readonly CalendarId[]> {
  const now = systemClock.now();
  const account = await store.accounts.connect({
    projectId: projectId("default"),
    tenantId: tenantId("acme"),
    name: accountName("ada"),
    quotaUser: undefined,
    refreshToken: "1//token",
    scopes: [],
    now,
  });
  const until = epochMs(now + 60_000);
  const discovery = await store.accounts.beginDiscovery(account.id, { now, until });
  if (discovery.kind !== "begun") throw new Error(discovery.kind);
  await store.accounts.applyDiscovery(discovery.lease, {
    kind: "full",
    entries: ["never@x.example", "synced@x.example"].map((googleId) => ({
      googleId,
      summary: googleId,
      timeZone: "UTC",
      accessRole: "owner",
      isPrimary: false,
      isHidden: false,
      isDeleted: false,
    })),
    syncToken: "list",
    queryFingerprint: "f",
    served: discovery.state.requested,
    nextDueAt: until,
    confirmAt: until,
    now,
  });
  const rows = await store.calendars.list({ limit: 10 });
  const find = (googleId: string): CalendarId => {
    const row = rows.find((one) => String(one.googleId) === googleId);
    if (row === undefined) throw new Error(`${googleId} was not discovered`);
    return row.id;
  };
  const synced = find("synced@x.example");
  const begun = await store.refreshes.begin(synced, { now, until });
  if (begun.kind !== "begun") throw new Error(begun.kind);
  const hourAgo = epochMs(now - 3_600_000);
  await store.refreshes.publish(begun.lease, {
    kind: "full",
    isFirst: true,
    startedAt: hourAgo,
    items: EVENTS,
    syncToken: "token",
    queryFingerprint: "f",
    timeZone: "UTC",
    accessRole: "owner",
    served: begun.state.requested,
    nextPoll: { dueAt: epochMs(hourAgo + 60_000), reason: "poll" },
    now: hourAgo,
    run: { kind: "full", at: hourAgo, class: "poll", requests: 2 },
  });
  return [find("never@x.example"), synced];
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "ballast-events-"));
  env = { BALLAST_DATA_DIR: home };
  const config = loadConfig(env);
  const store = await openAppStore(config, { clock: systemClock }, { migrateWhenEmpty: true });
  try {
    ids = await seed(store);
  } finally {
    await store.close();
  }
});

afterAll(async () => {
  await rm(home, { recursive: true, force: true });
});

test("I11: a calendar that was never synced says so aloud, and never reads as empty", async () => {
  const args = ["events", "--calendar", ids[0] ?? ""];
  const [plain, json] = await Promise.all([
    runBallast(args, env),
    runBallast([...args, "--json"], env),
  ]);
  expect(plain.code).toBe(3);
  expect(plain.stdout).toMatch(/^Never synced.*nothing can be said/);
  expect(plain.stdout).not.toContain("No events");
  expect(json.code).toBe(3);
  expect(JSON.parse(json.stdout)).toMatchObject({ freshness: { state: "never" }, events: [] });
  expect(json.stderr).toContain("Never synced");
});

test("I11: a copy that is too old is shown with its age, first", async () => {
  const { code, stdout } = await runBallast(["events", "--calendar", ids[1] ?? ""], env);
  expect(code).toBe(0);
  expect(stdout).toMatch(
    /^Stale: what follows may be out of date; generation 1, .* (60|61) min ago/,
  );
  expect(stdout).toMatch(/2026-01-05T09:00:00Z .* series +confirmed +Standup·\[31m/);
  expect(stdout).toMatch(/exception .* Standup, later/);
  // An event without a start is stored and shown, and stops nobody.
  expect(stdout).toContain("without-start");
  expect(stdout).not.toContain("\u001b[31m");
});

test("with --json events are as Google sent them, one page at a time", async () => {
  const args = ["events", "--calendar", ids[1] ?? "", "--json"];
  const all = await runBallast(args, env);
  const { events, next } = JSON.parse(all.stdout) as {
    readonly events: readonly GoogleEvent[];
    readonly next: null;
  };
  expect(events.toSorted((a, b) => a.id.localeCompare(b.id))).toEqual(EVENTS);
  expect(next).toBeNull();
  const paged: string[] = [];
  let after: string | null = "";
  while (after !== null) {
    const page = await runBallast([...args, "--limit", "2", "--after", after], env);
    const parsed = JSON.parse(page.stdout) as typeof page & {
      readonly events: readonly GoogleEvent[];
      readonly next: string | null;
    };
    paged.push(...parsed.events.map(({ id }) => id));
    after = parsed.next;
  }
  expect(paged).toEqual(events.map(({ id }) => id));
});

async function list(...args: readonly string[]): Promise<readonly string[]> {
  const { stdout } = await runBallast(["calendars", "--json", ...args], env);
  const { calendars } = JSON.parse(stdout) as { readonly calendars: readonly { id: string }[] };
  return calendars.map(({ id }) => id);
}

test("calendars are listed by tenant, account and state, page by page", async () => {
  const [never = "", synced = ""] = ids;
  const both = [never, synced].toSorted();
  expect(await list("--tenant", "acme", "--account", "ada")).toEqual(both);
  expect(await list("--tenant", "other")).toEqual([]);
  expect(await list("--state", "never")).toEqual([never]);
  expect(await list("--state", "stale")).toEqual([synced]);
  expect(await list("--limit", "1")).toEqual(both.slice(0, 1));
  expect(await list("--limit", "1", "--after", both[0] ?? "")).toEqual(both.slice(1));
});

test("refresh marks the row, and --wait without a worker comes back with what is missing", async () => {
  const [never = "", synced = ""] = ids;
  const refresh = ["refresh", "--calendar", never, synced, "--json"];
  const asked = await runBallast(refresh, env);
  expect(asked.code).toBe(0);
  expect(JSON.parse(asked.stdout)).toMatchObject({ requested: 2, served: null });
  const waited = await runBallast([...refresh, "--wait", "--timeout", "1"], env);
  expect(waited.code).toBe(1);
  expect(JSON.parse(waited.stdout)).toMatchObject({ served: 0, unserved: [never, synced] });
});

const WEEK = ["--from", "2026-01-05", "--to", "2026-01-08"];

test("a range shows what takes place: occurrences, moved ones where they are, and what cannot be read", async () => {
  const args = ["events", "--calendar", ids[1] ?? "", ...WEEK];
  const [plain, json] = await Promise.all([
    runBallast(args, env),
    runBallast([...args, "--json", "--max-age", "2d"], env),
  ]);
  expect(plain.code).toBe(3);
  expect(plain.stdout).toMatch(/^Stale: /);
  expect(plain.stdout).toContain(
    "Not everything is known: an event cannot be read (without-start)",
  );
  expect(plain.stdout).toMatch(/2026-01-06T10:00:00Z .* Standup, later/);
  const { events } = JSON.parse(json.stdout) as { readonly events: readonly GoogleEvent[] };
  expect(events.map(({ id }) => id)).toEqual([
    "series_20260105T090000Z",
    "series_20260106T090000Z",
    "series_20260107T090000Z",
  ]);
});

test("I11: busy says what is unknown, and why, beside what is busy", async () => {
  const [never = "", synced = ""] = ids;
  const { code, stdout, stderr } = await runBallast(
    ["busy", "--tenant", "acme", ...WEEK, "--json", "--max-age", "2d"],
    env,
  );
  expect(code).toBe(3);
  const answer = JSON.parse(stdout) as {
    readonly busy: readonly unknown[];
    readonly calendars: readonly { readonly calendarId: string; readonly unknown: unknown }[];
  };
  expect(answer.busy).toEqual(
    ["05T09", "06T10", "07T09"].map((hour) => ({
      from: `2026-01-${hour}:00:00.000Z`,
      to: `2026-01-${hour}:15:00.000Z`,
    })),
  );
  const unknownOf = (id: string): unknown =>
    answer.calendars.find((one) => one.calendarId === id)?.unknown;
  expect(unknownOf(never)).toEqual([
    {
      from: "2026-01-05T00:00:00.000Z",
      to: "2026-01-08T00:00:00.000Z",
      reason: "never-synced",
      eventIds: [],
    },
  ]);
  expect(unknownOf(synced)).toMatchObject([
    { reason: "unreadable-event", eventIds: ["without-start"] },
    { reason: "unreadable-event" },
    { reason: "unreadable-event" },
    { reason: "unreadable-event" },
  ]);
  expect(stderr).toContain("Never synced");
});

test("busy for people: a table that leaves no time without a word, and questions that make no sense are refused", async () => {
  const [never = "", synced = ""] = ids;
  const plain = await runBallast(["busy", "--calendar", synced, never, ...WEEK], env);
  expect(plain.code).toBe(3);
  expect(plain.stdout).toContain("0 of 2 calendars are known for the whole range.");
  expect(plain.stdout).toMatch(/2026-01-05T09:00:00.000Z +2026-01-05T09:15:00.000Z +busy/);
  expect(plain.stdout).toMatch(/unknown: never synced/);
  expect(plain.stdout).toMatch(/unknown: the copy is stale/);
  expect(plain.stdout).not.toContain("Free all the time");
  const refused = await Promise.all(
    [
      ["busy", ...WEEK],
      ["busy", "--calendar", synced, "--from", "2026-01-08", "--to", "2026-01-05"],
      ["busy", "--calendar", synced, "--from", "2020-01-01", "--to", "2026-01-05"],
      ["busy", "--calendar", synced, ...WEEK, "--time-zone", "Mars/Olympus"],
      ["busy", "--calendar", synced, ...WEEK, "--max-age", "soon"],
      ["events", "--calendar", synced, "--from", "2026-01-05"],
    ].map((args) => runBallast(args, env)),
  );
  expect(refused.map(({ code }) => code)).toEqual([2, 2, 2, 2, 2, 2]);
});

test("calendars why: when and why it is due, what it waits for, and how its last refreshes went", async () => {
  const [plain, json, never, unknown] = await Promise.all([
    runBallast(["calendars", "why", ids[1] ?? ""], env),
    runBallast(["calendars", "why", ids[1] ?? "", "--json"], env),
    runBallast(["calendars", "why", ids[0] ?? ""], env),
    runBallast(["calendars", "why", "cal_0000000000000000"], env),
  ]);
  expect(plain.code).toBe(0);
  expect(plain.stdout).toMatch(
    /^due +Due for (59|[6-9]\d) min as \w+: the safety net.* \[poll\]$/m,
  );
  expect(plain.stdout).toMatch(/^(59|[6-9]\d) min ago +full +poll +published +3 +2$/m);
  expect(JSON.parse(json.stdout)).toMatchObject({
    schemaVersion: 1,
    state: "stale",
    due: { reason: "poll", queuedUntil: null },
    poll: { kind: "active", everyMs: 900_000, watchState: "unwatched", notifiedAt: null },
    generation: 1,
    pauses: [],
    channels: [],
    refreshes: [{ outcome: "published", class: "poll", code: null, changes: 3, requests: 2 }],
  });
  expect(plain.stdout).toMatch(/^polled +every 15 min, give or take a quarter: .* \[active\]$/m);
  expect(plain.stdout).toMatch(/^news +changed \d+ min ago, told by Google never, read /m);
  expect(never.stdout).toMatch(/^polled +it has never been published \[first\]$/m);
  expect(never.stdout).toMatch(/^due .*it has never been read/m);
  expect(never.stderr).toContain("No refresh of it has ended yet");
  expect(unknown.code).toBe(1);
  expect(unknown.stderr).toContain("There is no calendar cal_0000000000000000");
});
