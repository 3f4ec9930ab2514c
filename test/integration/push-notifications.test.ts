import { join } from "node:path";
import fastify, { type FastifyInstance } from "fastify";
import { expect, onTestFinished, test, vi } from "vitest";
import { systemClock, type Clock } from "../../src/core/clock.ts";
import type { ChannelStore, Marked } from "../../src/core/channel-store.ts";
import { StoreUnavailable } from "../../src/core/refusal.ts";
import { createPushTokens } from "../../src/google/push-token.ts";
import { createKnownChannels } from "../../src/http/known-channels.ts";
import { addNotificationRoute } from "../../src/http/notification-route.ts";
import { asProblem, describeProblem } from "../../src/http/http-problem.ts";
import { createNotificationRecorder } from "../../src/http/record-notifications.ts";
import { openTestStore } from "../conformance/store-fixture.ts";
import { createManualClock } from "../support/manual-clock.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const DEBOUNCE = { quietMs: 2_000, mostMs: 10_000 };
const KEYS = [new Uint8Array(32).fill(1), new Uint8Array(32).fill(2)];
const tokens = createPushTokens(KEYS);

interface Calls {
  get: number;
  mark: number;
  putOff: number;
}

/** The route over a store whose calls are counted. */
async function openRoute(
  channels: Pick<ChannelStore, "get" | "markNotified" | "putOff">,
  keepWithinMs = 1_000,
  clock: Clock = systemClock,
): Promise<{
  readonly server: FastifyInstance;
  readonly calls: Calls;
  readonly outcomes: readonly string[];
  /** What the recorder told, once for a batch. */
  readonly troubles: readonly unknown[];
  /** What would be a line in the log for each request. */
  readonly thrown: readonly unknown[];
}> {
  const calls = { get: 0, mark: 0, putOff: 0 };
  const counted: typeof channels = {
    get: (id) => {
      calls.get += 1;
      return channels.get(id);
    },
    markNotified: (notified, how) => {
      calls.mark += 1;
      return channels.markNotified(notified, how);
    },
    putOff: (calendars, how) => {
      calls.putOff += 1;
      return channels.putOff(calendars, how);
    },
  };
  const recorder = createNotificationRecorder(
    { gatherMs: 5, keepWithinMs, batchLimit: 100, debounce: DEBOUNCE, putOffEveryMs: 60_000 },
    {
      channels: counted,
      clock,
      onError: (error) => {
        troubles.push(error);
      },
    },
  );
  const outcomes: string[] = [];
  const troubles: unknown[] = [];
  const thrown: unknown[] = [];
  const server = fastify();
  server.setErrorHandler((error, _request, reply) => {
    thrown.push(error);
    return reply.code(describeProblem(asProblem(error), "test").status).send({});
  });
  await addNotificationRoute(server, {
    isOurs: (id, token) => tokens.isOurs(id, token),
    channels: createKnownChannels({ keptForMs: 60_000, limit: 10 }, { channels: counted, clock }),
    recorder,
    onNotification: (outcome) => {
      outcomes.push(outcome);
    },
    clock,
  });
  onTestFinished(async () => {
    await server.close();
    await recorder.close();
  });
  return { server, calls, outcomes, troubles, thrown };
}

async function tell(
  server: FastifyInstance,
  id: string,
  over: { readonly token?: string; readonly state?: string; readonly body?: string } = {},
): Promise<number> {
  const answer = await server.inject({
    method: "POST",
    url: "/google/notifications",
    headers: {
      "x-goog-channel-id": id,
      "x-goog-channel-token": over.token ?? tokens.tokenOf(id),
      "x-goog-resource-state": over.state ?? "exists",
    },
    ...(over.body === undefined ? {} : { body: over.body }),
  });
  return answer.statusCode;
}

test("a notification is written down before it is answered, and many are written once", async () => {
  const store = await openTestStore(`sqlite:${join(await temporaryDirectory(), "ballast.db")}`);
  const calendarId = await store.connectOne();
  await store.channels.add({ id: "ch-1", calendarId, createdAt: store.now() });
  const { server, calls, outcomes } = await openRoute(store.channels);
  expect(await tell(server, "ch-1")).toBe(204);
  const marked = await store.calendars.get(calendarId);
  expect(marked?.requested).toBeGreaterThan(marked?.served ?? 0);

  const statuses = await Promise.all(Array.from({ length: 50 }, () => tell(server, "ch-1")));
  expect(new Set(statuses)).toEqual(new Set([204]));
  expect((await store.calendars.get(calendarId))?.requested).toBe(marked?.requested);
  expect(calls.get).toBe(1);
  expect(calls.mark).toBeLessThan(10);
  expect(outcomes.filter((outcome) => outcome === "marked")).toHaveLength(1);
});

