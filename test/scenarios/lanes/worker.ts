/** One real worker process that tells its parent of every job it has run. Ends, drained, when it is told to. */
import { startApp } from "../../../src/app.ts";
import { loadConfig } from "../../../src/config/config.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { createLogger } from "../../../src/observability/logger.ts";
import type { WorkerOrders } from "./lanes-world.ts";

async function work(orders: WorkerOrders): Promise<void> {
  const config = loadConfig(orders.environment);
  const logger = createLogger(
    { level: config.logLevel, format: "text" },
    {
      write: (line) => {
        process.stderr.write(line);
      },
    },
  );
  const app = await startApp(
    config,
    { role: "worker", redis: orders.redis },
    {
      clock: systemClock,
      logger,
      onRunFinished: ({ queue, job, outcome, facts, durationMs }) => {
        const endedAt = Date.now();
        const startedAt = endedAt - durationMs;
        const { calendarId, code } = facts;
        process.send?.({ queue, job, outcome, calendarId, code, startedAt, endedAt });
      },
    },
  );
  process.once("message", () => {
    app
      .drain()
      .then(() => process.disconnect())
      .catch(fail);
  });
}

function fail(error: unknown): void {
  process.stderr.write(`The worker failed: ${String(error)}\n`);
  process.exitCode = 1;
  process.disconnect();
}

process.once("message", (orders: WorkerOrders) => {
  work(orders).catch(fail);
});
