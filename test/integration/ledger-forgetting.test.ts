import { expect } from "vitest";
import { parseAskReply, parseObserveReply, parsePlainReply } from "../../src/quota/ledger-reply.ts";
import { encodeLane } from "../../src/quota/ledger-lane.ts";
import { createLedgerWitness } from "../../src/quota/ledger-witness.ts";
import { lane } from "../support/ledger-parts.ts";
import { test } from "../support/redis-test.ts";
import { openScriptedLedger, type ScriptedLedger } from "../support/scripted-ledger.ts";

const epoch = (sequence: number, number = 1, id = "epoch-1") => ({ number, epoch: id, sequence });

async function standing(
  ledger: ScriptedLedger,
  known: ReturnType<typeof epoch>,
): Promise<readonly [string, string]> {
  const { header } = parseAskReply(await ledger.call("ask", ["0", "0"], { known }));
  return [header.status, header.reason];
}

test("I1: a sequence behind an asker's is a lost tail: nothing is granted any more", async ({
  redis,
}) => {
  const ledger = await openScriptedLedger(redis, {});
  await ledger.ask([[lane(), 5]]);
  expect(await standing(ledger, epoch(5))).toEqual(["open", "first"]);
  expect(await standing(ledger, epoch(6))).toEqual(["forgotten", "sequence-behind"]);
  expect(await standing(ledger, epoch(0))).toEqual(["forgotten", "sequence-behind"]);
});

test("I1: an epoch older than an asker's, or another one of the same number, is a lost memory", async ({
  redis,
}) => {
  const ledger = await openScriptedLedger(redis, {});
  expect(await standing(ledger, epoch(0, 2, "epoch-2"))).toEqual(["forgotten", "epoch-behind"]);
  await redis.flushdb();
  const other = await openScriptedLedger(redis, {});
  expect(await standing(other, epoch(0, 1, "another"))).toEqual(["forgotten", "epoch-differs"]);
});

test("an asker of an older epoch is told the new one and granted nothing", async ({ redis }) => {
  const ledger = await openScriptedLedger(redis, {});
  await ledger.call("distrust", ["test"]);
  expect(await openNext(ledger)).toBe("opened");
  const asked = [...encodeLane(lane(), 3), "0"];
  const reply = parseAskReply(await ledger.call("ask", ["0", "1", ...asked], { known: epoch(0) }));
  expect(reply.header).toMatchObject({ status: "stale", epoch: "epoch-2", epochNumber: 2 });
  expect(reply.lanes).toBeUndefined();
});

test("I1: a clock that goes back further than the tolerance is noticed by the ledger itself", async ({
  redis,
}) => {
  const ledger = await openScriptedLedger(redis, {});
  await ledger.at(5_000);
  await ledger.ask([[lane(), 1]]);
  await ledger.at(4_990);
  expect(await standing(ledger, epoch(1))).toEqual(["open", "first"]);
  await ledger.at(4_900);
  expect(await standing(ledger, epoch(1))).toEqual(["forgotten", "clock-went-back"]);
});

test("I1: another server's answer is another memory, even with the same keys", async ({
  redis,
}) => {
  const ledger = await openScriptedLedger(redis, {});
  await redis.hset("{ballast-test}:ledger:state", "server", "f00d");
  expect(await standing(ledger, epoch(0))).toEqual(["forgotten", "server-changed"]);
});

test("a longer window needs a longer memory: the epoch ends", async ({ redis }) => {
  const ledger = await openScriptedLedger(redis, {});
  await ledger.configure({ windowMs: 20_000 });
  expect(await standing(ledger, epoch(0))).toEqual(["forgotten", "window-changed"]);
});

