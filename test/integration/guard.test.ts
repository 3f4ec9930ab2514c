import { gzipSync } from "node:zlib";
import { afterEach, describe, expect, test } from "vitest";
import { CallFailed } from "../../src/core/failure.ts";
import {
  BatchRefused,
  BudgetSpent,
  DeadlinePassed,
  StoreUnavailable,
  Unattributed,
} from "../../src/core/refusal.ts";
import { createGrantingBroker, type GrantingBroker } from "../support/granting-broker.ts";
import {
  startScriptedServer,
  type Answer,
  type Arrival,
  type ScriptedServer,
} from "../support/scripted-server.ts";
import {
  createTestGuard,
  testCall,
  type TestGuard,
  type TestGuardNeeds,
} from "../support/test-guard.ts";

const closers: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).toReversed()) await close();
});

interface Setup {
  readonly server: ScriptedServer;
  readonly broker: GrantingBroker;
  readonly guard: TestGuard;
  readonly get: (path?: string) => Promise<string>;
}

async function setup(
  answer: (arrival: Arrival, count: number) => Answer,
  over: Partial<TestGuardNeeds> & { readonly useByMs?: number } = {},
): Promise<Setup> {
  const server = await startScriptedServer(answer);
  closers.push(() => server.close());
  const broker = createGrantingBroker(over.useByMs === undefined ? {} : { useByMs: over.useByMs });
  const guard = createTestGuard({ broker, apiRootUrl: server.url, ...over });
  closers.push(() => guard.close());
  const get = async (path = "calendar/v3/x"): Promise<string> => {
    const response = await guard.fetch(new URL(path, server.url));
    if (!response.ok) throw new Error(`status ${response.status}`);
    return response.text();
  };
  return { server, broker, guard, get };
}

const ok = (): Answer => ({ status: 200, body: "{}" });
const unavailable = (): Answer => ({ status: 503, body: "" });
const googles = (status: number, reason: string, message = ""): Answer => ({
  status,
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ error: { errors: [{ reason, message }], code: status, message } }),
});
const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

describe("I2: no request leaves without a permit and an attribution", () => {
  test("a request outside of a call is refused and not sent", async () => {
    const { server, broker, get } = await setup(ok);
    expect(await caught(get())).toBeInstanceOf(Unattributed);
    expect(server.arrivals).toHaveLength(0);
    expect(broker.asks).toHaveLength(0);
  });

  test("a request inside of a call has one permit, used once, reported once", async () => {
    const { server, broker, guard, get } = await setup(ok);
    await guard.call(testCall(), () => get());
    expect(server.arrivals).toHaveLength(1);
    expect(broker.asks).toMatchObject([
      { operation: "events.list", upstream: "calendar", attempt: "first" },
    ]);
    expect(broker.reports.map(({ outcome }) => outcome)).toEqual([{ kind: "succeeded" }]);
    expect(guard.records).toMatchObject([{ outcome: "succeeded", attempt: "first", bytes: 2 }]);
  });

  test("a token request on the way is attributed to the same call, with a scope of its own", async () => {
    const { broker, guard, get } = await setup(ok);
    await guard.call(testCall(), async () => {
      await get("/token");
      return get();
    });
    expect(broker.asks).toMatchObject([
      { operation: "oauth.token", upstream: "oauth-token", attempt: "first" },
      { operation: "events.list", upstream: "calendar", attempt: "first" },
    ]);
    expect(broker.asks.map(({ attribution }) => attribution.tenantId)).toEqual(["acme", "acme"]);
  });

  test("calls that run at once are not mixed up", async () => {
    const { broker, guard, get } = await setup(ok);
    const tenants = Array.from({ length: 40 }, (_, index) => `tenant-${index}`);
    await Promise.all(
      tenants.map((tenant) =>
        guard.call(testCall({ attribution: { tenantId: tenant as never } }), () =>
          get(`/c/${tenant}`),
        ),
      ),
    );
    expect(broker.asks.map(({ attribution }) => attribution.tenantId).toSorted()).toEqual(
      tenants.toSorted(),
    );
  });

  test("batches and foreign hosts are refused", async () => {
    const { server, guard, get } = await setup(ok);
    const call = (path: string): Promise<unknown> =>
      caught(guard.call(testCall(), () => get(path)));
    expect(await call("/batch/calendar/v3")).toBeInstanceOf(BatchRefused);
    expect(await call("/batch")).toBeInstanceOf(BatchRefused);
    expect(await call("//batch")).toBeInstanceOf(Unattributed);
    expect(await call("http://127.0.0.1:1/elsewhere")).toBeInstanceOf(Unattributed);
    expect(server.arrivals).toHaveLength(0);
    await guard.call(testCall(), () => get("/calendar/v3/calendars/batch/events"));
    expect(server.arrivals).toHaveLength(1);
  });

  test("a redirect is an answer, not another request", async () => {
    const { server, guard, get } = await setup(() => ({
      status: 302,
      headers: { location: "http://127.0.0.1:1/elsewhere" },
    }));
    const error = await caught(guard.call(testCall(), () => get()));
    expect(error).toBeInstanceOf(CallFailed);
    expect(error).toMatchObject({ failure: { kind: "unrecognised", status: 302 } });
    expect(server.arrivals).toHaveLength(1);
  });
});