test("what is forged, malformed or a sync touches no store, and what is unknown touches it once", async () => {
  const store = await openTestStore(`sqlite:${join(await temporaryDirectory(), "ballast.db")}`);
  const { server, calls, outcomes } = await openRoute(store.channels);
  expect(await tell(server, "ch-1", { token: tokens.tokenOf("ch-2") })).toBe(404);
  expect(await tell(server, "ch-1", { token: "x" })).toBe(404);
  expect(await tell(server, "c".repeat(65))).toBe(400);
  expect(await tell(server, "ch-1", { state: "sync" })).toBe(204);
  expect(await tell(server, "ch-1", { body: "x".repeat(5_000) })).toBe(413);
  expect(calls).toEqual({ get: 0, mark: 0, putOff: 0 });
  expect(await tell(server, "ch-1", { body: "{ not parsed" })).toBe(204);
  expect(await tell(server, "ch-1")).toBe(204);
  expect(calls).toEqual({ get: 1, mark: 0, putOff: 0 });
  expect(outcomes).toEqual(["forged", "forged", "malformed", "sync", "unknown", "unknown"]);
});

test("I6: what cannot be written down in time is refused, so that Google delivers it again", async () => {
  const known = await openTestStore(`sqlite:${join(await temporaryDirectory(), "ballast.db")}`);
  const calendarId = await known.connectOne();
  await known.channels.add({ id: "ch-1", calendarId, createdAt: known.now() });
  const failing = await openRoute({
    get: (id) => known.channels.get(id),
    markNotified: () => Promise.reject(new StoreUnavailable({ message: "gone" })),
    putOff: () => Promise.resolve(),
  });
  expect(await tell(failing.server, "ch-1")).toBe(503);
  const held = Promise.withResolvers<Marked>();
  const hanging = await openRoute(
    {
      get: (id) => known.channels.get(id),
      markNotified: () => held.promise,
      putOff: () => Promise.resolve(),
    },
    50,
  );
  expect(await tell(hanging.server, "ch-1")).toBe(503);
  held.resolve({ marked: [], early: [] });
  expect([...failing.outcomes, ...hanging.outcomes]).toEqual(["not-kept", "not-kept"]);
  expect([failing.troubles.length, hanging.troubles.length]).toEqual([1, 1]);
  expect([...failing.thrown, ...hanging.thrown]).toEqual([]);
});

test("I6: a look-up that hangs, and a write after a slow one, are refused within a second in all", async () => {
  const known = await openTestStore(`sqlite:${join(await temporaryDirectory(), "ballast.db")}`);
  const calendarId = await known.connectOne();
  await known.channels.add({ id: "ch-1", calendarId, createdAt: known.now() });
  const found = await known.channels.get("ch-1");
  const lookedUp = Promise.withResolvers<typeof found>();
  const kept = Promise.withResolvers<Marked>();
  const clock = createManualClock();
  const hanging = await openRoute(
    {
      get: () => lookedUp.promise,
      markNotified: () => kept.promise,
      putOff: () => Promise.resolve(),
    },
    1_000,
    clock,
  );
  const answer = tell(hanging.server, "ch-1");
  await vi.waitUntil(() => clock.sleepers() > 0);
  await clock.advance(900);
  lookedUp.resolve(found);
  await vi.waitUntil(() => clock.sleepers() > 1);
  await clock.advance(100);
  expect(await answer).toBe(503);
  kept.resolve({ marked: [], early: [] });
});

test("I6: a mark that a refresh has begun to serve does not hold for what is notified after", async () => {
  const store = await openTestStore(`sqlite:${join(await temporaryDirectory(), "ballast.db")}`);
  const calendarId = await store.connectOne();
  await store.refresh(calendarId);
  await store.channels.add({ id: "ch-1", calendarId, createdAt: store.now() });
  // The recorder runs by the system's clock, the rows by theirs: all of it is due.
  const { server, outcomes } = await openRoute(store.channels);
  await tell(server, "ch-1");
  await tell(server, "ch-1");
  // Another process' refresh, begun by a person, long before the quiet time is over.
  await store.calendars.request(calendarId, { class: "interactive", dueAt: store.now() });
  const { lease, state } = await store.begin(calendarId);
  await tell(server, "ch-1");
  await store.publish(lease, { served: state.requested });
  const row = await store.calendars.get(calendarId);
  expect(row?.requested).toBe((row?.served ?? 0) + 1);
  expect(outcomes).toEqual(["marked", "coalesced", "marked"]);
});

test("a calendar told of again and again is put off beside the answers, seldom, and a failure of that costs nobody", async () => {
  const store = await openTestStore(`sqlite:${join(await temporaryDirectory(), "ballast.db")}`);
  const calendarId = await store.connectOne();
  await store.channels.add({ id: "ch-1", calendarId, createdAt: store.now() });
  const failing = await openRoute({
    get: (id) => store.channels.get(id),
    markNotified: () => Promise.resolve({ marked: [], early: [calendarId] }),
    putOff: () => Promise.reject(new StoreUnavailable({ message: "gone" })),
  });
  expect(await tell(failing.server, "ch-1")).toBe(204);
  expect(await tell(failing.server, "ch-1")).toBe(204);
  expect(failing.calls).toMatchObject({ mark: 2, putOff: 1 });
});

test("a token of an older key is good as long as that key is kept", () => {
  const [old, current] = KEYS;
  if (old === undefined || current === undefined) throw new Error("Two keys are needed");
  const token = createPushTokens([old]).tokenOf("ch");
  expect(createPushTokens([current, old]).isOurs("ch", token)).toBe(true);
  expect(createPushTokens([current]).isOurs("ch", token)).toBe(false);
  expect(createPushTokens([current, old]).tokenOf("ch")).not.toBe(token);
});
