import { describe, expect, test } from "vitest";
import { CallFailed, type Failure } from "../../src/core/failure.ts";
import { BudgetSpent } from "../../src/core/refusal.ts";
import type { Operation, RequestClass } from "../../src/core/request.ts";
import { createRetryRules } from "../../src/quota/retry-rules.ts";
import { createManualClock, type ManualClock } from "../support/manual-clock.ts";

const OPTIONS = { maxAttempts: 3, baseMs: 1000, capMs: 32_000, maxBackgroundWaitMs: 1000 };
const DOWN: Failure = { kind: "upstream-unavailable", retryAfterMs: undefined };

interface Run {
  readonly clock: ManualClock;
  readonly triesAtMs: number[];
  readonly result: Promise<unknown>;
}

function run(
  errors: readonly Error[],
  over: {
    readonly operation?: Operation;
    readonly requestClass?: RequestClass;
    readonly deadlineMs?: number;
    readonly random?: number;
    readonly signal?: AbortSignal;
  } = {},
): Run {
  const { requestClass = "interactive", deadlineMs = 60_000, random = 0.5 } = over;
  const { signal = new AbortController().signal, operation = "events.list" } = over;
  const clock = createManualClock();
  const triesAtMs: number[] = [];
  const rules = createRetryRules(OPTIONS, { clock, random: () => random });
  const result = rules
    .run({ operation, class: requestClass, deadlineAtMs: deadlineMs, signal }, () => {
      triesAtMs.push(clock.monotonicMs());
      const error = errors[triesAtMs.length - 1];
      return error ? Promise.reject(error) : Promise.resolve("done");
    })
    .catch((error: unknown) => error);
  return { clock, triesAtMs, result };
}

const failed = (failure: Failure): CallFailed =>
  new CallFailed(failure, { operation: "events.list" });

describe("a failed call", () => {
  test("is tried three times, with full jitter under a doubling bound", async () => {
    const last = failed(DOWN);
    const { clock, triesAtMs, result } = run([failed(DOWN), failed(DOWN), last]);
    await clock.advance(10_000);
    expect(triesAtMs).toEqual([0, 500, 1500]);
    expect(await result).toBe(last);
  });

  test.for(["events.insert", "events.quickAdd", "events.move", "other"] as const)(
    "%s is not sent again when its answer never came: it may have been carried out",
    async (operation) => {
      const { clock, triesAtMs, result } = run([failed(DOWN)], { operation });
      await clock.advance(10_000);
      expect(triesAtMs).toEqual([0]);
      expect(await result).toMatchObject({ failure: DOWN });
    },
  );

  test("a write that Google refused for its rate was not carried out, and is sent again", async () => {
    const limited: Failure = { kind: "rate-limited", scope: "user", retryAfterMs: undefined };
    const { clock, triesAtMs, result } = run([failed(limited)], { operation: "events.insert" });
    await clock.advance(10_000);
    expect(triesAtMs).toHaveLength(2);
    expect(await result).toBe("done");
  });

  test("waits at least as long as Google asked for", async () => {
    const { clock, triesAtMs, result } = run([failed({ ...DOWN, retryAfterMs: 7000 })]);
    await clock.advance(10_000);
    expect(triesAtMs).toEqual([0, 7000]);
    expect(await result).toBe("done");
  });

  test("over a minute limit waits a second at least while a person waits", async () => {
    const limited: Failure = { kind: "rate-limited", scope: "user", retryAfterMs: undefined };
    const interactive = run([failed(limited)], { random: 0 });
    await interactive.clock.advance(5000);
    expect(interactive.triesAtMs).toEqual([0, 1000]);
    const background = run([failed(limited)], { requestClass: "push" });
    await background.clock.advance(5000);
    expect(background.triesAtMs).toEqual([0]);
  });

  test("of background work that would wait longer than a second ends", async () => {
    const { clock, triesAtMs } = run([failed(DOWN), failed(DOWN)], {
      requestClass: "poll",
      random: 0.9,
    });
    await clock.advance(60_000);
    // 900 ms is in order; the next wait would be 1,800.
    expect(triesAtMs).toEqual([0, 900]);
  });

  test("is not tried again past its deadline", async () => {
    const { clock, triesAtMs } = run([failed(DOWN)], { deadlineMs: 400 });
    await clock.advance(60_000);
    expect(triesAtMs).toEqual([0]);
  });

  test("is not tried again when aborted in its sleep", async () => {
    const abort = new AbortController();
    const { clock, triesAtMs, result } = run([failed(DOWN)], { signal: abort.signal });
    await clock.advance(100);
    const reason = new Error("gone");
    abort.abort(reason);
    expect(await result).toBe(reason);
    await clock.advance(60_000);
    expect(triesAtMs).toEqual([0]);
    expect(clock.sleepers()).toBe(0);
  });

  test.each<[string, Error]>([
    ["our own refusal", new BudgetSpent({ message: "spent", retryAfterMs: 10 })],
    ["a permanent failure", failed({ kind: "not-found" })],
    ["a dead sync token", failed({ kind: "sync-token-dead" })],
    ["a revoked grant", failed({ kind: "credentials-revoked" })],
    ["something unrecognised", failed({ kind: "unrecognised", status: 418, reason: undefined })],
    ["a rejected access token", failed({ kind: "access-token-rejected" })],
    ["a bug", new TypeError("x is not a function")],
  ])("is not tried again after %s", async (_, error) => {
    const { clock, triesAtMs, result } = run([error]);
    await clock.advance(60_000);
    expect(triesAtMs).toEqual([0]);
    expect(await result).toBe(error);
  });
});
