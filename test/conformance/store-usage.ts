import { describe, expect, test } from "vitest";
import { epochMs } from "../../src/core/clock.ts";
import { projectId } from "../../src/core/ids.ts";
import { ROLLUP_ROWS, type UsageFigure } from "../../src/core/usage-store.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { HOUR_MS, openTestStore, type TestStore } from "./store-fixture.ts";

const PROJECT = projectId("default");
const MINUTE_MS = 60_000;

function figure(changes: Partial<UsageFigure> = {}): UsageFigure {
  return {
    tenantId: "acme",
    consumer: "ballast-worker",
    class: "poll",
    operation: "events.list",
    attempt: "first",
    outcome: "succeeded",
    reason: "",
    requests: 1,
    ...changes,
  };
}

let batches = 0;
function add(store: TestStore, figures: readonly UsageFigure[], id?: string): Promise<void> {
  batches += 1;
  return store.usage.add({
    id: id ?? `batch-${String(batches)}`,
    projectId: PROJECT,
    at: store.now(),
    figures,
  });
}

async function totals(store: TestStore, by: "minute" | "quarter", sinceMs = 14 * 24 * HOUR_MS) {
  const since = epochMs(store.now() - sinceMs);
  return store.usage.totals({ projectId: PROJECT, since, by, limit: 5_000 });
}

async function pruneAll(store: TestStore): Promise<number> {
  let periods = 0;
  while (await store.usage.prune(store.now())) periods += 1;
  return periods;
}

const sum = (rows: readonly { readonly requests: number }[]): number =>
  rows.reduce((total, { requests }) => total + requests, 0);

/** Who spent the quota: counted once, bounded, forgotten in time. */
export function usageConformance(freshDatabase: FreshDatabase): void {
  describe("usage rollups", () => {
    test("add up what is alike, and tell who spent most, first tries from retries", async () => {
      const store = await openTestStore(await freshDatabase());
      await add(store, [figure({ requests: 5 }), figure({ attempt: "retry", requests: 3 })]);
      await add(store, [
        figure({ requests: 2, outcome: "throttled" }),
        figure({ tenantId: "globex", consumer: "booking-api", class: "interactive", requests: 4 }),
      ]);
      const expected = [
        { tenantId: "acme", attempt: "first", requests: 7 },
        { tenantId: "globex", consumer: "booking-api", class: "interactive", requests: 4 },
        { tenantId: "acme", attempt: "retry", requests: 3 },
      ];
      expect(await totals(store, "minute")).toMatchObject(expected);
      expect(await totals(store, "quarter")).toMatchObject(expected);
      expect(await store.usage.attempts(store.now())).toEqual({ first: 11, retry: 3 });
    });

    test("what was not sent is kept apart from what was", async () => {
      const store = await openTestStore(await freshDatabase());
      await add(store, [
        figure({ outcome: "refused", reason: "BALLAST_BUDGET_SPENT", requests: 50 }),
        figure({ outcome: "unused", requests: 7 }),
        figure(),
      ]);
      expect(await totals(store, "minute")).toMatchObject([{ requests: 1 }]);
      expect(await store.usage.attempts(store.now())).toEqual({ first: 1, retry: 0 });
    });

    test("what failed or was refused is told with its reason, and nothing else", async () => {
      const store = await openTestStore(await freshDatabase());
      await add(store, [
        figure({ outcome: "upstream-failed", reason: "server-error", requests: 3 }),
        figure({ outcome: "upstream-failed", reason: "timed-out", requests: 2 }),
        figure({ operation: "events.get", outcome: "upstream-failed", reason: "timed-out" }),
        figure({ outcome: "refused", reason: "BALLAST_PAUSED" }),
        figure({ outcome: "unused", requests: 7 }),
        figure({ requests: 9 }),
      ]);
      const since = store.now();
      const query = { projectId: PROJECT, since, by: "minute", limit: 10 } as const;
      const told = (await store.usage.unsuccessful(query))
        .map(({ outcome, reason, requests }) => `${outcome} ${reason} ${String(requests)}`)
        .toSorted();
      expect(told).toEqual([
        "refused BALLAST_PAUSED 1",
        "upstream-failed server-error 3",
        "upstream-failed timed-out 3",
      ]);
    });

    test("a batch that is handed in again is counted once, by whomever", async () => {
      const url = await freshDatabase();
      const store = await openTestStore(url);
      const other = await openTestStore(url, { clock: store.clock });
      const figures = Array.from({ length: 700 }, (_, n) =>
        figure({ consumer: `consumer-${String(n)}`, requests: n + 1 }),
      );
      await Promise.all([add(store, figures, "same"), add(other, figures.toReversed(), "same")]);
      await add(store, figures, "same");
      expect(sum(await totals(store, "minute"))).toBe((700 * 701) / 2);
    });

    test("a minute has at most 2,000 rows and 200 tenants by name: the largest, the rest as other", async () => {
      const store = await openTestStore(await freshDatabase());
      const figures = Array.from({ length: 3_000 }, (_, n) =>
        figure({ tenantId: `t${String(n % 500)}`, consumer: `c${String(n % 7)}`, requests: n + 1 }),
      );
      await add(store, figures);
      await add(store, figures);
      const rows = await totals(store, "minute");
      expect(sum(rows)).toBe(3_000 * 3_001);
      expect(rows.length).toBeLessThanOrEqual(ROLLUP_ROWS);
      const named = new Set(rows.map(({ tenantId }) => tenantId));
      expect(named.has("other")).toBe(true);
      expect(named.size).toBe(201);
      expect(named.has("t499")).toBe(true);
      expect(named.has("t0")).toBe(false);
    });

    test("a flood of names cannot pass the bound, and its requests are still counted", async () => {
      const store = await openTestStore(await freshDatabase());
      for (const round of [1, 2, 3]) {
        await add(
          store,
          Array.from({ length: 1_500 }, (_, n) =>
            figure({ consumer: `flood-${String(round)}-${String(n)}`, tenantId: `t${String(n)}` }),
          ),
        );
      }
      const rows = await totals(store, "minute");
      expect(rows.length).toBeLessThanOrEqual(ROLLUP_ROWS);
      expect(sum(rows)).toBe(4_500);
    });

    test("minutes are kept for 48 hours and quarters for 14 days, each forgotten a period at a time", async () => {
      const store = await openTestStore(await freshDatabase());
      await add(store, [figure({ requests: 1 })]);
      await store.clock.advance(MINUTE_MS);
      await add(store, [figure({ requests: 2 })]);
      await store.clock.advance(47 * HOUR_MS);
      await add(store, [figure({ requests: 4 })]);
      expect(await pruneAll(store)).toBe(0);

      await store.clock.advance(2 * HOUR_MS);
      // Two minutes, and the batches' ids in one go.
      expect(await pruneAll(store)).toBe(3);
      expect(sum(await totals(store, "minute"))).toBe(4);
      expect(sum(await totals(store, "quarter"))).toBe(7);

      await store.clock.advance(13 * 24 * HOUR_MS);
      await pruneAll(store);
      expect(sum(await totals(store, "minute", 30 * 24 * HOUR_MS))).toBe(0);
      expect(sum(await totals(store, "quarter", 30 * 24 * HOUR_MS))).toBe(4);
    });

    test("names that a database cannot hold as they are come back as they were", async () => {
      const store = await openTestStore(await freshDatabase());
      await add(store, [figure({ tenantId: "nul\0tenant", consumer: "\uD800" })]);
      expect(await totals(store, "minute")).toMatchObject([
        { tenantId: "nul\0tenant", consumer: "\uD800" },
      ]);
    });
  });
}