describe("a logical call is tried again within its rules", () => {
  test("503s: three requests, the second and third marked and paid for as retries", async () => {
    const { server, broker, guard, get } = await setup(unavailable);
    let sent = 0;
    const error = await caught(
      guard.call(
        testCall({
          onSent: () => {
            sent += 1;
          },
        }),
        () => get(),
      ),
    );
    expect(error).toMatchObject({ code: "GCAL_UPSTREAM_UNAVAILABLE", operation: "events.list" });
    expect(server.arrivals).toHaveLength(3);
    expect(sent).toBe(3);
    expect(broker.asks.map(({ attempt }) => attempt)).toEqual(["first", "retry", "retry"]);
    expect(broker.reports.map(({ outcome }) => outcome.kind)).toEqual(
      Array.from({ length: 3 }, () => "upstream-failed"),
    );
  });

  test("a call that reached Google before is a retry from its first request on", async () => {
    const { broker, guard, get } = await setup(ok);
    await guard.call(testCall({ earlierAttempt: "reached-google" }), () => get());
    expect(broker.asks[0]?.attempt).toBe("retry");
  });

  test("success on the second try is a success", async () => {
    const { server, guard, get } = await setup((_, count) =>
      count === 1 ? { cut: true } : { status: 200, body: "fine" },
    );
    expect(await guard.call(testCall(), () => get())).toBe("fine");
    expect(server.arrivals).toHaveLength(2);
  });

  test("a refusal of ours ends the call and says which", async () => {
    const { broker, server, guard, get } = await setup(unavailable);
    const spent = new BudgetSpent({ message: "no retry token is left", retryAfterMs: 1000 });
    const call = guard.call(testCall(), () => {
      if (broker.asks.length === 1) broker.refusals.push(spent);
      return get();
    });
    expect(await caught(call)).toBe(spent);
    expect(server.arrivals).toHaveLength(1);
    expect(guard.records.map(({ outcome }) => outcome)).toEqual(["upstream-failed", "refused"]);
  });

  test("a connection that nobody accepts costs no request and stays first", async () => {
    const { broker, guard } = await setup(ok, {
      apiRootUrl: "http://127.0.0.1:1/",
    });
    let sent = 0;
    const error = await caught(
      guard.call(
        testCall({
          onSent: () => {
            sent += 1;
          },
        }),
        () => guard.fetch("http://127.0.0.1:1/x"),
      ),
    );
    expect(error).toMatchObject({ failure: { kind: "upstream-unavailable" } });
    expect(sent).toBe(0);
    expect(broker.asks.map(({ attempt }) => attempt)).toEqual(["first", "first", "first"]);
    expect(broker.reports.map(({ outcome }) => outcome.kind)).toEqual([
      "unused",
      "unused",
      "unused",
    ]);
  });

  test("a long Retry-After is background work's to wait for elsewhere", async () => {
    const { server, guard, get } = await setup(() => ({
      status: 503,
      headers: { "retry-after": "7" },
    }));
    expect(await caught(guard.call(testCall(), () => get()))).toMatchObject({
      failure: { kind: "upstream-unavailable", retryAfterMs: 7000 },
    });
    expect(server.arrivals).toHaveLength(1);
  });
});

