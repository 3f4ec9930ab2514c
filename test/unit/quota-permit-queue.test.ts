import * as fc from "fast-check";
import { expect, test } from "vitest";
import { createBinaryHeap } from "../../src/quota/binary-heap.ts";
import { createPermitQueue, type PermitQueue } from "../../src/quota/permit-queue.ts";
import type { LaneRefusal } from "../../src/quota/ledger-reply.ts";
import type { WaitingCall } from "../../src/quota/waiting-call.ts";
import { lane, permitAsk } from "../support/ledger-parts.ts";

const nothing = { serve: () => undefined, refuse: () => undefined };

function add(
  queue: PermitQueue,
  over: Parameters<typeof lane>[0] = {},
  expiresAtMs = 1_000,
): WaitingCall {
  return queue.add({ ask: permitAsk(lane(over)), expiresAtMs, outcome: nothing });
}

const limits = { nowMs: 0, maxTenants: 16, maxAsks: 64 };
const tenantsOf = (queue: PermitQueue): readonly string[] =>
  queue.take(limits).map(({ waiting }) => waiting.lane.attribution.tenantId);

test("a heap gives back what it was given, least first", () => {
  fc.assert(
    fc.property(fc.array(fc.integer()), (numbers) => {
      const heap = createBinaryHeap<number>((a, b) => a < b);
      for (const number of numbers) heap.push(number);
      const popped: number[] = [];
      for (let next = heap.pop(); next !== undefined; next = heap.pop()) popped.push(next);
      expect(popped).toEqual(numbers.toSorted((a, b) => a - b));
    }),
  );
});

test("interactive tenants are asked for before all others, then by virtual time", () => {
  const queue = createPermitQueue();
  add(queue, { tenant: "poller", class: "poll" });
  const spender = add(queue, { tenant: "spender" });
  add(queue, { tenant: "quiet" });
  const takes = queue.take(limits);
  queue.setTag(spender.lane, 9);
  queue.giveBack(takes);
  expect(tenantsOf(queue)).toEqual(["quiet", "spender", "poller"]);
});

test("at most 16 tenants are part of an ask, and the next ask is for the others", () => {
  const queue = createPermitQueue();
  for (let index = 0; index < 40; index += 1) add(queue, { tenant: `t${index}` });
  const first = queue.take(limits);
  expect(first).toHaveLength(16);
  for (const { waiting } of first) queue.setTag(waiting, 1);
  queue.giveBack(first);
  const second = new Set(tenantsOf(queue));
  expect(second.size).toBe(16);
  expect(first.some(({ waiting }) => second.has(waiting.lane.attribution.tenantId))).toBe(false);
});

test("a cancelled call is asked for no more, and leaves nothing behind", () => {
  const queue = createPermitQueue();
  const call = add(queue);
  queue.remove(call);
  queue.remove(call);
  expect(queue.size).toBe(0);
  expect(queue.hasAskable(0)).toBe(false);
  expect(queue.nextChangeMs(0)).toBeUndefined();
});

test("a limit of the lane's own lets the other lanes of the tenant go on", () => {
  const queue = createPermitQueue();
  const blocked = add(queue, { user: "full" });
  add(queue, { user: "free" });
  const takes = queue.take(limits);
  queue.sleep(blocked.lane, 500);
  queue.giveBack(takes);
  expect(queue.take(limits).map(({ waiting }) => waiting.lane.attribution.quotaUser)).toEqual([
    "free",
  ]);
});

const refusal: LaneRefusal = { limit: "pacing", scope: "line", waitMs: 500, detail: "" };

test("a shared limit holds the class and those below it, not those above", () => {
  const queue = createPermitQueue();
  const poll = add(queue, { tenant: "p", class: "poll" });
  add(queue, { tenant: "b", class: "backfill" });
  add(queue, { tenant: "i" });
  const takes = queue.take(limits);
  queue.hold(poll.lane, refusal, { heldUntilMs: 500, toldUntilMs: 900 });
  queue.giveBack(takes);
  expect(tenantsOf(queue)).toEqual(["i"]);
  const impatient = permitAsk(lane({ class: "poll" }), { maxWaitMs: 100 });
  expect(queue.foretell(impatient, 0)).toMatchObject({ limit: "pacing", waitMs: 900 });
  expect(queue.foretell(impatient, 500)).toBeUndefined();
});

test("calls are refused when their time has run out, each once", () => {
  const queue = createPermitQueue();
  add(queue, {}, 100);
  add(queue, {}, 300);
  expect(queue.nextChangeMs(0)).toBe(100);
  expect(queue.expired(99)).toHaveLength(0);
  const expired = queue.expired(100);
  expect(expired).toHaveLength(1);
  for (const { call } of expired) queue.remove(call);
  expect(queue.size).toBe(1);
  expect(queue.nextChangeMs(100)).toBe(300);
});
