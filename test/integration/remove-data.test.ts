import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { CallFailed, type Failure } from "../../src/core/failure.ts";
import { consumer, tenantId, type AccountId } from "../../src/core/ids.ts";
import { BudgetSpent } from "../../src/core/refusal.ts";
import type { EarlierAttempt } from "../../src/core/request.ts";
import { createRemoveData, type RemoveOutcome } from "../../src/operate/remove-data.ts";
import { event, must, openTestStore, type TestStore } from "../conformance/store-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const OPTIONS = {
  leaseMs: 120_000,
  turnMs: 20_000,
  portionRows: 3,
  restMs: 0,
  settleMs: 5_000,
  releaseWithinMs: 3_600_000,
  callDeadlineMs: 1_000,
  consumer: consumer("test"),
};

interface World {
  readonly store: TestStore;
  readonly path: string;
  /** What Google was asked, in order, and whether as a retry. */
  readonly asked: string[];
  /** What an account's next calls fail with; the first one is taken each time. */
  readonly failures: Map<AccountId, Error[]>;
  readonly forgotten: AccountId[];
  readonly accounts: readonly AccountId[];
  /** A turn, if it is due. */
  readonly turn: () => Promise<RemoveOutcome | undefined>;
}

/** A tenant with two accounts, each with a published calendar and a live channel, that is to go. */
async function openWorld(isRevoking: boolean): Promise<World> {
  const path = join(await temporaryDirectory(), "ballast.db");
  const store = await openTestStore(`sqlite:${path}`);
  const accounts: AccountId[] = [];
  for (const name of ["ann", "bob"]) {
    const { account, calendars } = await store.connect("acme", name, [`${name}@x.test`]);
    accounts.push(account.id);
    const id = must(calendars[0]);
    await store.refresh(id, { items: [event("e", { summary: `secret of ${name}` })] });
    const channel = `channel-of-${name}`;
    await store.channels.add({ id: channel, calendarId: id, createdAt: store.now() });
    await store.channels.confirm(channel, { resourceId: "r", expiresAt: store.later(1e9) });
  }
  const by = { actor: "olga", reason: undefined, isRevoking, now: store.now() };
  await store.removals.ask({ kind: "tenant", tenantId: tenantId("acme") }, by);
  const asked: string[] = [];
  const failures = new Map<AccountId, Error[]>();
  const forgotten: AccountId[] = [];
  const at = (
    what: string,
    account: AccountId,
    call: { readonly earlierAttempt: EarlierAttempt; readonly onSent?: (() => void) | undefined },
  ): void => {
    const failure = failures.get(account)?.shift();
    if (failure instanceof BudgetSpent) throw failure;
    call.onSent?.();
    asked.push(`${what} ${call.earlierAttempt === "none" ? "first" : "retry"}`);
    if (failure !== undefined) throw failure;
  };
  const removeData = createRemoveData(OPTIONS, {
    removals: store.removals,
    channels: store.channels,
    // Its rests are no subject here: nobody would move the clock meanwhile.
    clock: { ...store.clock, sleep: () => Promise.resolve() },
    stopChannel: async ({ accountId, channelId }, call) => {
      at(`stop ${channelId}`, accountId, call);
      return Promise.resolve("stopped");
    },
    credentials: {
      revoke: async (accountId, call) => {
        at("revoke", accountId, call);
        return Promise.resolve("revoked");
      },
      forget: (accountId) => {
        forgotten.push(accountId);
        return Promise.resolve();
      },
    },
  });
  return {
    store,
    path,
    asked,
    failures,
    forgotten,
    accounts,
    async turn() {
      const claim = { now: store.now(), atOnce: 1, queuedForMs: 1_000 };
      const id = await store.removals.claimDue(claim);
      return id === undefined
        ? undefined
        : removeData(id, { signal: new AbortController().signal });
    },
  };
}

function failed(failure: Failure): CallFailed {
  return new CallFailed(failure, { operation: "channels.stop" });
}

async function grants({ store, accounts }: World): Promise<readonly boolean[]> {
  const found: boolean[] = [];
  for (const id of accounts) found.push((await store.accounts.readGrant(id)) !== undefined);
  return found;
}

test("channels are stopped, tokens revoked, then credentials go, then rows; what was on its way is waited for", async () => {
  const world = await openWorld(true);
  expect(await world.turn()).toEqual({ kind: "put-back", stage: "settling", code: undefined });
  expect(world.asked.toSorted()).toEqual([
    "revoke first",
    "revoke first",
    "stop channel-of-ann first",
    "stop channel-of-bob first",
  ]);
  expect(world.forgotten.toSorted()).toEqual(world.accounts.toSorted());
  expect(await world.store.accounts.list({ limit: 10 })).toEqual([]);
  // Nobody has it earlier.
  expect(await world.turn()).toBeUndefined();
  await world.store.clock.advance(OPTIONS.settleMs);
  const outcome = await world.turn();
  expect(outcome).toMatchObject({
    kind: "removed",
    counts: { channelsStopped: 2, channelsLeft: 0, tokensRevoked: 2, tokensLeft: 0 },
    scrub: "scrubbed",
  });
  // The file itself: nothing of it is left in freed or split pages.
  const bytes = await readFile(world.path);
  const secrets = ["secret of ann", "ann@x.test", "channel-of-bob"];
  expect(secrets.filter((secret) => bytes.includes(secret))).toEqual([]);
  expect(bytes.includes("tenant.removal-asked")).toBe(true);
});

test("I8, I3: an account that Google cannot serve now waits, is asked again as a retry, and holds no other up", async () => {
  const world = await openWorld(false);
  const [ann] = world.accounts;
  world.failures.set(must(ann), [
    failed({ kind: "upstream-unavailable", retryAfterMs: 7_000 }),
    new BudgetSpent({ message: "spent", retryAfterMs: 3_000 }),
  ]);
  expect(await world.turn()).toEqual({
    kind: "put-back",
    stage: "releasing",
    code: "GCAL_UPSTREAM_UNAVAILABLE",
  });
  expect((await grants(world)).filter(Boolean)).toHaveLength(1);
  await world.store.clock.advance(7_000);
  expect(await world.turn()).toMatchObject({ code: "BALLAST_BUDGET_SPENT" });
  await world.store.clock.advance(3_000);
  expect(await world.turn()).toMatchObject({ stage: "settling" });
  expect(world.asked.filter((one) => one.includes("-of-ann"))).toEqual([
    "stop channel-of-ann first",
    "stop channel-of-ann retry",
  ]);
});

test("what Google refuses for good, or for too long, is left and recorded", async () => {
  const world = await openWorld(true);
  const [ann, bob] = world.accounts;
  const dead = failed({ kind: "credentials-revoked" });
  world.failures.set(must(ann), [dead, dead]);
  const down = failed({ kind: "upstream-unavailable", retryAfterMs: undefined });
  world.failures.set(must(bob), [down, down, down]);
  expect(await world.turn()).toMatchObject({ stage: "releasing" });
  await world.store.clock.advance(OPTIONS.releaseWithinMs + 1);
  expect(await world.turn()).toMatchObject({ stage: "settling" });
  await world.store.clock.advance(OPTIONS.settleMs);
  expect(await world.turn()).toMatchObject({
    counts: { channelsStopped: 0, channelsLeft: 2, tokensRevoked: 0, tokensLeft: 2 },
  });
  const [entry] = await world.store.operatorLog.list({ limit: 1 });
  expect(entry).toMatchObject({
    action: "tenant.removed",
    details: { askedBy: "olga", channelsLeft: 2, tokensLeft: 2 },
  });
});
