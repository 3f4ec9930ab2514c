/** One real worker of the storm. States: waiting for orders → running → drained, when it is told to stop. */
import { startApp } from "../../src/app.ts";
import { loadConfig } from "../../src/config/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { createLogger } from "../../src/observability/logger.ts";
import type { PermitBroker } from "../../src/quota/permit.ts";
import type { BreakerSeen, StormExperiment, StormWorkerOrders } from "./storm-world.ts";

/** Short enough that what a killed worker held is taken over within the run. */
const TIMING = { leaseMs: 6_000, pageDeadlineMs: 5_000, queuedForMs: 5_000, jobLockMs: 3_000 };

process.once("message", (orders: StormWorkerOrders) => {
  run(orders).catch((error: unknown) => {
    process.stderr.write(`A worker did not start: ${String(error)}\n`);
    process.exitCode = 1;
    process.disconnect();
  });
});

async function run(orders: StormWorkerOrders): Promise<void> {
  const config = loadConfig(orders.environment);
  const logger = createLogger(
    { level: config.logLevel, format: "text" },
    {
      write: (line) => {
        process.stderr.write(line);
      },
    },
  );
  const seen: Record<keyof BreakerSeen, number[]> = { openedAtMs: [], probedAtMs: [] };
  const app = await startApp(
    config,
    { role: "worker", redis: orders.redis, timing: TIMING },
    {
      clock: systemClock,
      logger,
      wrapBroker: (broker) => watch(wrap(broker, orders.experiment), seen),
    },
  );
  process.once("message", () => {
    app.drain().then(
      () => process.send?.(seen, () => process.disconnect()),
      () => process.exit(1),
    );
  });
  process.send?.("running");
}

/** What the experiment takes away. */
function wrap(broker: PermitBroker, experiment: StormExperiment): PermitBroker {
  return {
    ...broker,
    ...(experiment.isBreakerHeldClosed ? { openBreaker: () => Promise.resolve() } : {}),
    ...(experiment.isEveryTryFirst
      ? { acquire: (ask) => broker.acquire({ ...ask, attempt: "first" }) }
      : {}),
  };
}

/** Notes when this process opened the breaker, and each probe that it was granted. */
function watch(broker: PermitBroker, seen: Record<keyof BreakerSeen, number[]>): PermitBroker {
  return {
    ...broker,
    openBreaker: async (projectId, upstream) => {
      await broker.openBreaker(projectId, upstream);
      seen.openedAtMs.push(Date.now());
    },
    acquire: async (ask) => {
      const permit = await broker.acquire(ask);
      if (permit.isProbe) seen.probedAtMs.push(Date.now());
      return permit;
    },
  };
}
