import { describe, expect } from "vitest";
import { lane } from "../support/ledger-parts.ts";
import { test } from "../support/redis-test.ts";
import { openScriptedLedger, type ScriptedLedger } from "../support/scripted-ledger.ts";

const HOUR_MS = 3_600_000;

const throttled = (scope: "user" | "project" | "unknown") =>
  ({ kind: "throttled", scope, retryAfterMs: undefined }) as const;

const day = (count: number, startedMsAgo = 0, endsInMs = 24 * HOUR_MS) => ({
  startedMsAgo,
  endsInMs,
  count,
});
const askEveryClass = async (ledger: ScriptedLedger): Promise<readonly number[]> => {
  const granted: number[] = [];
  for (const requestClass of ["backfill", "poll", "push", "interactive"] as const) {
    const [answer] = await ledger.ask([[lane({ class: requestClass }), 1]]);
    granted.push(answer?.granted ?? 0);
  }
  return granted;
};

describe("windows", () => {
  test("the answer to a full window is when its oldest request leaves it", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, { projectPerMinute: 10, userPerMinute: 10 });
    await ledger.at(50);
    await ledger.ask([[lane(), 4]]);
    await ledger.at(1_050);
    await ledger.ask([[lane(), 6]]);
    await ledger.at(2_050);
    const [answer] = await ledger.ask([[lane(), 5]]);
    expect(answer).toMatchObject({
      granted: 0,
      refusal: { limit: "user-minute", waitMs: 10_300 - 2_000 + 1 },
    });
    await ledger.at(50 + 10_301);
    expect(await ledger.ask([[lane(), 5]])).toMatchObject([{ granted: 4 }]);
  });

  test("one full quota user stops nobody else of the tenant", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, { userPerMinute: 3 });
    const answers = await ledger.ask([
      [lane({ user: "full" }), 5],
      [lane({ user: "free" }), 2],
    ]);
    expect(answers).toMatchObject([
      { granted: 3, refusal: { limit: "user-minute", scope: "lane" } },
      { granted: 2, refusal: undefined },
    ]);
  });

  test("a heavy head is not overtaken by a lighter ask of the same tenant", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, { userPerMinute: 10 });
    await ledger.ask([[lane(), 8]]);
    const patch = lane({ operation: "events.patch" });
    expect(
      await ledger.ask([
        [patch, 1],
        [lane(), 1],
      ]),
    ).toMatchObject([
      { granted: 0, refusal: { limit: "user-minute" } },
      { granted: 0, refusal: { limit: "user-minute" } },
    ]);
    // Nor by one from another process.
    expect(await ledger.ask([[lane(), 1]], "other")).toMatchObject([{ granted: 0 }]);
    const another = lane({ tenant: "globex", user: "user-2" });
    expect(await ledger.ask([[another, 1]], "other")).toMatchObject([{ granted: 1 }]);
    await ledger.at(10_301);
    expect(await ledger.ask([[patch, 1]])).toMatchObject([{ granted: 1 }]);
  });

  test("token requests have a scope of their own", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, { projectPerMinute: 2, tokenPerMinute: 5 });
    const token = lane({ upstream: "oauth-token", operation: "oauth.token" });
    expect(
      await ledger.ask([
        [lane(), 3],
        [token, 6],
      ]),
    ).toMatchObject([{ granted: 2 }, { granted: 5, refusal: { limit: "project-minute" } }]);
  });

  test("a changed limit is in force with the next decision", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, { projectPerMinute: 5 });
    expect(await ledger.ask([[lane(), 9]])).toMatchObject([{ granted: 5 }]);
    await ledger.configure({ projectPerMinute: 7 });
    expect(await ledger.ask([[lane(), 9]])).toMatchObject([{ granted: 2 }]);
    await ledger.configure({ projectPerMinute: 3 });
    expect(await ledger.ask([[lane(), 9]])).toMatchObject([{ granted: 0 }]);
  });
});

