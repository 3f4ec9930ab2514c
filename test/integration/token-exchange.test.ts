import type { Redis } from "ioredis";
import { describe, expect } from "vitest";
import { epochMs, systemClock } from "../../src/core/clock.ts";
import { accountId, consumer, projectId, quotaUser, tenantId } from "../../src/core/ids.ts";
import { CallFailed } from "../../src/core/failure.ts";
import type { CallOptions, Guard, LogicalCall } from "../../src/core/request.ts";
import type { TokenExchange } from "../../src/core/token-exchange.ts";
import { createAccessTokens, type AccessTokens } from "../../src/google/google-auth.ts";
import { createRedisTokenExchange } from "../../src/quota/redis-token-exchange.ts";
import { test } from "../support/redis-test.ts";

const ACCOUNT = accountId("acc_1");
const GRANT = { kind: "refresh-token", refreshToken: "r" } as const;
const OTHER_GRANT = { kind: "refresh-token", refreshToken: "another" } as const;
const callOptions = (over: Partial<CallOptions> = {}): CallOptions => ({
  consumer: consumer("test"),
  class: "poll",
  earlierAttempt: "none",
  deadlineMs: 10_000,
  signal: new AbortController().signal,
  ...over,
});

const broken = (): Promise<never> => Promise.reject(new Error("no Redis"));
const hung = (): Promise<never> => new Promise(() => undefined);

interface Endpoint {
  readonly calls: LogicalCall[];
  readonly guard: Guard;
  /** What the token endpoint does next; it takes its time. */
  answer: () => Promise<Response>;
}

/** A token endpoint that several processes share, each by a guard that lets everything pass. */
function createEndpoint(): Endpoint {
  let issued = 0;
  const calls: LogicalCall[] = [];
  const endpoint: Endpoint = {
    calls,
    answer: async () => {
      await systemClock.sleep(50, new AbortController().signal);
      issued += 1;
      return Response.json({ access_token: `token-${issued}`, expires_in: 3600 });
    },
    guard: {
      call: (call, attempt) => {
        calls.push(call);
        call.onSent?.();
        return attempt(call.signal);
      },
      fetch: () => endpoint.answer(),
    },
  };
  return endpoint;
}

function createProcess(endpoint: Endpoint, exchange: TokenExchange): AccessTokens {
  return createAccessTokens(
    {
      tokenUrl: "https://token.test/",
      oauthClientOf: () => ({ clientId: "id", clientSecret: "secret" }),
      eagerRefreshMs: 300_000,
      maxAccounts: 10,
    },
    {
      guard: endpoint.guard,
      clock: systemClock,
      exchange,
      credentials: {
        read: () =>
          Promise.resolve({
            projectId: projectId("default"),
            tenantId: tenantId("acme"),
            quotaUser: quotaUser("u"),
            grant: GRANT,
          }),
        replaceRefreshToken: () => Promise.resolve(),
      },
    },
  );
}

const tokenOf = async (process: AccessTokens, call = callOptions()): Promise<string> => {
  const { accessToken } = await process.get(ACCOUNT, call);
  return accessToken;
};

