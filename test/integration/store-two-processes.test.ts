import { fork } from "node:child_process";
import { join } from "node:path";
import { z } from "zod";
import { expect, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { openTestStore } from "../conformance/store-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const WRITES_EACH = 5_000;
const reportSchema = z.object({
  writes: z.number(),
  errors: z.array(z.string()),
  longestWriteMs: z.number(),
  longestLoopStallMs: z.number(),
  firstAt: z.number(),
  lastAt: z.number(),
});

test("two processes write 10,000 times to one SQLite file without an error, and no mark is lost", async () => {
  const url = `sqlite:${join(await temporaryDirectory(), "store.db")}`;
  const store = await openTestStore(url);
  const { calendars } = await store.connect("acme", "ann", ["a", "b"]);

  const reports = await Promise.all(
    [1, 2].map(async () => {
      const child = fork(new URL("../support/write-store.ts", import.meta.url), {
        stdio: ["ignore", "inherit", "inherit", "ipc"],
      });
      child.send({ url, calendars, writes: WRITES_EACH });
      const answer = new Promise<unknown>((resolve, reject) => {
        child.once("message", resolve);
        child.once("exit", (code) => {
          reject(new Error(`The writer ended with ${String(code)} before it had reported`));
        });
      });
      return reportSchema.parse(await answer);
    }),
  );
  for (const report of reports) expect(report).toMatchObject({ errors: [], writes: WRITES_EACH });
  // They did write at the same time.
  const overlapMs =
    Math.min(...reports.map(({ lastAt }) => lastAt)) -
    Math.max(...reports.map(({ firstAt }) => firstAt));
  const longestSpanMs = Math.max(...reports.map(({ firstAt, lastAt }) => lastAt - firstAt));
  expect(overlapMs).toBeGreaterThan(longestSpanMs / 3);
  const rows = await Promise.all(calendars.map((id) => store.calendars.get(id)));
  expect(rows.reduce((sum, row) => sum + (row?.requested ?? 0), 0)).toBe(2 * WRITES_EACH);
  console.log(
    `two processes on one SQLite file: ${String(2 * WRITES_EACH)} writes in ${String(Math.round(longestSpanMs))} ms, ` +
      `longest write ${String(Math.round(Math.max(...reports.map((report) => report.longestWriteMs))))} ms, ` +
      `longest event-loop stall ${String(Math.round(Math.max(...reports.map((report) => report.longestLoopStallMs))))} ms ` +
      `(at ${new Date(systemClock.now()).toISOString()})`,
  );
}, 300_000);