describe("classes", () => {
  test("lower classes leave head-room for those above them", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, {
      classReserve: { push: 0.1, poll: 0.2, backfill: 0.5 },
      pacingBurst: 0.1,
    });
    const used = async (requestClass: "backfill" | "poll" | "push" | "interactive") => {
      let granted = 0;
      for (let ms = 0; ms < 10_000; ms += 200) {
        await ledger.at(begins + ms);
        const [answer] = await ledger.ask([[lane({ class: requestClass }), 10]]);
        granted += answer?.granted ?? 0;
      }
      begins += 10_000;
      return granted;
    };
    let begins = 0;
    const backfill = await used("backfill");
    expect(backfill).toBe(50);
    begins += 11_000;
    expect(await used("poll")).toBe(80);
    begins += 11_000;
    expect(await used("push")).toBe(90);
    begins += 11_000;
    expect(await used("interactive")).toBe(100);
  });

  test("classes below interactive are paced: no burst of more than a twentieth of the window", async ({
    redis,
  }) => {
    const ledger = await openScriptedLedger(redis, { pacingBurst: 0.05 });
    const [poll] = await ledger.ask([[lane({ class: "poll" }), 50]]);
    expect(poll).toMatchObject({ refusal: { limit: "pacing", scope: "line" } });
    expect(poll?.granted).toBeLessThanOrEqual(6);
    expect(await ledger.ask([[lane(), 50]])).toMatchObject([{ granted: 50 }]);
  });

  test("backfills keep to their share, consumers to their cap, tenants to theirs", async ({
    redis,
  }) => {
    const ledger = await openScriptedLedger(redis, {
      pacingBurst: 0.1,
      backfillShare: 0.03,
      "consumer:atoms": { cap: 0.1 },
      "tenant:small": { cap: 0.05 },
    });
    const answers = await ledger.ask([
      [lane({ consumer: "atoms", tenant: "a" }), 20],
      [lane({ tenant: "small" }), 20],
      [lane({ tenant: "free" }), 20],
      [lane({ class: "backfill" }), 5],
    ]);
    expect(answers).toMatchObject([
      { granted: 10, refusal: { limit: "consumer-cap" } },
      { granted: 5, refusal: { limit: "tenant-cap" } },
      { granted: 20 },
      { granted: 3, refusal: { limit: "backfill-share" } },
    ]);
  });

  test("writes per account and watches have limits of their own", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, {
      writesPerAccountPerMinute: 6,
      watchAndStopPerMinute: 2,
    });
    const answers = await ledger.ask([
      [lane({ operation: "events.insert" }), 9],
      [lane({ operation: "events.insert", account: "acc_2" }), 2],
      [lane({ operation: "events.watch" }), 3],
      [lane(), 3],
    ]);
    expect(answers).toMatchObject([
      { granted: 6, refusal: { limit: "writes-per-account" } },
      { granted: 2 },
      { granted: 2, refusal: { limit: "watch-and-stop" } },
      { granted: 3 },
    ]);
  });
});

describe("fair shares", () => {
  test("saturated tenants of two processes share by weight", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, { "tenant:double": { weight: 2 } });
    const granted = { one: 0, two: 0, double: 0 };
    const count = (name: keyof typeof granted, answer: { granted: number } | undefined): void => {
      granted[name] += answer?.granted ?? 0;
    };
    for (let ms = 0; ms < 40_000; ms += 50) {
      await ledger.at(ms);
      const [one, double] = await ledger.ask([
        [lane({ tenant: "one", user: "1" }), 20, 100],
        [lane({ tenant: "double", user: "2" }), 20, 100],
      ]);
      count("one", one);
      count("double", double);
      await ledger.at(ms + 20);
      const [two] = await ledger.ask([[lane({ tenant: "two", user: "3" }), 40, 100]], "other");
      count("two", two);
    }
    const total = granted.one + granted.two + granted.double;
    expect(total).toBeGreaterThanOrEqual(390);
    const shares = [granted.one, granted.two, granted.double / 2];
    const sum = shares.reduce((a, b) => a + b, 0);
    const jain = sum ** 2 / (3 * shares.reduce((a, b) => a + b * b, 0));
    expect(jain).toBeGreaterThanOrEqual(0.99);
  });

  test("a tenant that is alone uses everything", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, {});
    await ledger.ask([[lane({ tenant: "gone", user: "gone" }), 1]], "other");
    expect(await ledger.ask([[lane(), 120]])).toMatchObject([{ granted: 99 }]);
    await ledger.ask([[lane({ tenant: "waits", user: "waits" }), 1]], "other");
    // It asks no more: nothing is kept for it after a while.
    await ledger.at(13_000);
    expect(await ledger.ask([[lane(), 120]])).toMatchObject([{ granted: 100 }]);
  });
});

