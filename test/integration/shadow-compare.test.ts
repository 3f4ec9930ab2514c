import { expect, onTestFinished, test } from "vitest";
import { z } from "zod";
import { systemClock } from "../../src/core/clock.ts";
import { parseOutput } from "../support/ballast-process.ts";
import { lineOf, openImportWorld } from "../scenarios/import-remove/import-world.ts";

const shape = z.object({
  imported: z.number(),
  unchanged: z.number(),
  promoted: z.number(),
  compared: z
    .object({
      sample: z.number(),
      compared: z.number(),
      differences: z.number(),
      differing: z.array(z.object({ differences: z.number() })),
    })
    .nullable(),
});

test(
  "a copy in shadow is compared with Google: what was damaged is counted once, and mended; then it is served",
  { timeout: 300_000 },
  async () => {
    const world = await openImportWorld({ accounts: 5, tenants: 1, settleMs: 500, seed: 3 });
    onTestFinished(() => world.close());
    const file = await world.file("accounts.ndjson", world.people.map(lineOf));
    const shadow = ["import", "accounts", file, "--shadow", "--yes", "--json", "--compare", "100"];
    const first = await world.ballast(shadow);
    expect(parseOutput(first, shape)).toMatchObject({
      imported: 5,
      compared: { differences: 0, differing: [] },
    });
    expect(first.code).toBe(0);
    // An event that is at Google is lost here: no delta would ever bring it back.
    world.onDatabase((database) => {
      database.exec(`delete from events where rowid in (
        select e.rowid from events e join calendars c on c.number = e.calendar_number
        where c.is_shadow = 1 limit 1)`);
    });
    const damaged = await world.ballast(shadow);
    expect(parseOutput(damaged, shape)).toMatchObject({
      imported: 0,
      unchanged: 5,
      compared: { differences: 1, differing: [{ differences: 1 }] },
    });
    expect(damaged.code).toBe(3);
    const [calendar] = await world.home.store.calendars.list({ limit: 1 });
    const ids = calendar === undefined ? [] : [calendar.id];
    expect(await world.home.store.events.readFacts(ids, systemClock.now())).toEqual([]);
    const served = await world.ballast(["import", "accounts", file, "--yes", "--json"]);
    expect(parseOutput(served, shape)).toMatchObject({ promoted: 5, compared: null });
    expect(await world.home.store.events.readFacts(ids, systemClock.now())).toHaveLength(1);
    const mended = await world.ballast(["import", "accounts", file, "--yes", "--json"]);
    expect(parseOutput(mended, shape)).toMatchObject({ imported: 0, unchanged: 5 });
  },
);
