import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { Queue } from "bullmq";
import { Redis } from "ioredis";
import { systemClock } from "../../src/core/clock.ts";
import { startPrivateRedis } from "../../src/embedded/redis-server.ts";
import { obtainFleetRedis } from "../../test/support/quota-fleet/run-fleet.ts";

/** The control of number 10: a job that lives in the queue alone, whose worker is killed up to so many times. */
export async function loseJob(
  kills: number,
): Promise<{ readonly kills: number; readonly isLost: boolean }> {
  const redis = await startPrivateRedis(
    { program: await obtainFleetRedis(), persistent: false },
    { clock: systemClock },
  );
  const connection = new Redis(redis.socketPath, { maxRetriesPerRequest: null });
  const queue = new Queue("stalling", { connection });
  queue.on("error", () => undefined);
  try {
    const job = await queue.add("refresh", {});
    for (let killed = 0; killed < kills; killed += 1) {
      const worker = fork(join(import.meta.dirname, "stalling-worker.ts"), [redis.socketPath], {
        stdio: "inherit",
      });
      const over = new AbortController();
      const begun = once(worker, "message").then(() => "begun" as const);
      const failed = untilFailed(() => job.isFailed(), over.signal);
      const met = await Promise.race([begun, failed]);
      over.abort();
      await failed;
      const ended = once(worker, "exit");
      worker.kill("SIGKILL");
      await ended;
      if (met === "failed") return { kills: killed, isLost: true };
    }
    return { kills, isLost: await job.isFailed() };
  } finally {
    await queue.close();
    connection.disconnect();
    await redis.stop();
  }
}

/** Looks until the signal ends it. */
async function untilFailed(
  isFailed: () => Promise<boolean>,
  signal: AbortSignal,
): Promise<"failed" | "neither"> {
  while (!signal.aborted) {
    if (await isFailed()) return "failed";
    await systemClock.sleep(100, new AbortController().signal);
  }
  return "neither";
}