describe("retries, breaker, throttling", () => {
  test("I3: a retry costs a token, a success earns a tenth, a second earns one", async ({
    redis,
  }) => {
    const ledger = await openScriptedLedger(redis, {});
    const retry = lane({ attempt: "retry" });
    expect(
      await ledger.ask([
        [retry, 3],
        [lane(), 1],
      ]),
    ).toMatchObject([
      { granted: 0, refusal: { limit: "retry-tokens", waitMs: 1_000 } },
      { granted: 1 },
    ]);
    await ledger.at(2_000);
    expect(await ledger.ask([[retry, 9]])).toMatchObject([{ granted: 2 }]);
    for (let count = 0; count < 10; count += 1) await ledger.report(lane(), { kind: "succeeded" });
    expect(await ledger.ask([[retry, 9]])).toMatchObject([{ granted: 1 }]);
    await ledger.at(500_000);
    const saved = await ledger.ask([[retry, 500]]);
    expect(saved[0]?.granted).toBe(100);
  });

  test("the breaker lets one probe out, doubles its wait when it fails, closes when it succeeds", async ({
    redis,
  }) => {
    const ledger = await openScriptedLedger(redis, { breakerFirstMs: 1_000 });
    await ledger.call("trip", ["calendar"]);
    await ledger.call("trip", ["calendar"]);
    expect(await ledger.ask([[lane(), 1]])).toMatchObject([
      { granted: 0, refusal: { limit: "breaker", waitMs: 1_100, scope: "upstream" } },
    ]);
    const token = lane({ upstream: "oauth-token", operation: "oauth.token" });
    expect(await ledger.ask([[token, 1]])).toMatchObject([{ granted: 1 }]);
    await ledger.at(1_101);
    expect(await ledger.ask([[lane(), 3]])).toMatchObject([
      { granted: 1, isProbe: true, refusal: { limit: "breaker" } },
    ]);
    expect(await ledger.ask([[lane(), 3]], "other")).toMatchObject([{ granted: 0 }]);
    await ledger.report(lane(), { kind: "upstream-failed" }, true);
    expect(await ledger.ask([[lane(), 1]])).toMatchObject([{ refusal: { waitMs: 2_200 } }]);
    await ledger.at(1_101 + 2_201);
    expect(await ledger.ask([[lane(), 1]])).toMatchObject([{ granted: 1, isProbe: true }]);
    await ledger.report(lane(), { kind: "answered" }, true);
    expect(await ledger.ask([[lane(), 5]])).toMatchObject([{ granted: 5, isProbe: false }]);
  });

  test("a throttled quota user is slowed to 0.7 and comes back; others are untouched", async ({
    redis,
  }) => {
    const ledger = await openScriptedLedger(redis, { projectPerMinute: 1_000, userPerMinute: 100 });
    await ledger.report(lane(), throttled("user"));
    await ledger.report(lane(), throttled("user"));
    expect(
      await ledger.ask([
        [lane(), 100],
        [lane({ user: "other" }), 100],
      ]),
    ).toMatchObject([{ granted: 70 }, { granted: 100 }]);
    await ledger.at(300_000);
    expect(await ledger.ask([[lane(), 100]])).toMatchObject([{ granted: 100 }]);
  });

  test("the project is slowed only when it is named, or when three quota users say so", async ({
    redis,
  }) => {
    const ledger = await openScriptedLedger(redis, { projectPerMinute: 100, userPerMinute: 100 });
    const ask = async (): Promise<number> => {
      const reply = JSON.parse(
        String(((await ledger.call("snapshot", [])) as readonly unknown[])[1]),
      ) as { project: { limit: number } };
      return reply.project.limit;
    };
    await ledger.report(lane({ user: "1" }), throttled("unknown"));
    await ledger.report(lane({ user: "2" }), throttled("unknown"));
    await ledger.report(lane({ user: "3" }), throttled("user"));
    expect(await ask()).toBe(100);
    await ledger.report(lane({ user: "4" }), throttled("unknown"));
    expect(await ask()).toBe(70);
    await ledger.at(1_000);
    await ledger.report(lane({ user: "1" }), throttled("project"));
    expect(await ask()).toBe(49);
  });

  test("parked writes of an account leave its reads alone", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, {});
    const write = lane({ operation: "events.insert" });
    await ledger.report(write, { kind: "writes-parked", forMs: HOUR_MS });
    expect(
      await ledger.ask([
        [write, 1],
        [lane(), 1],
      ]),
    ).toMatchObject([{ granted: 0, refusal: { limit: "park", waitMs: HOUR_MS } }, { granted: 1 }]);
  });

  test("without a process that has the database nothing is granted for long", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, { unattendedMs: 60_000 });
    await ledger.at(60_001);
    expect(await ledger.ask([[lane(), 1]])).toMatchObject([
      { granted: 0, refusal: { limit: "unattended", scope: "upstream" } },
    ]);
    await ledger.call("attend", []);
    expect(await ledger.ask([[lane(), 1]])).toMatchObject([{ granted: 1 }]);
  });

  test("a stopped project sends nothing", async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, {});
    await ledger.report(lane(), {
      kind: "project-stopped",
      reason: "accessNotConfigured",
      forMs: HOUR_MS,
    });
    expect(await ledger.ask([[lane(), 1]])).toMatchObject([
      { granted: 0, refusal: { limit: "stopped", detail: "accessNotConfigured" } },
    ]);
    await ledger.call("lift", ["stop"]);
    expect(await ledger.ask([[lane(), 1]])).toMatchObject([{ granted: 1 }]);
  });

  test("I12: pauses hold a tenant, a class, a consumer or an operation until they are lifted", async ({
    redis,
  }) => {
    const ledger = await openScriptedLedger(redis, {
      "pause.test.tenant:acme": { reason: "migration" },
      "pause.test.class:backfill": { reason: "incident" },
    });
    expect(
      await ledger.ask([
        [lane(), 1],
        [lane({ tenant: "globex" }), 1],
        [lane({ tenant: "globex", class: "backfill" }), 1],
      ]),
    ).toMatchObject([
      {
        granted: 0,
        refusal: { limit: "pause", waitMs: undefined, detail: "tenant:acme\u001Fmigration" },
      },
      { granted: 1 },
      { granted: 0, refusal: { limit: "pause" } },
    ]);
    await ledger.configure({});
    expect(await ledger.ask([[lane(), 1]])).toMatchObject([{ granted: 1 }]);
  });
});

