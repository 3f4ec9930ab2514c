import { Redis } from "ioredis";
import { systemClock, type Clock } from "../../src/core/clock.ts";
import {
  accountId,
  consumer,
  projectId,
  quotaUser,
  tenantId,
  type ProjectId,
} from "../../src/core/ids.ts";
import type { LedgerRecord } from "../../src/core/ledger-record.ts";
import type { RequestClass } from "../../src/core/request.ts";
import { createLedger, readLedgerScript, type Ledger } from "../../src/quota/ledger.ts";
import {
  createLedgerOpener,
  type LedgerEvent,
  type LedgerOpener,
} from "../../src/quota/ledger-opener.ts";
import type { LedgerLane } from "../../src/quota/ledger-lane.ts";
import type { PermitAsk } from "../../src/quota/permit.ts";
import { createMemoryLedgerRecord } from "./memory-ledger-record.ts";

/** The project that ledger tests spend for. */
export const TEST_PROJECT: ProjectId = projectId("test");

/** Settings with a ten-second window, as rows of the settings table. */
export const SHORT_WINDOW: Readonly<Record<string, unknown>> = {
  windowMs: 10_000,
  useWithinMs: 200,
  transitMs: 100,
  projectPerMinute: 100,
  userPerMinute: 100,
  classReserve: { push: 0, poll: 0, backfill: 0 },
  backfillShare: 1,
  "consumer:*": { cap: 1, classes: ["interactive", "push", "poll", "backfill"] },
};

/** Settings rows in memory that a test may change while the fleet runs. */
export function createSettingsRows(values: Readonly<Record<string, unknown>>): {
  readonly list: (
    prefix: string,
  ) => Promise<{ name: string; value: unknown; updatedAt: ReturnType<Clock["now"]> }[]>;
  readonly set: (name: string, value: unknown) => void;
} {
  const rows = new Map(
    Object.entries(values).map(([name, value]) => [`quota.test.${name}`, value]),
  );
  return {
    list: (prefix) =>
      Promise.resolve(
        [...rows]
          .filter(([name]) => name.startsWith(prefix))
          .map(([name, value]) => ({ name, value, updatedAt: systemClock.now() })),
      ),
    set: (name, value) => {
      if (value === undefined) rows.delete(name);
      else rows.set(name, value);
    },
  };
}

/** The script with a clock that a test can step: the key `test:clock-offset` is added to Redis's time. */
export function steppableScript(): string {
  const script = readLedgerScript();
  const line = 'local clock = redis.call("TIME")\n';
  if (!script.includes(line)) throw new Error("The ledger reads its clock elsewhere now");
  return script.replace(
    line,
    `${line}local offset_ms = tonumber(redis.call("GET", "test:clock-offset") or 0)
clock[1] = tostring(tonumber(clock[1]) + math.floor(offset_ms / 1000))
clock[2] = tostring(tonumber(clock[2]) + (offset_ms % 1000) * 1000)
`,
  );
}

export interface LedgerParts {
  readonly ledger: Ledger;
  readonly opener: LedgerOpener;
  readonly record: LedgerRecord;
  readonly events: LedgerEvent[];
  readonly settings: ReturnType<typeof createSettingsRows>;
  /** Another process' view of the same ledger, without the database. */
  readonly join: () => Ledger;
  readonly close: () => Promise<void>;
}

/** A ledger that has been opened, with its opener, on a real Redis. */
export async function openLedger(
  connection:
    | { readonly path: string; readonly db?: number }
    | { readonly host: string; readonly port: number },
  options: {
    readonly settings?: Readonly<Record<string, unknown>>;
    readonly script?: string;
    readonly record?: LedgerRecord;
    readonly openWithinMs?: number;
  } = {},
): Promise<LedgerParts> {
  const redis = new Redis({ ...connection, maxRetriesPerRequest: null });
  redis.on("error", () => undefined);
  const joined: Ledger[] = [];
  const join = (): Ledger => {
    const ledger = createLedger(
      {
        projectId: TEST_PROJECT,
        ...(options.script === undefined ? {} : { script: options.script }),
      },
      { redis, clock: systemClock },
    );
    joined.push(ledger);
    return ledger;
  };
  const ledger = join();
  const settings = createSettingsRows({ ...SHORT_WINDOW, ...options.settings });
  const record = options.record ?? createMemoryLedgerRecord();
  const events: LedgerEvent[] = [];
  const opener = createLedgerOpener({
    ledger,
    record,
    settings,
    clock: systemClock,
    tell: (event) => {
      events.push(event);
    },
  });
  await opener.opened(AbortSignal.timeout(options.openWithinMs ?? 5_000));
  return {
    ledger,
    opener,
    record,
    events,
    settings,
    join,
    close: async () => {
      await opener.close();
      for (const one of joined) one.close();
      redis.disconnect();
    },
  };
}

/** A lane of the calendar, with what a test cares about. */
export function lane(
  over: Partial<{
    tenant: string;
    account: string;
    user: string;
    consumer: string;
    class: RequestClass;
    operation: LedgerLane["operation"];
    attempt: LedgerLane["attempt"];
    upstream: LedgerLane["upstream"];
  }> = {},
): LedgerLane {
  return {
    attribution: {
      projectId: TEST_PROJECT,
      tenantId: tenantId(over.tenant ?? "acme"),
      accountId: accountId(over.account ?? "acc_1"),
      quotaUser: quotaUser(over.user ?? "user-1"),
      consumer: consumer(over.consumer ?? "ballast-worker"),
      class: over.class ?? "interactive",
    },
    operation: over.operation ?? "events.list",
    upstream: over.upstream ?? "calendar",
    attempt: over.attempt ?? "first",
  };
}

/** A broker's ask of a lane. */
export function permitAsk(
  of: LedgerLane,
  over: Partial<Pick<PermitAsk, "maxWaitMs" | "signal">> = {},
): PermitAsk {
  return {
    ...of,
    maxWaitMs: over.maxWaitMs ?? 5_000,
    signal: over.signal ?? new AbortController().signal,
  };
}