describe("a permit is used before its use-by or not at all", () => {
  test("an expired one goes back unused, nothing is written, the connection is kept", async () => {
    const { server, broker, guard, get } = await setup(ok, {
      options: { wire: { connections: 1 } },
    });
    await guard.call(testCall(), () => get());
    broker.nextPermit = { useByMonotonicMs: performance.now() - 1 };
    await guard.call(testCall(), () => get());
    expect(server.arrivals).toHaveLength(2);
    expect(server.connections()).toBe(1);
    expect(broker.asks).toHaveLength(3);
    expect(broker.reports.map(({ outcome }) => outcome.kind)).toEqual([
      "succeeded",
      "unused",
      "succeeded",
    ]);
    // It never left: the next ask is a first try still.
    expect(broker.asks.map(({ attempt }) => attempt)).toEqual(["first", "first", "first"]);
  });

  test("a process that stalls between grant and write sends nothing late", async () => {
    const { server, broker, guard, get } = await setup(ok, { useByMs: 60 });
    const acquire = broker.acquire.bind(broker);
    let hasStalled = false;
    broker.acquire = async (ask) => {
      const permit = await acquire(ask);
      if (!hasStalled) {
        hasStalled = true;
        const startedMs = performance.now();
        while (performance.now() - startedMs < 80) Math.sqrt(2);
      }
      return permit;
    };
    await guard.call(testCall(), () => get());
    expect(server.arrivals).toHaveLength(1);
    expect(broker.reports.map(({ outcome }) => outcome.kind)).toEqual(["unused", "succeeded"]);
  });

  test("a process whose permits always expire sends nothing and says why", async () => {
    const { server, broker, guard, get } = await setup(ok, { useByMs: -1 });
    const error = await caught(guard.call(testCall(), () => get()));
    expect(error).toBeInstanceOf(DeadlinePassed);
    expect(server.arrivals).toHaveLength(0);
    expect(broker.asks).toHaveLength(5);
  });
});

describe("what comes back is judged once, for everyone", () => {
  test.each([
    [404, "notFound", { kind: "answered" }],
    [403, "quotaExceeded", { kind: "writes-parked", forMs: 1000 }],
    [
      403,
      "accessNotConfigured",
      { kind: "project-stopped", reason: "api-not-enabled", forMs: 2000 },
    ],
    [
      403,
      "dailyLimitExceeded",
      { kind: "project-stopped", reason: "day-limit-exceeded", forMs: 3000 },
    ],
    [403, "rateLimitExceeded", { kind: "throttled", scope: "unknown", retryAfterMs: undefined }],
  ])("%i %s tells the ledger %o, after one request", async (status, reason, outcome) => {
    const { server, broker, guard, get } = await setup(() => googles(status, reason));
    expect(await caught(guard.call(testCall(), () => get()))).toBeInstanceOf(CallFailed);
    expect(broker.reports.map((report) => report.outcome)).toEqual([outcome]);
    expect(server.arrivals).toHaveLength(1);
  });

  test("a compressed body arrives plain", async () => {
    const { guard, get } = await setup(() => ({
      status: 200,
      headers: { "content-encoding": "gzip", "content-type": "application/json" },
      body: gzipSync("größer"),
    }));
    expect(await guard.call(testCall(), () => get())).toBe("größer");
  });

  test.each([
    ["plain", Buffer.alloc(300_000), {}],
    ["compressed", gzipSync(Buffer.alloc(300_000)), { "content-encoding": "gzip" }],
  ])("a %s body over the limit is cut off and not asked for again", async (_, body, headers) => {
    const { server, broker, guard, get } = await setup(() => ({ status: 200, body, headers }), {
      options: { wire: { maxBodyBytes: 100_000 } },
    });
    expect(await caught(guard.call(testCall(), () => get()))).toMatchObject({
      failure: { kind: "response-too-large", limitBytes: 100_000 },
    });
    expect(server.arrivals).toHaveLength(1);
    expect(broker.reports.map((report) => report.outcome.kind)).toEqual(["answered"]);
  });

  test("of many large bodies a few are read at once, all arrive, and none leaves its room taken", async () => {
    const large = "x".repeat(1_500_000);
    const { guard, get } = await setup(
      (_, count) =>
        count % 2 === 0
          ? {
              status: 200,
              headers: { "content-encoding": "gzip" },
              body: gzipSync(Buffer.from(large)),
            }
          : { status: 200, body: large },
      { options: { limiter: { slotsPerTenant: 16 }, wire: { maxBodyBytes: 2_000_000 } } },
    );
    for (let round = 0; round < 2; round += 1) {
      const bodies = await Promise.all(
        Array.from({ length: 12 }, () => guard.call(testCall(), () => get())),
      );
      expect(bodies.map((body) => body.length)).toEqual(bodies.map(() => large.length));
    }
  });

  test("a large body that stalls is put down at its time, and its room is free again", async () => {
    let isStalling = true;
    const large = "x".repeat(1_000_000);
    const { guard, get } = await setup(
      () =>
        isStalling
          ? { status: 200, headers: { "content-length": "2000000" }, partial: large }
          : { status: 200, body: large },
      {
        options: {
          retry: { maxAttempts: 1 },
          wire: { requestTimeoutMs: 200, connectTimeoutMs: 200 },
        },
      },
    );
    const stalled = await Promise.all(
      Array.from({ length: 6 }, () => caught(guard.call(testCall(), () => get()))),
    );
    expect(stalled.map((error) => (error as CallFailed).failure.kind)).toEqual(
      stalled.map(() => "timed-out"),
    );
    isStalling = false;
    expect(await guard.call(testCall(), () => get())).toHaveLength(large.length);
  });

  test("a truncated compressed body is upstream's failure", async () => {
    const { guard, get } = await setup(() => ({
      status: 200,
      headers: { "content-encoding": "gzip" },
      body: gzipSync("x".repeat(1000)).subarray(0, 20),
    }));
    expect(await caught(guard.call(testCall(), () => get()))).toMatchObject({
      failure: { kind: "upstream-unavailable" },
    });
  });

  test("a server that hangs is a timeout, and upstream's failure", async () => {
    const { broker, guard, get } = await setup(() => ({ hang: true }), {
      options: { wire: { requestTimeoutMs: 50, connectTimeoutMs: 50 }, retry: { maxAttempts: 1 } },
    });
    expect(await caught(guard.call(testCall(), () => get()))).toMatchObject({
      failure: { kind: "timed-out" },
    });
    expect(broker.reports.map((report) => report.outcome.kind)).toEqual(["upstream-failed"]);
  });

  test("a deadline in mid-request is a timeout of the call, and no verdict on upstream", async () => {
    const { broker, guard, get } = await setup(() => ({ hang: true }));
    expect(await caught(guard.call(testCall({ deadlineMs: 80 }), () => get()))).toMatchObject({
      failure: { kind: "timed-out" },
    });
    expect(broker.reports.map((report) => report.outcome.kind)).toEqual(["answered"]);
  });

  test("a caller's abort in mid-request ends the call with its reason", async () => {
    const { guard, broker, get } = await setup(() => ({ hang: true }));
    const abort = new AbortController();
    const reason = new Error("nobody wants it");
    const call = guard.call(
      testCall({ signal: abort.signal, onSent: () => abort.abort(reason) }),
      () => get(),
    );
    expect(await caught(call)).toBe(reason);
    expect(guard.records.map(({ outcome }) => outcome)).toEqual(["cancelled"]);
    expect(broker.reports).toHaveLength(1);
  });
});

