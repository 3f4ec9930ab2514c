import { systemClock } from "../../src/core/clock.ts";
import type { CalendarSource } from "../../src/core/calendar-source.ts";
import type {
  AccountCredentials,
  CredentialsSource,
  Grant,
} from "../../src/core/credentials-source.ts";
import {
  accountId,
  consumer,
  googleCalendarId,
  projectId,
  quotaUser,
  tenantId,
} from "../../src/core/ids.ts";
import type { CallOptions } from "../../src/core/request.ts";
import { createAccessTokens, type AccessTokens } from "../../src/google/google-auth.ts";
import { createCalendarClient } from "../../src/google/google-client.ts";
import { createCalendarSource } from "../../src/google/calendar-source.ts";
import type { StoreHealth } from "../../src/core/store-health.ts";
import { createGrantingBroker, type GrantingBroker } from "./granting-broker.ts";
import { createTestGuard, type TestGuard, type TestGuardNeeds } from "./test-guard.ts";

export const ACCOUNT = accountId("acc_1");
export const TARGET = { accountId: ACCOUNT, googleCalendarId: googleCalendarId("primary") };
export const WHOLE = { syncToken: undefined, pageToken: undefined, pageSize: 2500 };

export interface TestSource {
  readonly source: CalendarSource;
  readonly tokens: AccessTokens;
  readonly guard: TestGuard;
  readonly broker: GrantingBroker;
  readonly replaced: string[];
  /** How often the credentials were read. */
  readonly reads: () => number;
}

export interface TestSourceNeeds {
  readonly apiRootUrl: string;
  readonly tokenUrl?: string;
  readonly grant?: Grant;
  readonly mirror?: "full" | "busy";
  readonly storeHealth?: StoreHealth;
  readonly options?: TestGuardNeeds["options"];
}

/** The whole way to Google over a broker that grants everything. */
export function createTestSource(needs: TestSourceNeeds): TestSource {
  const broker = createGrantingBroker();
  const tokenUrl = needs.tokenUrl ?? new URL("/token", needs.apiRootUrl).href;
  const { apiRootUrl, storeHealth, options } = needs;
  const guard = createTestGuard({
    apiRootUrl,
    tokenUrl,
    broker,
    ...(storeHealth ? { storeHealth } : {}),
    ...(options ? { options } : {}),
  });
  const replaced: string[] = [];
  let reads = 0;
  const credentials: CredentialsSource = {
    read: (account) => {
      reads += 1;
      return Promise.resolve(account === accountId("acc_gone") ? undefined : payerOf(needs.grant));
    },
    replaceRefreshToken: (_, refreshToken) => {
      replaced.push(refreshToken);
      return Promise.resolve();
    },
  };
  const tokens = createAccessTokens(
    {
      tokenUrl,
      oauthClientOf: () => ({ clientId: "client", clientSecret: "client-secret-value" }),
      eagerRefreshMs: 300_000,
      maxAccounts: 100,
    },
    { guard, credentials, clock: systemClock },
  );
  const client = createCalendarClient({ rootUrl: needs.apiRootUrl }, { fetch: guard.fetch });
  const source = createCalendarSource(
    { mirror: needs.mirror ?? "full" },
    { guard, client, tokens, clock: systemClock },
  );
  return { source, tokens, guard, broker, replaced, reads: () => reads };
}

function payerOf(
  grant: Grant = { kind: "refresh-token", refreshToken: "refresh-token-value" },
): AccountCredentials {
  return {
    projectId: projectId("default"),
    tenantId: tenantId("acme"),
    quotaUser: quotaUser("user-1"),
    grant,
  };
}

export function testOptions(over: Partial<CallOptions> = {}): CallOptions {
  return {
    consumer: consumer("test"),
    class: "poll",
    earlierAttempt: "none",
    deadlineMs: 10_000,
    signal: new AbortController().signal,
    ...over,
  };
}