test("I1: re-seeded grants count as long as they would have, by age", async ({ redis }) => {
  const ledger = await openScriptedLedger(redis, { projectPerMinute: 50, userPerMinute: 50 });
  await ledger.at(20_000);
  await redis.flushdb();
  await ledger.at(20_000);
  await reseed(ledger, { asker: "asker", roster: ["asker", "other"], ageMs: 4_000, count: 30 });
  const first = await observe(ledger);
  expect(first).toMatchObject({ areSeedsComplete: false, hasWitness: true });
  expect(await openNext(ledger, "reseeded")).toBe("incomplete");
  await reseed(ledger, { asker: "other", roster: ["asker"], ageMs: 9_000, count: 15 });
  // Sent again, it replaces itself.
  await reseed(ledger, { asker: "other", roster: ["asker"], ageMs: 9_000, count: 15 });
  expect(await observe(ledger)).toMatchObject({ areSeedsComplete: true, hasWitness: true });
  expect(await openNext(ledger, "reseeded")).toBe("opened");
  const known = epoch(0, 2, "epoch-2");
  const ask = async (): Promise<number | undefined> => {
    const asked = [...encodeLane(lane(), 50), "0"];
    const reply = parseAskReply(await ledger.call("ask", ["0", "1", ...asked], { known }));
    return reply.lanes?.[0]?.granted;
  };
  expect(await ask()).toBe(5);
  await ledger.at(20_000 + 1_302);
  expect(await ask()).toBe(15);
});

test("I1: a survivor that was silent for long is no witness of who else asked", () => {
  const witness = createLedgerWitness();
  witness.learnTerms({
    useWithinMs: 500,
    spanMs: 61_500,
    clockToleranceMs: 250,
    spacingMs: 10,
    askAgainMs: 1_000,
    ...settling,
  });
  witness.attempt(0);
  witness.follow(headerAt(0), ["a"]);
  witness.attempt(1_500);
  expect(witness.known.isWitness).toBe(true);
  witness.attempt(3_600);
  expect(witness.known.isWitness).toBe(false);
});

const settling = { isSomeoneSettling: false, settleMs: 2_000 };

const headerAt = (nowMs: number) =>
  ({
    status: "open",
    reason: "",
    epochNumber: 1,
    epoch: "e",
    sequence: 4,
    nowMs,
    hasSeed: false,
    format: "1",
  }) as const;

test("I1: between two replies the ledger's clock must have moved as the asker's did", () => {
  for (const [movedMs, isBelieved] of [
    [1_000, true],
    [1_250, true],
    [1_260, false],
    [730, false],
    [91_000, false],
    [-1_000, false],
  ] as const) {
    const witness = createLedgerWitness();
    witness.learnTerms({
      useWithinMs: 500,
      spanMs: 61_500,
      clockToleranceMs: 250,
      spacingMs: 10,
      askAgainMs: 1_000,
      ...settling,
    });
    witness.compareClocks({ header: headerAt(50_000), askedAtMs: 10, answeredAtMs: 12 });
    const later = { header: headerAt(50_000 + movedMs), askedAtMs: 1_010, answeredAtMs: 1_012 };
    expect({ movedMs, isBelieved: witness.compareClocks(later) }).toEqual({ movedMs, isBelieved });
  }
});

async function reseed(
  ledger: ScriptedLedger,
  seed: {
    readonly asker: string;
    readonly roster: readonly string[];
    readonly ageMs: number;
    readonly count: number;
  },
): Promise<void> {
  const { asker, roster, ageMs, count } = seed;
  const args = ["1", String(roster.length), ...roster, "1", String(ageMs)];
  await ledger.call("reseed", [...args, ...encodeLane(lane(), count)], { asker, known: epoch(9) });
}

const observe = async (ledger: ScriptedLedger) =>
  parseObserveReply(
    await ledger.call("observe", ["1"], { asker: "opener", known: epoch(0, 0, "") }),
  );

async function openNext(ledger: ScriptedLedger, mode = "waited"): Promise<string> {
  const reply = await ledger.open(mode, { number: 2, epoch: "epoch-2", after: 1 });
  return parsePlainReply(reply).outcome;
}
