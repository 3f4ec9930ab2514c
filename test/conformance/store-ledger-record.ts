import { describe, expect, test } from "vitest";
import { projectId } from "../../src/core/ids.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { openTestStore } from "./store-fixture.ts";

const PROJECT = projectId("default");

/** I9: what the database keeps of the ledger, so that Redis may lose everything. */
export function ledgerRecordConformance(freshDatabase: FreshDatabase): void {
  describe("the ledger's record", () => {
    test("lets one process begin an epoch, and only the one that follows the last", async () => {
      const store = await openTestStore(await freshDatabase());
      const record = store.ledgerRecord;
      expect(await record.readEpoch(PROJECT)).toBeUndefined();
      const begin = (number: number, epoch: string): Promise<boolean> =>
        record.beginEpoch(PROJECT, { after: number - 1, number, epoch, at: store.now() });
      const first = await Promise.all([begin(1, "a"), begin(1, "b"), begin(1, "c")]);
      expect(first.filter(Boolean)).toHaveLength(1);
      expect(await begin(1, "d")).toBe(false);
      expect(await begin(3, "e")).toBe(false);
      const second = await Promise.all([begin(2, "f"), begin(2, "g")]);
      expect(second.filter(Boolean)).toHaveLength(1);
      expect(await record.readEpoch(PROJECT)).toMatchObject({ number: 2, closed: undefined });
    });

    test("closes the last epoch only, and a new one is open again", async () => {
      const store = await openTestStore(await freshDatabase());
      const record = store.ledgerRecord;
      const at = store.now();
      await record.beginEpoch(PROJECT, { after: 0, number: 1, epoch: "a", at });
      await record.closeEpoch(PROJECT, { number: 9, at, sequence: 4 });
      expect((await record.readEpoch(PROJECT))?.closed).toBeUndefined();
      await record.closeEpoch(PROJECT, { number: 1, at, sequence: 4 });
      expect((await record.readEpoch(PROJECT))?.closed).toEqual({ at, sequence: 4 });
      await record.beginEpoch(PROJECT, { after: 1, number: 2, epoch: "b", at });
      expect((await record.readEpoch(PROJECT))?.closed).toBeUndefined();
    });

    test("never lets a day's count fall, whoever writes last, and starts each day anew", async () => {
      const store = await openTestStore(await freshDatabase());
      const record = store.ledgerRecord;
      const today = { dayStartedAt: store.now(), ledgerAt: store.now() };
      await record.saveDay(PROJECT, { ...today, count: 70 });
      await record.saveDay(PROJECT, { ...today, count: 50, ledgerAt: store.later(5) });
      expect(await record.readDay(PROJECT)).toEqual({ ...today, count: 70 });
      const tomorrow = { dayStartedAt: store.later(86_400_000), ledgerAt: store.later(86_400_001) };
      await record.saveDay(PROJECT, { ...tomorrow, count: 1 });
      expect(await record.readDay(PROJECT)).toEqual({ ...tomorrow, count: 1 });
      expect(await record.readDay(projectId("other"))).toBeUndefined();
    });
  });
}