describe("token refreshes are single-flight per account across the fleet", () => {
  test("eight processes that need a token at once ask Google once", async ({ redis }) => {
    const endpoint = createEndpoint();
    const exchange = createRedisTokenExchange({ redis, clock: systemClock });
    const fleet = Array.from({ length: 8 }, () => createProcess(endpoint, exchange));
    const tokens = await Promise.all(fleet.map((process) => tokenOf(process)));
    expect(new Set(tokens)).toEqual(new Set(["token-1"]));
    expect(endpoint.calls).toHaveLength(1);
  });

  test("a token that Google rejected is refreshed once for all who hold it", async ({ redis }) => {
    const endpoint = createEndpoint();
    const exchange = createRedisTokenExchange({ redis, clock: systemClock });
    const fleet = Array.from({ length: 4 }, () => createProcess(endpoint, exchange));
    await Promise.all(fleet.map((process) => tokenOf(process)));
    for (const process of fleet) process.reject(ACCOUNT, "token-1");
    const tokens = await Promise.all(fleet.map((process) => tokenOf(process)));
    expect(new Set(tokens)).toEqual(new Set(["token-2"]));
    expect(endpoint.calls).toHaveLength(2);
  });

  test("who waited for a refresh that failed tries next, and as a retry (I3)", async ({
    redis,
  }) => {
    const endpoint = createEndpoint();
    const exchange = createRedisTokenExchange({ redis, clock: systemClock });
    const { answer } = endpoint;
    endpoint.answer = async () => {
      endpoint.answer = answer;
      await systemClock.sleep(50, new AbortController().signal);
      throw new CallFailed(
        { kind: "upstream-unavailable", retryAfterMs: undefined },
        { operation: "oauth.token" },
      );
    };
    const [first, second] = [createProcess(endpoint, exchange), createProcess(endpoint, exchange)];
    const results = await Promise.allSettled([tokenOf(first), tokenOf(second)]);
    expect(results.map(({ status }) => status).toSorted()).toEqual(["fulfilled", "rejected"]);
    expect(endpoint.calls.map(({ earlierAttempt }) => earlierAttempt)).toEqual([
      "none",
      "reached-google",
    ]);
  });

  test("a process that died while it refreshed holds nobody up for long", async ({ redis }) => {
    const exchange = createRedisTokenExchange({ redis, clock: systemClock });
    expect(await exchange.claim(GRANT, 200)).toMatchObject({ kind: "claimed" });
    expect(await tokenOf(createProcess(createEndpoint(), exchange))).toBe("token-1");
  });

  test("an exchange that cannot be asked is left out", async () => {
    for (const way of [broken, hung]) {
      const endpoint = createEndpoint();
      expect(await tokenOf(createProcess(endpoint, { read: way, claim: way }))).toBe("token-1");
      expect(endpoint.calls).toHaveLength(1);
    }
  });
});

async function otherKeys(redis: Redis, key: string): Promise<string[]> {
  const keys = await redis.keys("*:token");
  return keys.filter((one) => one !== key);
}

describe("the exchange in Redis", () => {
  const token = {
    accessToken: "ya29.very-secret",
    grantId: "g1",
    expiresAt: epochMs(Date.now() + 60_000),
    lifetimeMs: 3_600_000,
  };

  test("keeps a token sealed, for who holds its grant alone, until it expires", async ({
    redis,
  }) => {
    const exchange = createRedisTokenExchange({ redis, clock: systemClock });
    const claimed = await exchange.claim(GRANT, 5000);
    expect(await exchange.claim(GRANT, 5000)).toEqual({ kind: "taken" });
    if (claimed.kind === "claimed") await claimed.claim.publish(token, undefined);
    expect(await exchange.read(GRANT)).toEqual(token);
    expect(await exchange.read(OTHER_GRANT)).toBeUndefined();
    const [key = ""] = await redis.keys("*:token");
    expect(key).not.toContain(ACCOUNT);
    expect(await redis.get(key)).not.toContain("very-secret");
    expect(await redis.pttl(key)).toBeLessThanOrEqual(60_000);
    // Another grant's place does not open it.
    const other = await exchange.claim(OTHER_GRANT, 5_000);
    if (other.kind === "claimed") await other.claim.publish(token, undefined);
    const [otherKey = ""] = await otherKeys(redis, key);
    await redis.rename(key, otherKey);
    expect(await exchange.read(OTHER_GRANT)).toBeUndefined();
  });

  test("a token that came with a new grant is found by both", async ({ redis }) => {
    const exchange = createRedisTokenExchange({ redis, clock: systemClock });
    const claimed = await exchange.claim(GRANT, 5_000);
    if (claimed.kind === "claimed") await claimed.claim.publish(token, OTHER_GRANT);
    expect(await exchange.read(GRANT)).toEqual(token);
    expect(await exchange.read(OTHER_GRANT)).toEqual(token);
  });

  test("a claim that ran out does not end the next one's", async ({ redis }) => {
    const exchange = createRedisTokenExchange({ redis, clock: systemClock });
    const first = await exchange.claim(GRANT, 20);
    await expect.poll(() => redis.keys("*:claim")).toEqual([]);
    const second = await exchange.claim(GRANT, 5000);
    expect(second.kind).toBe("claimed");
    if (first.kind === "claimed") await first.claim.release();
    expect(await exchange.claim(GRANT, 5000)).toEqual({ kind: "taken" });
  });
});