describe("the day", () => {
  const settings = {
    pacingBurst: 0.1,
    perDay: 1_000,
    dayReserve: { push: 0.05, poll: 0.2, backfill: 0.4 },
  };

  test("yields from the lowest class up", async ({ redis }) => {
    for (const [count, granted] of [
      [500, [1, 1, 1, 1]],
      [700, [0, 1, 1, 1]],
      [900, [0, 0, 1, 1]],
      [960, [0, 0, 0, 1]],
      [1_000, [0, 0, 0, 0]],
    ] as const) {
      await redis.flushdb();
      expect(await askEveryClass(await openScriptedLedger(redis, settings, day(count)))).toEqual(
        granted,
      );
    }
  });

  test("the reserve shrinks as the day passes", async ({ redis }) => {
    const evening = day(900, 18 * HOUR_MS, 6 * HOUR_MS);
    expect(await askEveryClass(await openScriptedLedger(redis, settings, evening))).toEqual([
      0, 1, 1, 1,
    ]);
  });

  test("I1: it is never passed, and turns with what was sent last counting on both sides", async ({
    redis,
  }) => {
    const ledger = await openScriptedLedger(
      redis,
      { ...settings, projectPerMinute: 5_000, userPerMinute: 5_000 },
      { ...day(990, HOUR_MS, 10_000), turnsInMs: [10_000, 20_000_000] },
    );
    await ledger.at(9_900);
    expect(await ledger.ask([[lane(), 50]])).toMatchObject([
      { granted: 10, refusal: { limit: "day" } },
    ]);
    await ledger.at(10_000);
    expect(await ledger.ask([[lane(), 2_000]])).toMatchObject([{ granted: 990 }]);
  });
});

describe("who used it", () => {
  test("usage is taken in two steps, bounded, and comes again until it is confirmed", async ({
    redis,
  }) => {
    const ledger = await openScriptedLedger(redis, {});
    await ledger.report(lane(), { kind: "succeeded" });
    await ledger.report(lane(), { kind: "succeeded" });
    const first = (await ledger.call("take_usage", ["b1"])) as readonly [unknown, string, string[]];
    expect(first[1]).toBe("b1");
    expect(first[2]).toContain(
      "acme\u001Fballast-worker\u001Finteractive\u001Fevents.list\u001Ffirst\u001Fsucceeded\u001F",
    );
    await ledger.report(lane(), { kind: "succeeded" });
    const again = (await ledger.call("take_usage", ["b2"])) as readonly [unknown, string, string[]];
    expect(again[1]).toBe("b1");
    expect(again[2]).toEqual(first[2]);
    await ledger.call("confirm_usage", ["b1"]);
    const next = (await ledger.call("take_usage", ["b3"])) as readonly [unknown, string, string[]];
    expect(next[1]).toBe("b3");
    for (let tenant = 0; tenant < 2_100; tenant += 1) {
      await ledger.report(lane({ tenant: `t${tenant}` }), { kind: "succeeded" });
    }
    expect(await redis.hlen("{ballast-test}:ledger:usage")).toBeLessThanOrEqual(2_001);
  });
});

for (const upstream of ["oauth-token", "calendar"] as const) {
  test(`I8: throttling at ${upstream} slows that upstream and not the other`, async ({ redis }) => {
    const ledger = await openScriptedLedger(redis, {});
    const token = lane({ upstream: "oauth-token", operation: "oauth.token" });
    const [slowed, other] = upstream === "calendar" ? [lane(), token] : [token, lane()];
    const outcome = { kind: "throttled", scope: "project", retryAfterMs: 5_000 } as const;
    await ledger.report(slowed, outcome);
    const answers = await ledger.ask([
      [slowed, 1],
      [other, 1],
    ]);
    expect(answers).toMatchObject([
      { granted: 0, refusal: { limit: "throttled" } },
      { granted: 1, refusal: undefined },
    ]);
  });
}
