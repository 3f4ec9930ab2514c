import { describe, expect, test } from "vitest";
import { tenantId } from "../../src/core/ids.ts";
import { QueueFull } from "../../src/core/refusal.ts";
import type { RequestClass } from "../../src/core/request.ts";
import { createLimiter, type Limiter } from "../../src/quota/limiter.ts";

const OPTIONS = { slots: 10, interactiveShare: 0.2, slotsPerTenant: 4, maxWaiting: 1000 };

/** Work that runs until it is let go. */
function createGate(): {
  readonly work: () => Promise<void>;
  readonly open: () => void;
  readonly entered: () => number;
} {
  const { promise, resolve } = Promise.withResolvers<void>();
  let entered = 0;
  return {
    work: () => {
      entered += 1;
      return promise;
    },
    open: resolve,
    entered: () => entered,
  };
}

const settle = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

interface Place {
  readonly tenant?: string;
  readonly class?: RequestClass;
  readonly signal?: AbortSignal;
}

function enter<T>(limiter: Limiter, work: () => Promise<T>, place: Place = {}): Promise<T> {
  const {
    tenant = "acme",
    class: requestClass = "poll",
    signal = new AbortController().signal,
  } = place;
  return limiter.schedule({ tenantId: tenantId(tenant), class: requestClass, signal }, work);
}

describe("slots", () => {
  test("a tenant has few at once, and the process no more than its slots", async () => {
    const limiter = createLimiter(OPTIONS);
    const gate = createGate();
    const one = Array.from({ length: 9 }, () => enter(limiter, gate.work));
    await settle();
    expect(gate.entered()).toBe(4);
    const others = ["b", "c", "d"].flatMap((tenant) =>
      Array.from({ length: 4 }, () => enter(limiter, gate.work, { tenant })),
    );
    await settle();
    // Ten slots, of which two are interactive calls' own.
    expect(gate.entered()).toBe(8);
    expect(limiter.waiting()).toBe(13);
    gate.open();
    await Promise.all([...one, ...others]);
    expect(gate.entered()).toBe(21);
    expect(limiter.waiting()).toBe(0);
  });

  test("interactive calls have a part that background work cannot take, and may use what it leaves", async () => {
    const limiter = createLimiter(OPTIONS);
    const background = createGate();
    const backgroundCalls = ["a", "b", "c"].flatMap((tenant) =>
      Array.from({ length: 4 }, () => enter(limiter, background.work, { tenant })),
    );
    const person = createGate();
    const personCalls = Array.from({ length: 3 }, () =>
      enter(limiter, person.work, { tenant: "a", class: "interactive" }),
    );
    await settle();
    expect(background.entered()).toBe(8);
    expect(person.entered()).toBe(2);
    background.open();
    person.open();
    await Promise.all([...backgroundCalls, ...personCalls]);

    const alone = createGate();
    const many = Array.from({ length: 6 }, (_, index) =>
      enter(limiter, alone.work, { tenant: `t${index}`, class: "interactive" }),
    );
    await settle();
    expect(alone.entered()).toBe(6);
    alone.open();
    await Promise.all(many);
  });

  test("the more urgent class goes first, within a class who came first", async () => {
    const limiter = createLimiter({ ...OPTIONS, slots: 2, slotsPerTenant: 1 });
    const gate = createGate();
    const holder = enter(limiter, gate.work);
    await settle();
    const order: string[] = [];
    const ask = (name: string, requestClass: RequestClass): Promise<void> =>
      enter(
        limiter,
        () => {
          order.push(name);
          return Promise.resolve();
        },
        { class: requestClass },
      );
    const calls = [
      ask("backfill", "backfill"),
      ask("poll-1", "poll"),
      ask("push", "push"),
      ask("poll-2", "poll"),
    ];
    await settle();
    gate.open();
    await Promise.all([holder, ...calls]);
    expect(order).toEqual(["push", "poll-1", "poll-2", "backfill"]);
  });

  test("a call that fails frees its slot and fails alone", async () => {
    const limiter = createLimiter({ ...OPTIONS, slots: 2, slotsPerTenant: 1 });
    const bad = enter(limiter, () => Promise.reject(new Error("bad")));
    const good = enter(limiter, () => Promise.resolve("good"));
    await expect(bad).rejects.toThrow("bad");
    expect(await good).toBe("good");
  });
});

describe("waiting", () => {
  test("a cancelled call leaves at once with its reason and never runs", async () => {
    const limiter = createLimiter({ ...OPTIONS, slots: 2, slotsPerTenant: 1 });
    const gate = createGate();
    const holder = enter(limiter, gate.work);
    await settle();
    const abort = new AbortController();
    const cancelled = createGate();
    const call = enter(limiter, cancelled.work, { signal: abort.signal });
    expect(limiter.waiting()).toBe(1);
    const reason = new Error("gone");
    abort.abort(reason);
    await expect(call).rejects.toBe(reason);
    expect(limiter.waiting()).toBe(0);
    gate.open();
    await holder;
    expect(await enter(limiter, () => Promise.resolve("next"))).toBe("next");
    expect(cancelled.entered()).toBe(0);
  });

  test("more than it may hold are refused, none that waits is dropped", async () => {
    const limiter = createLimiter({ ...OPTIONS, slots: 2, slotsPerTenant: 1, maxWaiting: 3 });
    const gate = createGate();
    const holder = enter(limiter, gate.work);
    await settle();
    const waiting = [1, 2, 3].map((name) => enter(limiter, () => Promise.resolve(name)));
    await expect(enter(limiter, () => Promise.resolve(4))).rejects.toBeInstanceOf(QueueFull);
    gate.open();
    await holder;
    expect(await Promise.all(waiting)).toEqual([1, 2, 3]);
  });

  test("idle tenants' limiters are dropped", async () => {
    const limiter = createLimiter(OPTIONS);
    await Promise.all(
      Array.from({ length: 500 }, (_, index) =>
        enter(limiter, () => Promise.resolve(), { tenant: `t${index}` }),
      ),
    );
    await settle();
    expect(limiter.tenants()).toBeLessThanOrEqual(64);
  });
});

test("an idle limiter starts a call without waiting for a timer", async () => {
  const limiter = createLimiter(OPTIONS);
  let isTimerDue = false;
  const timer = setTimeout(() => {
    isTimerDue = true;
  }, 0);
  // Everything up to the start happens in microtasks: no timer of Bottleneck's is in the way.
  await enter(limiter, () => Promise.resolve());
  expect(isTimerDue).toBe(false);
  clearTimeout(timer);
});
