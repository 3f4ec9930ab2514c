/**
 * One guarded process without a database: asks for permits as fast as they come and writes one line a permit to
 * the arrival server, unless the permit's use-by is over. Driven by its first message.
 */
import { createConnection } from "node:net";
import { Redis } from "ioredis";
import { epochMs, systemClock, type Clock } from "../../../src/core/clock.ts";
import { createLedger } from "../../../src/quota/ledger.ts";
import { createPermitBroker } from "../../../src/quota/permit-broker.ts";
import { lane, permitAsk, steppableScript, TEST_PROJECT } from "../ledger-parts.ts";
import type { SenderOrders, SenderFigures } from "./fleet.ts";

const STEP_EVERY_MS = 2_000;

/** A wall clock that somebody sets forward and back; time that is measured goes on as it does. */
function steppingClock(stepMs: number): Clock {
  return {
    ...systemClock,
    now: () => {
      const isStepped = Math.floor(systemClock.monotonicMs() / STEP_EVERY_MS) % 2 === 1;
      return epochMs(systemClock.now() + (isStepped ? stepMs : 0));
    },
  };
}

process.once("message", (orders: SenderOrders) => {
  const clock = steppingClock(orders.clockStepMs ?? 0);
  const redis = new Redis({ ...orders.connection, lazyConnect: true });
  const counting = { evaluations: 0 };
  const inner = createLedger(
    { projectId: TEST_PROJECT, script: steppableScript() },
    { redis, clock },
  );
  const ledger = {
    ...inner,
    ask: (request: Parameters<typeof inner.ask>[0]) => {
      counting.evaluations += 1;
      return inner.ask(request);
    },
  };
  const broker = createPermitBroker({}, { ledgerOf: () => ledger, clock });
  const socket = createConnection({ host: "127.0.0.1", port: orders.port, noDelay: true });
  socket.on("error", () => undefined);
  const figures: SenderFigures = { sent: 0, late: 0, refused: 0, evaluations: 0 };
  const stop = new AbortController();

  const send = async (worker: number): Promise<void> => {
    const tenant = orders.tenants[worker % orders.tenants.length] ?? "acme";
    while (!stop.signal.aborted) {
      try {
        const of = lane({ tenant, user: `user-${tenant}`, account: tenant, class: orders.class });
        const permit = await broker.acquire(
          permitAsk(of, { maxWaitMs: 30_000, signal: stop.signal }),
        );
        if (orders.sendDelayMs > 0) {
          await systemClock.sleep(Math.random() * orders.sendDelayMs, stop.signal);
        }
        if (orders.isUseByKept && systemClock.monotonicMs() > permit.useByMonotonicMs) {
          figures.late += 1;
          broker.report(permit, { kind: "unused" });
          continue;
        }
        socket.write(`${tenant}\n`);
        figures.sent += 1;
        broker.report(permit, { kind: "succeeded" });
      } catch {
        figures.refused += 1;
        await systemClock
          .sleep(20, AbortSignal.any([stop.signal, AbortSignal.timeout(1_000)]))
          .catch(() => undefined);
      }
    }
  };
  const workers = Array.from({ length: orders.concurrency }, (_, index) => send(index));
  const finish = async (): Promise<void> => {
    await Promise.all(workers);
    await broker.close();
    figures.evaluations = counting.evaluations;
    process.send?.(figures);
    inner.close();
    redis.disconnect();
    socket.end();
    process.disconnect();
  };
  process.on("message", () => {
    stop.abort(new Error("the test is over"));
    finish().catch((error: unknown) => {
      process.stderr.write(`sender: ${String(error)}\n`);
      process.exitCode = 1;
      process.disconnect();
    });
  });
});
