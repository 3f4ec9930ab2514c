import { expect } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { RequestClass } from "../../src/core/request.ts";
import { LedgerUnavailable } from "../../src/core/refusal.ts";
import { startPrivateRedis } from "../../src/embedded/redis-server.ts";
import { createPermitBroker } from "../../src/quota/permit-broker.ts";
import type { PermitBroker } from "../../src/quota/permit.ts";
import { lane, openLedger, permitAsk, type LedgerParts } from "../support/ledger-parts.ts";
import { obtainFleetRedis } from "../support/quota-fleet/run-fleet.ts";
import { test } from "../support/redis-test.ts";

interface Fleet {
  readonly parts: LedgerParts;
  readonly brokers: readonly PermitBroker[];
}

/** Several brokers on one ledger, the first one beside the opener, the others without a database. */
async function withFleet(
  connection: { readonly path: string; readonly db: number },
  options: { readonly brokers: number; readonly settings?: Readonly<Record<string, unknown>> },
  run: (fleet: Fleet) => Promise<void>,
): Promise<void> {
  const parts = await openLedger(connection, {
    settings: { settleMs: 200, ...options.settings },
  });
  const brokers = Array.from({ length: options.brokers }, (_, index) => {
    const ledger = index === 0 ? parts.ledger : parts.join();
    return createPermitBroker({}, { ledgerOf: () => ledger, clock: systemClock });
  });
  try {
    await run({ parts, brokers });
  } finally {
    await Promise.all(brokers.map((broker) => broker.close()));
    await parts.close();
  }
}

/** Ask all the time for one tenant, as many at once as told. */
function saturate(
  broker: PermitBroker,
  who: { readonly tenant: string; readonly class: RequestClass; readonly atOnce: number },
): { readonly stop: () => Promise<number> } {
  const stop = new AbortController();
  let granted = 0;
  const of = lane({ tenant: who.tenant, user: `user-${who.tenant}`, class: who.class });
  const work = async (): Promise<void> => {
    while (!stop.signal.aborted) {
      try {
        await broker.acquire(permitAsk(of, { maxWaitMs: 60_000, signal: stop.signal }));
        granted += 1;
      } catch {
        return;
      }
    }
  };
  const workers = Array.from({ length: who.atOnce }, work);
  return {
    stop: async () => {
      stop.abort(new Error("the test is over"));
      await Promise.all(workers);
      return granted;
    },
  };
}

const sleep = (ms: number): Promise<void> => systemClock.sleep(ms, new AbortController().signal);

test("interactive work passes at once while every background call of every process waits", async ({
  redisConnection,
}) => {
  const settings = {
    projectPerMinute: 400,
    userPerMinute: 400,
    classReserve: { push: 0.1, poll: 0.2, backfill: 0.3 },
  };
  await withFleet(redisConnection, { brokers: 3, settings }, async ({ brokers }) => {
    const background = brokers.map((broker, index) =>
      saturate(broker, { tenant: `t${index}`, class: "backfill", atOnce: 50 }),
    );
    await sleep(1_500);
    const [broker] = brokers;
    if (broker === undefined) throw new Error("no broker");
    for (let call = 0; call < 20; call += 1) {
      // Passing means: without waiting for any limit. How fast is judged in the full run.
      const ask = permitAsk(lane({ tenant: "person", user: "person" }), { maxWaitMs: 300 });
      await expect(broker.acquire(ask)).resolves.toMatchObject({ isProbe: false });
      await sleep(20);
    }
    const served = await Promise.all(background.map((one) => one.stop()));
    expect(served.reduce((sum, one) => sum + one, 0)).toBeGreaterThan(20);
  });
});

test("one probe goes out for a whole fleet", async ({ redisConnection }) => {
  const settings = { breakerFirstMs: 300, projectPerMinute: 1_000, userPerMinute: 1_000 };
  await withFleet(redisConnection, { brokers: 4, settings }, async ({ brokers }) => {
    for (const broker of brokers) await broker.acquire(permitAsk(lane()));
    const { projectId } = lane().attribution;
    await Promise.all(brokers.map((broker) => broker.openBreaker(projectId, "calendar")));
    const outcomes = await Promise.allSettled(
      brokers.flatMap((broker) =>
        Array.from({ length: 5 }, () => broker.acquire(permitAsk(lane(), { maxWaitMs: 1_200 }))),
      ),
    );
    const permits = outcomes.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    expect(permits).toHaveLength(1);
    expect(permits[0]?.isProbe).toBe(true);
  });
});

