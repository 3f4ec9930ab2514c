import type { Config } from "./config/config.ts";
import type { CalendarSource } from "./core/calendar-source.ts";
import type { Clock, EpochMs } from "./core/clock.ts";
import type { PushChannels } from "./core/push-channels.ts";
import type { ReleaseCredentials } from "./core/release-credentials.ts";
import type { TokenExchange, TokenForgetting } from "./core/token-exchange.ts";
import { createCalendarSource } from "./google/calendar-source.ts";
import { classifyFailure } from "./google/classify-failure.ts";
import { classifyThrown } from "./google/classify-thrown.ts";
import { createAccessTokens, type AccessTokensOptions } from "./google/google-auth.ts";
import { createCalendarClient } from "./google/google-client.ts";
import { createPushChannels, type PushDeps } from "./google/push.ts";
import { createPushTokens } from "./google/push-token.ts";
import { createReleaseCredentials, revokeUrlOf } from "./google/release-credentials.ts";
import { DAY_TIME_ZONE, dayTurns } from "./quota/day-turns.ts";
import { createGuard } from "./quota/guard.ts";
import type { PermitBroker } from "./quota/permit.ts";
import type { RequestObserver } from "./quota/request-observer.ts";
import type { Store } from "./store/open-store.ts";

const HOUR_MS = 3_600_000;

/** How this process behaves on the way to Google, whatever the configuration says. */
const GUARD = {
  limiter: { interactiveShare: 0.2, slotsPerTenant: 8, maxWaiting: 10_000 },
  retry: { maxAttempts: 3, baseMs: 500, capMs: 32_000, maxBackgroundWaitMs: 1_000 },
  sensor: { volumeThreshold: 20, errorThresholdPercentage: 50, windowMs: 10_000 },
  wire: {
    connections: 64,
    connectTimeoutMs: 5_000,
    requestTimeoutMs: 30_000,
    maxBodyBytes: 8 * 1024 * 1024,
  },
} as const;

/** What the keys of push tokens are derived for. */
export const PUSH_TOKEN_PURPOSE = "ballast push channel token";

/** The way to Google, open until it is closed. */
export interface OpenGoogle {
  readonly source: CalendarSource;
  /** Undefined: Google could not reach us, so there are no channels and calendars are polled. */
  readonly push: PushChannels | undefined;
  /** For accounts that leave, whose credentials nobody else can use any more. */
  readonly leaving: {
    readonly stopChannel: PushChannels["stop"];
    readonly credentials: ReleaseCredentials;
  };
  close(): Promise<void>;
}

/** The way to Google: a client behind the guard, behind the budget. */
export function openGoogle(
  config: Config,
  deps: {
    readonly broker: PermitBroker;
    readonly store: Pick<Store, "credentials" | "leavingCredentials" | "health" | "vault">;
    /** Told of every request. */
    readonly observers: readonly RequestObserver[];
    /** Where the fleet shares access tokens. */
    readonly exchange: TokenExchange & TokenForgetting;
    readonly clock: Clock;
  },
): OpenGoogle {
  const { broker, store, clock } = deps;
  const { apiRootUrl, oauthTokenUrl: tokenUrl } = config.google;
  const revokeUrl = revokeUrlOf(tokenUrl);
  const guard = createGuard(
    {
      ...GUARD,
      endpoints: { apiRootUrl, tokenUrls: [tokenUrl, revokeUrl ?? tokenUrl] },
      limiter: { ...GUARD.limiter, slots: Math.ceil(config.worker.concurrency * 1.5) },
      passage: {
        maxBackgroundWaitMs: 1_000,
        rest: {
          parkWritesMs: 3 * HOUR_MS,
          stopProjectMs: 10 * 60_000,
          untilDayTurnsMs: () => untilDayTurns(clock.now()),
        },
      },
    },
    {
      broker,
      classifier: { classifyFailure, classifyThrown },
      observer: {
        onRequest: (record) => {
          for (const observer of deps.observers) observer.onRequest(record);
        },
      },
      storeHealth: store.health,
      clock,
      random: Math.random,
    },
  );
  const tokenOptions = tokenOptionsOf(config.google);
  const tokenDeps = { guard, exchange: deps.exchange, clock };
  const tokens = createAccessTokens(
    { ...tokenOptions, maxAccounts: 10_000 },
    { ...tokenDeps, credentials: store.credentials },
  );
  const client = createCalendarClient({ rootUrl: apiRootUrl }, { fetch: guard.fetch });
  const parts = { client, guard, tokens, clock };
  const { publicUrl } = config.http;
  const pushTokens = createPushTokens(store.vault.deriveKeys(PUSH_TOKEN_PURPOSE));
  const address = `${publicUrl ?? ""}/google/notifications`;
  return {
    source: createCalendarSource({ mirror: config.mirror }, parts),
    push:
      publicUrl === undefined
        ? undefined
        : createPushChannels({ address }, { ...parts, pushTokens }),
    leaving: openLeaving(
      { address, revokeUrl, tokenOptions },
      { ...parts, ...tokenDeps, store, pushTokens },
    ),
    close: () => guard.close(),
  };
}

function tokenOptionsOf({
  oauthTokenUrl: tokenUrl,
  client,
}: Config["google"]): Omit<AccessTokensOptions, "maxAccounts"> {
  return {
    tokenUrl,
    eagerRefreshMs: 5 * 60_000,
    oauthClientOf: () => ({
      clientId: client?.id ?? "simulator",
      clientSecret: client?.secret ?? "simulator",
    }),
  };
}

/** As long as an account is being removed, only this part of a process can act in its name. */
function openLeaving(
  options: {
    readonly address: string;
    readonly revokeUrl: string | undefined;
    readonly tokenOptions: Omit<AccessTokensOptions, "maxAccounts">;
  },
  deps: Omit<PushDeps, "tokens"> & {
    readonly store: Pick<Store, "leavingCredentials">;
    readonly exchange: TokenExchange & TokenForgetting;
  },
): OpenGoogle["leaving"] {
  const credentials = deps.store.leavingCredentials;
  const tokens = createAccessTokens(
    { ...options.tokenOptions, maxAccounts: 100 },
    { ...deps, credentials },
  );
  const channels = createPushChannels(options, { ...deps, tokens });
  return {
    stopChannel: (target, call) => channels.stop(target, call),
    credentials: createReleaseCredentials(options, { ...deps, credentials, tokens }),
  };
}

function untilDayTurns(now: EpochMs): number {
  const [turn] = dayTurns(now, { timeZone: DAY_TIME_ZONE, count: 1 }).turns;
  return turn === undefined ? 24 * HOUR_MS : turn - now;
}