describe("I13: what cannot be stored is not fetched", () => {
  test("background work is refused while the store is down, interactive work goes on", async () => {
    let canStore = false;
    const { server, guard, get } = await setup(ok, { storeHealth: { canStore: () => canStore } });
    expect(await caught(guard.call(testCall(), () => get()))).toBeInstanceOf(StoreUnavailable);
    expect(server.arrivals).toHaveLength(0);
    await guard.call(testCall({ attribution: { class: "interactive" } }), () => get());
    canStore = true;
    await guard.call(testCall(), () => get());
    expect(server.arrivals).toHaveLength(2);
  });

  test("a retry is not sent either when the store went down meanwhile", async () => {
    let canStore = true;
    const { server, guard, get } = await setup(
      () => {
        canStore = false;
        return { status: 503 };
      },
      { storeHealth: { canStore: () => canStore } },
    );
    expect(await caught(guard.call(testCall(), () => get()))).toBeInstanceOf(StoreUnavailable);
    expect(server.arrivals).toHaveLength(1);
  });
});

describe("the sensor", () => {
  test("opens the fleet's breaker on upstream's failures, once", async () => {
    const { broker, guard, get } = await setup(unavailable, {
      options: { retry: { maxAttempts: 1 } },
    });
    for (let count = 0; count < 30; count += 1) {
      await caught(guard.call(testCall(), () => get()));
    }
    // An ordinary permit after the opening closes it again, and ten failures are too few to trip.
    expect(broker.openedBreakers).toEqual([{ projectId: "default", upstream: "calendar" }]);
  });

  test("is not moved by a quota user's 403s nor by refusals of ours", async () => {
    const { broker, guard, get } = await setup(() => ({
      status: 403,
      body: JSON.stringify({ error: { errors: [{ reason: "userRateLimitExceeded" }], code: 403 } }),
    }));
    for (let count = 0; count < 30; count += 1) {
      broker.refusals.push(...(count % 2 === 0 ? [new BudgetSpent({ message: "spent" })] : []));
      await caught(guard.call(testCall(), () => get()));
    }
    expect(broker.openedBreakers).toEqual([]);
  });
});

test("closing ends what waits and what is under way", async () => {
  const { server, guard, get } = await setup(() => ({ hang: true }), {
    options: { limiter: { slots: 2, slotsPerTenant: 1 } },
  });
  const calls = [1, 2, 3].map(() => caught(guard.call(testCall(), () => get())));
  await expect.poll(() => server.arrivals.length).toBe(1);
  await guard.close();
  for (const error of await Promise.all(calls)) {
    expect(String(error)).toContain("The guard is closed");
  }
  expect(guard.waiting()).toBe(0);
});
