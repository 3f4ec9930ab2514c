/**
 * One connection to the fleet's budget for one program, and the accounts that it acts for. It opens no epoch and
 * has no database: it asks the ledger, and believes it.
 *
 * States: open → closing (what was written is told to Ballast) → closed. Closing ends calls under way with an
 * error; finish them first.
 */
import { Redis, type RedisOptions } from "ioredis";
import { systemClock, type EpochMs } from "../../../src/core/clock.ts";
import { consumer, projectId } from "../../../src/core/ids.ts";
import type { TokenExchange } from "../../../src/core/token-exchange.ts";
import { classifyFailure } from "../../../src/google/classify-failure.ts";
import { classifyThrown } from "../../../src/google/classify-thrown.ts";
import { DAY_TIME_ZONE, dayTurns } from "../../../src/quota/day-turns.ts";
import { createGuard, type ClosableGuard, type GuardOptions } from "../../../src/quota/guard.ts";
import { createLedger } from "../../../src/quota/ledger.ts";
import { createPermitBroker } from "../../../src/quota/permit-broker.ts";
import type { PermitBroker } from "../../../src/quota/permit.ts";
import { createRedisTokenExchange } from "../../../src/quota/redis-token-exchange.ts";
import type { RequestRecord } from "../../../src/quota/request-observer.ts";
import { checkClientOptions, type GuardedAccountOptions } from "./account-options.ts";
import { createFailedCalls } from "./failed-calls.ts";
import { openAccount, type GuardedAccount } from "./guarded-account.ts";
import { createOpenAccounts } from "./open-accounts.ts";
import { createRefreshAsker, type RefreshAsker, type RefreshEndpoint } from "./request-refresh.ts";

/** ioredis' options, but for how replies are mapped: the ledger's are read as they are. */
export type RedisPlace = Omit<RedisOptions, "replyMapping">;

/** What one program is, and where the things are that it needs. */
export interface GuardedClientOptions {
  /** The Redis that Ballast's workers use: its address, or ioredis' options. */
  readonly redis: string | RedisPlace;
  /** Ballast's name of the Google Cloud project. */
  readonly project: string;
  /** The program or feature that asks, as the budget's settings name it. */
  readonly consumer: string;
  /** Where to ask for refreshes after writes. Without it nobody is asked. */
  readonly refresh?: RefreshEndpoint | undefined;
  /** Google's own unless given: a simulator's, in a test. */
  readonly google?:
    | { readonly apiRootUrl?: string | undefined; readonly tokenUrl?: string | undefined }
    | undefined;
  /** How long a call may take in all; `timeout` of a single call overrides it. 15 s unless given. */
  readonly deadlineMs?: number | undefined;
  /** Requests in flight at most. 16 unless given. */
  readonly concurrency?: number | undefined;
  /** What failed beside a call: a refresh that could not be requested. */
  readonly onError?: ((error: unknown) => void) | undefined;
  /** Told of each request, sent or refused, with all that it is attributed to. */
  readonly onRequest?: ((record: RequestRecord) => void) | undefined;
}

/** One program's way to Google, for any number of accounts. */
export interface GuardedClient {
  /** Opens no connection; by the same credentials it is the same account, however often it is asked for. */
  readonly forAccount: (options: GuardedAccountOptions) => GuardedAccount;
  /** Waits until Ballast knows of what was written (at most 10 s), then closes every connection. */
  readonly close: () => Promise<void>;
}

const GOOGLE_API_ROOT_URL = "https://www.googleapis.com/";
const GOOGLE_TOKEN_URL = "https://oauth2.googleapis.com/token";
const HOUR_MS = 3_600_000;
const CLOSE_WITHIN_MS = 10_000;
const DEADLINE_MS = 15_000;

/** The same values as in Ballast's own processes, but for the number of slots. */
const GUARD = {
  retry: { maxAttempts: 3, baseMs: 500, capMs: 32_000, maxBackgroundWaitMs: 1_000 },
  sensor: { volumeThreshold: 20, errorThresholdPercentage: 50, windowMs: 10_000 },
  wire: {
    connections: 64,
    connectTimeoutMs: 5_000,
    requestTimeoutMs: 30_000,
    maxBodyBytes: 8 * 1024 * 1024,
  },
} as const;

