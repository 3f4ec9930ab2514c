import type { DayRecord, EpochRecord, LedgerRecord } from "../../src/core/ledger-record.ts";

/** A `LedgerRecord` in memory, one project; the database's own are held to the same rules by conformance tests. */
export function createMemoryLedgerRecord(): LedgerRecord {
  let epoch: EpochRecord | undefined;
  let day: DayRecord | undefined;
  return {
    readEpoch: () => Promise.resolve(epoch),
    beginEpoch: (_, { after, number, epoch: id, at }) => {
      if (after !== (epoch?.number ?? 0)) return Promise.resolve(false);
      epoch = { number, epoch: id, openedAt: at, closed: undefined };
      return Promise.resolve(true);
    },
    closeEpoch: (_, { number, at, sequence }) => {
      if (epoch?.number === number) epoch = { ...epoch, closed: { at, sequence } };
      return Promise.resolve();
    },
    readDay: () => Promise.resolve(day),
    saveDay: (_, saved) => {
      if (day === undefined || saved.dayStartedAt > day.dayStartedAt) day = saved;
      else if (saved.dayStartedAt === day.dayStartedAt) {
        day = { ...saved, count: Math.max(saved.count, day.count) };
      }
      return Promise.resolve();
    },
  };
}
