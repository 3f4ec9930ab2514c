import { systemClock, type Clock } from "../../src/core/clock.ts";
import { accountId, consumer, projectId, quotaUser, tenantId } from "../../src/core/ids.ts";
import type { Attribution, LogicalCall } from "../../src/core/request.ts";
import type { StoreHealth } from "../../src/core/store-health.ts";
import { classifyFailure } from "../../src/google/classify-failure.ts";
import { classifyThrown } from "../../src/google/classify-thrown.ts";
import { createGuard, type ClosableGuard, type GuardOptions } from "../../src/quota/guard.ts";
import type { PermitBroker } from "../../src/quota/permit.ts";
import type { RequestRecord } from "../../src/quota/request-observer.ts";

export interface TestGuard extends ClosableGuard {
  readonly records: RequestRecord[];
}

export interface TestGuardNeeds {
  readonly broker: PermitBroker;
  readonly apiRootUrl: string;
  readonly tokenUrl?: string;
  readonly clock?: Clock;
  readonly storeHealth?: StoreHealth;
  /** Over the defaults, group by group. */
  readonly options?: { [Group in keyof GuardOptions]?: Partial<GuardOptions[Group]> };
}

/** A guard with real parts, the given broker, quick retries, and a memory of what it reported. */
export function createTestGuard(needs: TestGuardNeeds): TestGuard {
  const records: RequestRecord[] = [];
  const { options = {} } = needs;
  const tokenUrl = needs.tokenUrl ?? new URL("/token", needs.apiRootUrl).href;
  const guard = createGuard(
    {
      endpoints: { apiRootUrl: needs.apiRootUrl, tokenUrls: [tokenUrl], ...options.endpoints },
      limiter: {
        slots: 20,
        interactiveShare: 0.2,
        slotsPerTenant: 8,
        maxWaiting: 100,
        ...options.limiter,
      },
      retry: {
        maxAttempts: 3,
        baseMs: 5,
        capMs: 20,
        maxBackgroundWaitMs: 1000,
        ...options.retry,
      },
      sensor: {
        volumeThreshold: 20,
        errorThresholdPercentage: 50,
        windowMs: 10_000,
        ...options.sensor,
      },
      wire: {
        connections: 20,
        connectTimeoutMs: 2000,
        requestTimeoutMs: 5000,
        maxBodyBytes: 8 * 1024 * 1024,
        ...options.wire,
      },
      passage: {
        maxBackgroundWaitMs: 1000,
        rest: { parkWritesMs: 1000, stopProjectMs: 2000, untilDayTurnsMs: () => 3000 },
        ...options.passage,
      },
    },
    {
      broker: needs.broker,
      classifier: { classifyFailure, classifyThrown },
      observer: {
        onRequest: (record) => {
          records.push(record);
        },
      },
      storeHealth: needs.storeHealth ?? { canStore: () => true },
      clock: needs.clock ?? systemClock,
      random: Math.random,
    },
  );
  return { ...guard, records };
}

export const TEST_ATTRIBUTION: Attribution = {
  projectId: projectId("default"),
  tenantId: tenantId("acme"),
  accountId: accountId("acc_1"),
  quotaUser: quotaUser("user-1"),
  consumer: consumer("test"),
  class: "poll",
};

/** One logical call, `events.list` by class poll unless told otherwise. */
export function testCall(
  over: Partial<Omit<LogicalCall, "attribution">> & {
    readonly attribution?: Partial<Attribution>;
  } = {},
): LogicalCall {
  const { attribution, ...rest } = over;
  return {
    operation: "events.list",
    earlierAttempt: "none",
    deadlineMs: 10_000,
    signal: new AbortController().signal,
    ...rest,
    attribution: { ...TEST_ATTRIBUTION, ...attribution },
  };
}
