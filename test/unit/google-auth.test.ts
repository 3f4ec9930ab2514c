import { describe, expect, test } from "vitest";
import { CallFailed, type Failure } from "../../src/core/failure.ts";
import { accountId, consumer, projectId, quotaUser, tenantId } from "../../src/core/ids.ts";
import { BudgetSpent, DeadlinePassed } from "../../src/core/refusal.ts";
import type { CallOptions, Guard, LogicalCall } from "../../src/core/request.ts";
import { createAccessTokens, type AccessTokens } from "../../src/google/google-auth.ts";
import { createManualClock, type ManualClock } from "../support/manual-clock.ts";

const ACCOUNT = accountId("acc_1");
const HOUR = 3_600_000;

interface Setup {
  readonly clock: ManualClock;
  readonly tokens: AccessTokens;
  readonly calls: LogicalCall[];
  /** What the store holds now. */
  readonly stored: { refreshToken: string | undefined; reads: number };
  /** The next refreshes throw these, in order; undefined: succeed. */
  readonly errors: (Error | undefined)[];
  readonly get: (over?: Partial<CallOptions>) => Promise<string>;
}

function setup({ expiresInSeconds = 3600, maxAccounts = 10 } = {}): Setup {
  const clock = createManualClock();
  const calls: LogicalCall[] = [];
  const errors: (Error | undefined)[] = [];
  const stored: Setup["stored"] = { refreshToken: "r", reads: 0 };
  const guard: Guard = {
    call: (call, attempt) => {
      calls.push(call);
      const error = errors.shift();
      if (error instanceof CallFailed) call.onSent?.();
      return error ? Promise.reject(error) : attempt(call.signal);
    },
    fetch: () =>
      Promise.resolve(
        Response.json({ access_token: `token-${calls.length}`, expires_in: expiresInSeconds }),
      ),
  };
  const tokens = createAccessTokens(
    {
      tokenUrl: "https://token.test/",
      oauthClientOf: () => ({ clientId: "id", clientSecret: "secret" }),
      eagerRefreshMs: 300_000,
      maxAccounts,
    },
    {
      guard,
      clock,
      credentials: {
        read: () => {
          stored.reads += 1;
          const { refreshToken } = stored;
          if (refreshToken === undefined) return Promise.resolve(undefined);
          return Promise.resolve({
            projectId: projectId("default"),
            tenantId: tenantId("acme"),
            quotaUser: quotaUser("u"),
            grant: { kind: "refresh-token", refreshToken },
          });
        },
        replaceRefreshToken: () => Promise.resolve(),
      },
    },
  );
  const get = async (over: Partial<CallOptions> = {}): Promise<string> => {
    const access = await tokens.get(ACCOUNT, {
      consumer: consumer("test"),
      class: "poll",
      earlierAttempt: "none",
      deadlineMs: 10_000,
      signal: new AbortController().signal,
      ...over,
    });
    return access.accessToken;
  };
  return { clock, tokens, calls, errors, stored, get };
}

const failed = (failure: Failure): CallFailed =>
  new CallFailed(failure, { operation: "oauth.token" });
const unavailable = (): CallFailed =>
  failed({ kind: "upstream-unavailable", retryAfterMs: undefined });

