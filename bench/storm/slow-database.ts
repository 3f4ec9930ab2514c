import { DatabaseSync } from "node:sqlite";
import { systemClock } from "../../src/core/clock.ts";

const HELD_MS = 2_000;
const GAP_MS = 100;

/** Hold the file's write lock for two seconds at a time; returns how often it was held. */
export async function slowDatabase(path: string, forMs: number): Promise<number> {
  const never = new AbortController().signal;
  const database = new DatabaseSync(path, { timeout: 0 });
  const endsMs = performance.now() + forMs;
  let held = 0;
  try {
    while (performance.now() < endsMs) {
      if (!isBegun(database)) {
        await systemClock.sleep(1, never);
        continue;
      }
      held += 1;
      await systemClock.sleep(Math.min(HELD_MS, Math.max(0, endsMs - performance.now())), never);
      database.exec("rollback");
      await systemClock.sleep(GAP_MS, never);
    }
  } finally {
    database.close();
  }
  return held;
}

function isBegun(database: DatabaseSync): boolean {
  try {
    database.exec("begin immediate");
    return true;
  } catch {
    // Another process writes.
    return false;
  }
}
