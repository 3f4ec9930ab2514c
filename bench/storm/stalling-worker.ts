/** A BullMQ worker with the default number of stalls allowed, that says when it has begun and never ends a job. */
import { Worker } from "bullmq";
import { Redis } from "ioredis";

const [path = ""] = process.argv.slice(2);
const worker = new Worker(
  "stalling",
  async () => {
    process.send?.("begun");
    await new Promise(() => undefined);
  },
  {
    connection: new Redis(path, { maxRetriesPerRequest: null }),
    // As short as the run needs; how many stalls a job survives is the default.
    lockDuration: 1_000,
    stalledInterval: 500,
  },
);
worker.on("error", () => undefined);
