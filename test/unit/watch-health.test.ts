import { expect, test } from "vitest";
import { StoreUnavailable } from "../../src/core/refusal.ts";
import type { StoreHealth } from "../../src/core/store-health.ts";
import { whenStorable } from "../../src/sync/when-storable.ts";
import type { Database } from "../../src/store/database.ts";
import { watchHealth } from "../../src/store/watch-health.ts";
import { createManualClock, type ManualClock } from "../support/manual-clock.ts";

type Ending = { readonly takesMs: number; readonly error?: Error };

function refuse(): never {
  throw new Error("Only writes are watched");
}

/** A database of which the test says how long a write takes and how it ends. */
function watched(clock: ManualClock): {
  readonly health: StoreHealth;
  readonly write: (ending: Ending) => Promise<unknown>;
} {
  const endings: Ending[] = [];
  const database = {
    dialect: undefined,
    async write() {
      const { takesMs, error: thrown } = endings.shift() ?? { takesMs: 0 };
      if (takesMs > 0) await clock.sleep(takesMs, new AbortController().signal);
      if (thrown !== undefined) throw thrown;
    },
    read: refuse,
    snapshot: refuse,
    close: refuse,
  };
  const { database: watching, health } = watchHealth(database as unknown as Database, clock);
  return {
    health,
    write(ending) {
      endings.push(ending);
      return watching.write(() => Promise.resolve()).catch((error: unknown) => error);
    },
  };
}

const gone = new StoreUnavailable({ message: "gone" });

test("I13: a write under way for a second says that nothing more can be stored", async () => {
  const clock = createManualClock();
  const { health, write } = watched(clock);
  expect(health.canStore()).toBe(true);
  const slow = write({ takesMs: 5_000 });
  await clock.advance(999);
  expect(health.canStore()).toBe(true);
  await clock.advance(1);
  expect(health.canStore()).toBe(false);
  await clock.advance(4_000);
  await slow;
  expect(health.canStore()).toBe(false);
});

test("I13: after a recovery those who hold pages have the database for themselves a while", async () => {
  const clock = createManualClock();
  const { health, write } = watched(clock);
  await write({ takesMs: 0, error: gone });
  expect(health.canStore()).toBe(false);
  await write({ takesMs: 0 });
  expect(health.canStore()).toBe(false);
  await clock.advance(2_499);
  await write({ takesMs: 0 });
  expect(health.canStore()).toBe(false);
  await clock.advance(1);
  expect(health.canStore()).toBe(true);
});

test("a relapse while it settles begins the wait anew, a bug of ours is no news", async () => {
  const clock = createManualClock();
  const { health, write } = watched(clock);
  await write({ takesMs: 0, error: gone });
  await write({ takesMs: 0 });
  await clock.advance(2_000);
  await write({ takesMs: 0, error: gone });
  await write({ takesMs: 0 });
  await clock.advance(2_000);
  expect(health.canStore()).toBe(false);
  await clock.advance(500);
  expect(health.canStore()).toBe(true);
  await write({ takesMs: 0, error: new TypeError("a bug") });
  expect(health.canStore()).toBe(true);
});

test("I13: background work begins once it can be stored, a person's at once, and stopping ends the wait", async () => {
  const clock = createManualClock();
  const state = { canStore: false };
  const began: string[] = [];
  const run = whenStorable(
    (id: string) => {
      began.push(id);
      return Promise.resolve({ kind: "done" } as const);
    },
    { storeHealth: { canStore: () => state.canStore }, clock },
  );
  const { signal } = new AbortController();
  const stopping = new AbortController();

  const poll = run("poll", { class: "poll", signal });
  const stopped = run("stopped", { class: "push", signal: stopping.signal });
  expect(await run("person", { class: "interactive", signal })).toEqual({ kind: "done" });
  await clock.advance(10_000);
  expect(began).toEqual(["person"]);

  stopping.abort();
  expect(await stopped).toEqual({ kind: "skipped", reason: "store-unavailable" });
  state.canStore = true;
  await clock.advance(250);
  expect(await poll).toEqual({ kind: "done" });
  expect(began).toEqual(["person", "poll"]);
});
