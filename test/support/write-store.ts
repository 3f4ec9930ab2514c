/** A process of its own that writes to a store as fast as it can and reports how it went. */
import { monitorEventLoopDelay } from "node:perf_hooks";
import { z } from "zod";
import { systemClock } from "../../src/core/clock.ts";
import { calendarId } from "../../src/core/ids.ts";
import { openStore } from "../../src/store/open-store.ts";
import { createVault } from "../../src/store/vault.ts";

const orderSchema = z.object({
  url: z.string(),
  calendars: z.array(z.string()),
  writes: z.number(),
});

async function writeAll(order: z.output<typeof orderSchema>): Promise<object> {
  const store = await openStore(
    { url: order.url, mirror: "full", migrateWhenEmpty: false },
    {
      clock: systemClock,
      vault: createVault([{ id: "test-key", key: new Uint8Array(32).fill(7) }]),
    },
  );
  const loop = monitorEventLoopDelay({ resolution: 5 });
  loop.enable();
  const errors: string[] = [];
  const firstAt = systemClock.now();
  let longestWriteMs = 0;
  for (let n = 0; n < order.writes; n += 1) {
    const id = calendarId(order.calendars[n % order.calendars.length] ?? "");
    const startedMs = performance.now();
    try {
      await store.calendars.request(id, { class: "push", dueAt: systemClock.now() });
    } catch (error) {
      errors.push(String(error));
    }
    longestWriteMs = Math.max(longestWriteMs, performance.now() - startedMs);
  }
  const lastAt = systemClock.now();
  await store.close();
  const longestLoopStallMs = loop.max / 1e6;
  return { writes: order.writes, errors, longestWriteMs, longestLoopStallMs, firstAt, lastAt };
}

process.once("message", (message) => {
  writeAll(orderSchema.parse(message)).then(
    (report) => {
      process.send?.(report, () => {
        process.disconnect();
      });
      return undefined;
    },
    (error: unknown) => {
      process.stderr.write(`${String(error)}\n`);
      process.exitCode = 1;
      process.disconnect();
    },
  );
});