test("a call that may not wait as long as it would have to is refused at once, and told for how long", async ({
  redisConnection,
}) => {
  const settings = { perDay: 3 };
  await withFleet(redisConnection, { brokers: 1, settings }, async ({ brokers: [broker] }) => {
    if (broker === undefined) throw new Error("no broker");
    const outcomes: unknown[] = [];
    for (let call = 0; call < 6; call += 1) {
      const startedAtMs = systemClock.monotonicMs();
      outcomes.push(await broker.acquire(permitAsk(lane())).catch((error: unknown) => error));
      expect(systemClock.monotonicMs() - startedAtMs).toBeLessThan(2_000);
    }
    expect(outcomes.slice(3)).toEqual([
      expect.objectContaining({ code: "BALLAST_BUDGET_SPENT" }),
      expect.objectContaining({ code: "BALLAST_BUDGET_SPENT" }),
      expect.objectContaining({ code: "BALLAST_BUDGET_SPENT" }),
    ]);
  });
});

test("a full process refuses one more call instead of dropping the oldest", async ({
  redisConnection,
}) => {
  const parts = await openLedger(redisConnection, { settings: { projectPerMinute: 5 } });
  const broker = createPermitBroker(
    { mostWaiting: 10 },
    { ledgerOf: () => parts.ledger, clock: systemClock },
  );
  for (let call = 0; call < 5; call += 1) await broker.acquire(permitAsk(lane()));
  const waiting = Array.from({ length: 10 }, () =>
    broker.acquire(permitAsk(lane(), { maxWaitMs: 30_000 })).catch((error: unknown) => error),
  );
  await expect(broker.acquire(permitAsk(lane(), { maxWaitMs: 30_000 }))).rejects.toMatchObject({
    code: "BALLAST_QUEUE_FULL",
  });
  await broker.close();
  for (const outcome of await Promise.all(waiting)) {
    expect(outcome).toMatchObject({ code: "BALLAST_DEADLINE_PASSED" });
  }
  await parts.close();
});

test("no waiting call is lost: each is served, refused or cancelled, whatever comes in between", async ({
  redisConnection,
  redis,
}) => {
  const settings = { projectPerMinute: 60, userPerMinute: 60, windowMs: 1_000, useWithinMs: 200 };
  await withFleet(redisConnection, { brokers: 2, settings }, async ({ brokers }) => {
    const outcomes = { served: 0, refused: 0, cancelled: 0 };
    const calls = Array.from({ length: 400 }, async (_, index) => {
      const broker = brokers[index % 2];
      if (broker === undefined) throw new Error("no broker");
      const cancel = new AbortController();
      const of = lane({
        tenant: `t${index % 20}`,
        user: `u${index % 40}`,
        class: index % 3 === 0 ? "poll" : "interactive",
        operation: index % 7 === 0 ? "events.patch" : "events.list",
      });
      const permit = broker.acquire(permitAsk(of, { maxWaitMs: 3_000, signal: cancel.signal }));
      if (index % 5 === 0) setTimeout(() => cancel.abort(new Error("cancelled")), index * 3);
      try {
        broker.report(await permit, { kind: "succeeded" });
        outcomes.served += 1;
      } catch (error) {
        if (error instanceof Error && error.message === "cancelled") outcomes.cancelled += 1;
        else outcomes.refused += 1;
      }
    });
    setTimeout(() => {
      redis.flushdb().catch(() => undefined);
    }, 1_000);
    await Promise.all(calls);
    expect(outcomes.served + outcomes.refused + outcomes.cancelled).toBe(400);
    expect(outcomes.served).toBeGreaterThan(60);
    expect(outcomes.cancelled).toBeGreaterThan(0);
  });
});

test("I9: while Redis is away nothing is granted and the refusal says so; once it is back it goes on", async ({
  redisConnection,
}) => {
  const program = await obtainFleetRedis();
  const server = await startPrivateRedis({ program, persistent: true }, { clock: systemClock });
  const own = { path: server.socketPath, db: redisConnection.db };
  // Witnesses may be silent for as long as a newcomer waits, so that is not shortened here.
  await withFleet(
    own,
    { brokers: 2, settings: { settleMs: 2_000 } },
    async ({ brokers, parts }) => {
      for (const broker of brokers) await broker.acquire(permitAsk(lane()));
      await server.kill("SIGKILL");
      const refused = await Promise.all(
        brokers.map((broker) =>
          broker.acquire(permitAsk(lane(), { maxWaitMs: 500 })).catch((error: unknown) => error),
        ),
      );
      for (const refusal of refused) expect(refusal).toBeInstanceOf(LedgerUnavailable);
      await server.restart({ keepData: false });
      for (const broker of brokers) {
        await expect(
          broker.acquire(permitAsk(lane(), { maxWaitMs: 15_000 })),
        ).resolves.toMatchObject({
          isProbe: false,
        });
      }
      const rules = parts.events.flatMap((event) => (event.kind === "opened" ? [event.rule] : []));
      expect(rules).toEqual(["first", "reseeded"]);
    },
  );
  await server.stop();
});
