import { once } from "node:events";
import { stat } from "node:fs/promises";
import { Worker } from "node:worker_threads";
import type { ScrubOutcome } from "../core/removal-store.ts";

/** About a second on a small machine; while it lasts, other writers wait. */
const MOST_BYTES = 256 * 1024 * 1024;
const BUSY_TIMEOUT_MS = 4_000;

// As text: a thread of its own needs no file of ours, and SQLite's work must not hold up this thread's event loop.
const WORK = `
const { DatabaseSync } = require("node:sqlite");
const { parentPort, workerData } = require("node:worker_threads");
let outcome = "busy";
try {
  const database = new DatabaseSync(workerData.path, { timeout: workerData.timeout });
  try {
    database.exec("vacuum");
    const [checkpoint] = database.prepare("pragma wal_checkpoint(truncate)").all();
    if (checkpoint.busy === 0) outcome = "scrubbed";
  } finally {
    database.close();
  }
} catch (error) {
  if ((error.errcode & 0xff) !== 5 && (error.errcode & 0xff) !== 6) throw error;
}
parentPort.postMessage(outcome);
`;

/**
 * Write the file anew, without what deleted rows left in it: pages that SQLite split or joined keep copies of rows
 * that no later deletion overwrites. Where it is too large for that, what was deleted is overwritten all the same, in
 * the pages it was in (`secure_delete`).
 */
export async function rewriteFile(path: string): Promise<ScrubOutcome> {
  if ((await stat(path)).size > MOST_BYTES) return "too-large";
  const worker = new Worker(WORK, {
    eval: true,
    workerData: { path, timeout: BUSY_TIMEOUT_MS },
  });
  const outcome: readonly unknown[] = await once(worker, "message");
  await worker.terminate();
  return outcome[0] === "scrubbed" ? "scrubbed" : "busy";
}