describe("an access token", () => {
  test("is used until five minutes before its end, then refreshed", async () => {
    const { clock, get, calls } = setup();
    expect(await get()).toBe("token-1");
    await clock.advance(HOUR - 301_000);
    expect(await get()).toBe("token-1");
    await clock.advance(2000);
    expect(await get()).toBe("token-2");
    expect(calls).toHaveLength(2);
  });

  test("of a short life is not refreshed with every call", async () => {
    const { clock, get, calls } = setup({ expiresInSeconds: 60 });
    await get();
    await clock.advance(53_000);
    await get();
    expect(calls).toHaveLength(1);
    await clock.advance(2000);
    await get();
    expect(calls).toHaveLength(2);
  });

  test.each([unavailable(), new BudgetSpent({ message: "spent" })])(
    "that is expiring and cannot be refreshed is used to its end: %s",
    async (error) => {
      const { clock, get, errors, calls } = setup();
      await get();
      await clock.advance(HOUR - 200_000);
      errors.push(error);
      expect(await get()).toBe("token-1");
      // Not asked for again with every call of an outage.
      expect(await get()).toBe("token-1");
      expect(calls).toHaveLength(2);
      await clock.advance(31_000);
      expect(await get()).toBe("token-3");
    },
  );

  test("that is expiring and whose grant is revoked is not used any more", async () => {
    const { clock, get, errors } = setup();
    await get();
    await clock.advance(HOUR - 200_000);
    errors.push(failed({ kind: "credentials-revoked" }));
    await expect(get()).rejects.toMatchObject({ failure: { kind: "credentials-revoked" } });
  });

  test("that has expired is not used, whatever the wall clock says", async () => {
    const { clock, get, errors } = setup();
    await get();
    clock.stepWallClock(-2 * HOUR);
    await clock.advance(HOUR);
    errors.push(unavailable());
    await expect(get()).rejects.toMatchObject({ failure: { kind: "upstream-unavailable" } });
  });

  test("that was rejected is not handed out again; another one is left alone", async () => {
    const { tokens, get } = setup();
    await get();
    tokens.reject(ACCOUNT, "some-older-token");
    expect(await get()).toBe("token-1");
    tokens.reject(ACCOUNT, "token-1");
    expect(await get()).toBe("token-2");
  });

  test("is forgotten with its account, and beyond the bound the longest unused goes first", async () => {
    const { tokens, get, calls } = setup({ maxAccounts: 1 });
    await get();
    tokens.forget(ACCOUNT);
    expect(await get()).toBe("token-2");
    await tokens.get(accountId("acc_2"), {
      consumer: consumer("test"),
      class: "poll",
      earlierAttempt: "none",
      deadlineMs: 10_000,
      signal: new AbortController().signal,
    });
    await get();
    expect(calls).toHaveLength(4);
  });
});

describe("an account that was connected anew", () => {
  test("gets a token of its new grant within a minute", async () => {
    const { clock, get, stored } = setup();
    await get();
    stored.refreshToken = "someone-else";
    await clock.advance(60_000);
    expect(await get()).toBe("token-2");
  });

  test("or was removed, has none within a minute", async () => {
    const { clock, get, stored } = setup();
    await get();
    stored.refreshToken = undefined;
    await clock.advance(60_000);
    await expect(get()).rejects.toMatchObject({ failure: { kind: "credentials-revoked" } });
  });

  test("not at all, keeps its token, and the store is asked once a minute", async () => {
    const { clock, get, stored, calls } = setup();
    for (let second = 0; second < 180; second += 1) {
      await get();
      await clock.advance(1000);
    }
    expect(calls).toHaveLength(1);
    expect(stored.reads).toBe(3);
  });
});

describe("a refresh that failed", () => {
  test("makes the next one a retry, until one succeeds (I3)", async () => {
    const { clock, get, errors, calls } = setup();
    errors.push(unavailable(), unavailable());
    await expect(get()).rejects.toBeInstanceOf(CallFailed);
    await expect(get()).rejects.toBeInstanceOf(CallFailed);
    await get();
    await clock.advance(HOUR);
    await get();
    expect(calls.map(({ earlierAttempt }) => earlierAttempt)).toEqual([
      "none",
      "reached-google",
      "reached-google",
      "none",
    ]);
  });

  test("but never left us leaves the next one a first try", async () => {
    const { get, errors, calls } = setup();
    errors.push(new BudgetSpent({ message: "spent" }));
    await expect(get()).rejects.toBeInstanceOf(BudgetSpent);
    await get();
    expect(calls.map(({ earlierAttempt }) => earlierAttempt)).toEqual(["none", "none"]);
  });
});