/** Connects to Redis; close it when the program ends. */
export function createGuardedClient(options: GuardedClientOptions): GuardedClient {
  checkClientOptions(options);
  const clock = systemClock;
  const google = {
    apiRootUrl: options.google?.apiRootUrl ?? GOOGLE_API_ROOT_URL,
    tokenUrl: options.google?.tokenUrl ?? GOOGLE_TOKEN_URL,
  };
  const identity = { projectId: projectId(options.project), consumer: consumer(options.consumer) };
  const onError = safely(options.onError);
  const budget = connect(options, identity, onError);
  const guard = openGuard(options, { broker: budget.broker, google });
  const asker = openAsker(options);
  const failedCalls = createFailedCalls({ clock });
  const accounts = createOpenAccounts((of) =>
    openAccount(of, {
      guard,
      clock,
      identity,
      google,
      deadlineMs: options.deadlineMs ?? DEADLINE_MS,
      exchange: budget.exchange,
      askForRefresh: asker && ((target) => asker.ask(target)),
      failedCalls,
      onError,
    }),
  );
  let closed: Promise<void> | undefined;

  async function close(): Promise<void> {
    await withinTime(accounts.all().map((account) => account.settled()));
    await asker?.close();
    for (const account of accounts.all()) account.release();
    await guard.close();
    await budget.close();
  }

  return {
    forAccount: (of) => accounts.open(of),
    close: () => {
      closed ??= close();
      return closed;
    },
  };
}

function openAsker({ refresh }: GuardedClientOptions): RefreshAsker | undefined {
  if (refresh === undefined) return undefined;
  return createRefreshAsker(refresh, { clock: systemClock, fetch: globalThis.fetch });
}

/** None of them rejects. */
async function withinTime(work: readonly Promise<void>[]): Promise<void> {
  const over = new AbortController();
  // Rejects only when `over` ends it, and then the race is decided.
  const timeUp = systemClock.sleep(CLOSE_WITHIN_MS, over.signal).catch(() => undefined);
  await Promise.race([Promise.all(work), timeUp]);
  over.abort(new Error("All has settled"));
}

function connect(
  options: GuardedClientOptions,
  { projectId: project }: { readonly projectId: ReturnType<typeof projectId> },
  onError: (error: unknown) => void,
): { readonly broker: PermitBroker; readonly exchange: TokenExchange; close(): Promise<void> } {
  const redis = openRedis(options.redis);
  redis.on("error", onError);
  const ledger = createLedger({ projectId: project }, { redis, clock: systemClock });
  const broker = createPermitBroker({}, { ledgerOf: () => ledger, clock: systemClock });
  return {
    broker,
    exchange: createRedisTokenExchange({ redis, clock: systemClock }),
    close: async () => {
      await broker.close();
      ledger.close();
      redis.disconnect();
    },
  };
}

function openRedis(redis: string | RedisPlace): Redis {
  if (typeof redis === "string") return new Redis(redis, { lazyConnect: true });
  return new Redis({ ...redis, lazyConnect: true });
}

function openGuard(
  options: GuardedClientOptions,
  deps: {
    readonly broker: PermitBroker;
    readonly google: { readonly apiRootUrl: string; readonly tokenUrl: string };
  },
): ClosableGuard {
  const slots = Math.max(1, options.concurrency ?? 16);
  // Calls that wait for a permit hold their slots: a tenant with many must leave some to the others.
  const slotsPerTenant = Math.min(slots, Math.max(4, Math.ceil(slots / 4)));
  const { apiRootUrl, tokenUrl } = deps.google;
  const observe = safely(options.onRequest);
  const guardOptions: GuardOptions = {
    ...GUARD,
    endpoints: { apiRootUrl, tokenUrls: [tokenUrl] },
    limiter: { slots, interactiveShare: 0.5, slotsPerTenant, maxWaiting: 10_000 },
    passage: {
      maxBackgroundWaitMs: 1_000,
      rest: {
        parkWritesMs: 3 * HOUR_MS,
        stopProjectMs: 10 * 60_000,
        untilDayTurnsMs: () => untilDayTurns(systemClock.now()),
      },
    },
  };
  return createGuard(guardOptions, {
    broker: deps.broker,
    classifier: { classifyFailure, classifyThrown },
    observer: { onRequest: observe },
    // It stores nothing, so there is nothing that could not be stored.
    storeHealth: { canStore: () => true },
    clock: systemClock,
    random: Math.random,
  });
}

function untilDayTurns(now: EpochMs): number {
  const [turn] = dayTurns(now, { timeZone: DAY_TIME_ZONE, count: 1 }).turns;
  return turn === undefined ? 24 * HOUR_MS : turn - now;
}

/** A listener of the adopter's that throws must not become a failure of the call that it was told of. */
function safely<T>(listener: ((value: T) => void) | undefined): (value: T) => void {
  return (value) => {
    try {
      listener?.(value);
    } catch {
      // Its own business, and there is nobody to tell.
    }
  };
}
