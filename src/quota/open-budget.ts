import { Redis } from "ioredis";
import type { Clock } from "../core/clock.ts";
import type { ProjectId } from "../core/ids.ts";
import type { LedgerRecord } from "../core/ledger-record.ts";
import type { SettingsStore } from "../core/settings-store.ts";
import { createLedger, type Ledger } from "./ledger.ts";
import { createLedgerOpener, type LedgerEvent, type LedgerOpener } from "./ledger-opener.ts";
import { createPermitBroker } from "./permit-broker.ts";
import type { PermitBroker } from "./permit.ts";

/** One project's budget in one process: the broker that grants, and what keeps its ledger open. */
export interface Budget {
  readonly broker: PermitBroker;
  readonly ledger: Ledger;
  readonly opener: LedgerOpener;
  /** Its connection, for what else the fleet shares in passing. */
  readonly redis: Redis;
  close(): Promise<void>;
}

/** Connect to the ledger as a process that has the database: it may open epochs and writes the day's count. */
export function openBudget(
  options: { readonly redis: string; readonly projectId: ProjectId },
  deps: {
    readonly clock: Clock;
    readonly record: LedgerRecord;
    readonly settings: SettingsStore;
    readonly onLedgerEvent: (event: LedgerEvent) => void;
    readonly onRedisError: (error: Error) => void;
  },
): Budget {
  const redis = new Redis(options.redis, { lazyConnect: true });
  redis.on("error", deps.onRedisError);
  const ledger = createLedger({ projectId: options.projectId }, { redis, clock: deps.clock });
  const opener = createLedgerOpener({
    ledger,
    record: deps.record,
    settings: deps.settings,
    clock: deps.clock,
    tell: deps.onLedgerEvent,
  });
  const broker = createPermitBroker({}, { ledgerOf: () => ledger, clock: deps.clock });
  return {
    broker,
    ledger,
    opener,
    redis,
    async close() {
      await broker.close();
      await opener.close();
      ledger.close();
      redis.disconnect();
    },
  };
}
