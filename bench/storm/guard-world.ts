import { systemClock } from "../../src/core/clock.ts";
import { quotaUser, tenantId } from "../../src/core/ids.ts";
import type { RequestClass } from "../../src/core/request.ts";
import { startPrivateRedis } from "../../src/embedded/redis-server.ts";
import { createPermitBroker } from "../../src/quota/permit-broker.ts";
import type { PermitBroker } from "../../src/quota/permit.ts";
import { openLedger, TEST_PROJECT, type LedgerParts } from "../../test/support/ledger-parts.ts";
import { obtainFleetRedis } from "../../test/support/quota-fleet/run-fleet.ts";
import {
  startScriptedServer,
  type Answer,
  type ScriptedServer,
} from "../../test/support/scripted-server.ts";
import { createTestGuard, testCall, type TestGuardNeeds } from "../../test/support/test-guard.ts";

/** Far above anything asked for here. */
export const WIDE = { projectPerMinute: 5_000, userPerMinute: 5_000 };

/** What the upstream says when nothing is wrong. */
export const OK: Answer = { status: 200, body: "{}" };

/** Whole guards on one ledger and one upstream that answers by a script. */
export interface GuardWorld {
  readonly server: ScriptedServer;
  readonly parts: LedgerParts;
  readonly redisPath: string;
  /** One logical call of a tenant, whose quota user has its name; false: it failed or was refused. */
  readonly call: (tenant: string, requestClass: RequestClass, guard?: number) => Promise<boolean>;
  readonly close: () => Promise<void>;
}

/** Start it; the upstream is asked for `/calendar/v3/TENANT`. */
export async function openGuardWorld(
  options: {
    readonly guards: number;
    readonly settings: Readonly<Record<string, unknown>>;
    readonly guardOptions?: NonNullable<TestGuardNeeds["options"]>;
  },
  deps: {
    readonly answer: (tenant: string) => Answer;
    readonly wrapBroker?: (broker: PermitBroker) => PermitBroker;
  },
): Promise<GuardWorld> {
  const redis = await startPrivateRedis(
    { program: await obtainFleetRedis(), persistent: false },
    { clock: systemClock },
  );
  const server = await startScriptedServer(({ path }) => deps.answer(path.split("/").at(-1) ?? ""));
  const parts = await openLedger({ path: redis.socketPath }, { settings: options.settings });
  const fleet = Array.from({ length: options.guards }, () => {
    const ledger = parts.join();
    const plain = createPermitBroker({}, { ledgerOf: () => ledger, clock: systemClock });
    const broker = deps.wrapBroker?.(plain) ?? plain;
    const guard = createTestGuard({
      broker,
      apiRootUrl: server.url,
      options: { limiter: { maxWaiting: 5_000 }, ...options.guardOptions },
    });
    return { broker, guard };
  });
  return {
    server,
    parts,
    redisPath: redis.socketPath,
    call: async (tenant, requestClass, index = 0) => {
      const guard = fleet[index]?.guard;
      if (guard === undefined) throw new Error(`There is no guard ${String(index)}`);
      const attribution = {
        projectId: TEST_PROJECT,
        tenantId: tenantId(tenant),
        quotaUser: quotaUser(tenant),
        class: requestClass,
      };
      try {
        await guard.call(testCall({ attribution, deadlineMs: 6_000 }), async () => {
          const response = await guard.fetch(`${server.url}calendar/v3/${tenant}`);
          if (!response.ok) throw new Error(`status ${String(response.status)}`);
        });
        return true;
      } catch {
        // What failed is counted by its caller; why is the guard's own tests' matter.
        return false;
      }
    },
    close: async () => {
      for (const { guard, broker } of fleet) {
        await guard.close();
        await broker.close();
      }
      await parts.close();
      await server.close();
      await redis.stop();
    },
  };
}

/** Begin a piece of work at an even rate, whether earlier ones have ended or not; resolves when all have. */
export async function atRate<T>(
  { perSecond, seconds }: { readonly perSecond: number; readonly seconds: number },
  work: (turn: number) => Promise<T>,
): Promise<readonly T[]> {
  const beganMs = performance.now();
  const begun: Promise<T>[] = [];
  for (let turn = 0; turn < perSecond * seconds; turn += 1) {
    const waitMs = beganMs + (turn * 1_000) / perSecond - performance.now();
    if (waitMs > 0) await pause(waitMs);
    begun.push(work(turn));
  }
  return Promise.all(begun);
}

/** Wait. */
export function pause(durationMs: number): Promise<void> {
  return systemClock.sleep(durationMs, new AbortController().signal);
}