describe("waiting for a refresh that hangs", () => {
  test("ends at the caller's deadline, and the refresh is put down with its last waiter", async () => {
    const clock = createManualClock();
    const calls: LogicalCall[] = [];
    const call: CallOptions = {
      consumer: consumer("test"),
      class: "poll",
      earlierAttempt: "none",
      deadlineMs: 5000,
      signal: new AbortController().signal,
    };
    const hung = createHungTokens(clock, calls);
    const waits = hung.get(ACCOUNT, call).catch((error: unknown) => error);
    await clock.advance(4999);
    expect(calls[0]?.signal.aborted).toBe(false);
    await clock.advance(2);
    expect(await waits).toBeInstanceOf(DeadlinePassed);
    expect(calls[0]?.signal.aborted).toBe(true);
    expect(clock.sleepers()).toBe(0);
  });
});
const misconfigured = (): CallFailed =>
  failed({ kind: "client-misconfigured", reason: "invalid_client" });

describe("a refusal that is no account's fault", () => {
  const OTHER = accountId("acc_2");
  const call: CallOptions = {
    consumer: consumer("test"),
    class: "poll",
    earlierAttempt: "none",
    deadlineMs: 10_000,
    signal: new AbortController().signal,
  };

  test("is not asked about again for every account; a while later one of them asks", async () => {
    const { clock, tokens, get, errors, calls } = setup();
    errors.push(misconfigured());
    await expect(get()).rejects.toMatchObject({ failure: { kind: "client-misconfigured" } });
    await expect(tokens.get(OTHER, call)).rejects.toMatchObject({
      failure: { kind: "client-misconfigured", reason: "invalid_client" },
    });
    expect(calls).toHaveLength(1);
    await clock.advance(10_001);
    expect((await tokens.get(OTHER, call)).accessToken).toBe("token-2");
    await get();
    expect(calls).toHaveLength(3);
  });

  test("and one that is leaves the others alone", async () => {
    const { tokens, get, errors } = setup();
    errors.push(failed({ kind: "credentials-revoked" }));
    await expect(get()).rejects.toMatchObject({ failure: { kind: "credentials-revoked" } });
    expect((await tokens.get(OTHER, call)).accessToken).toBe("token-2");
  });
});

describe("a token and the grant that it was issued for", () => {
  test("is outdated once the account was connected anew, or has another token", async () => {
    const { tokens, get, stored } = setup();
    await get();
    expect(await tokens.isOutdated(ACCOUNT, "token-1")).toBe(false);
    expect(await tokens.isOutdated(ACCOUNT, "some-older-token")).toBe(true);
    stored.refreshToken = "another";
    expect(await tokens.isOutdated(ACCOUNT, "token-1")).toBe(true);
    stored.refreshToken = undefined;
    expect(await tokens.isOutdated(ACCOUNT, "token-1")).toBe(false);
  });
});

/** Tokens behind a guard that never ends a call until it is aborted. */
function createHungTokens(clock: ManualClock, calls: LogicalCall[]): AccessTokens {
  return createAccessTokens(
    {
      tokenUrl: "https://token.test/",
      oauthClientOf: () => ({ clientId: "id", clientSecret: "secret" }),
      eagerRefreshMs: 300_000,
      maxAccounts: 10,
    },
    {
      clock,
      guard: {
        call: (call) => {
          calls.push(call);
          return new Promise((_, reject) => {
            call.signal.addEventListener("abort", () => {
              reject(new Error("aborted"));
            });
          });
        },
        fetch: () => Promise.reject(new Error("not to be called")),
      },
      credentials: {
        read: () =>
          Promise.resolve({
            projectId: projectId("default"),
            tenantId: tenantId("acme"),
            quotaUser: quotaUser("u"),
            grant: { kind: "refresh-token", refreshToken: "r" },
          }),
        replaceRefreshToken: () => Promise.resolve(),
      },
    },
  );
}
