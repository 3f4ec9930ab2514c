/** One real worker process, which is killed without warning. Starts when it is told where everything is. */
import { startApp } from "../../../src/app.ts";
import { loadConfig } from "../../../src/config/config.ts";
import { systemClock } from "../../../src/core/clock.ts";
import { createLogger } from "../../../src/observability/logger.ts";
import type { WorkerOrders } from "./worker-line.ts";

/** Short enough that a test sees what a dead worker held being taken over. */
const TIMING = { leaseMs: 1_500, pageDeadlineMs: 1_000, queuedForMs: 1_500, jobLockMs: 1_500 };

process.once("message", (orders: WorkerOrders) => {
  const config = loadConfig(orders.environment);
  const logger = createLogger(
    { level: config.logLevel, format: "text" },
    {
      write: (line) => {
        process.stderr.write(line);
      },
    },
  );
  startApp(
    config,
    { role: "worker", redis: orders.redis, timing: TIMING },
    { clock: systemClock, logger },
  ).catch((error: unknown) => {
    process.stderr.write(`A worker did not start: ${String(error)}\n`);
    process.exitCode = 1;
    process.disconnect();
  });
});
process.send?.("ready");
