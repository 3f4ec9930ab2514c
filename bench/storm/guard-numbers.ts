/** What is the guard's and the ledger's own, without workers around them. */
import { createRandom } from "../../test/scenarios/scenario.ts";
import type { BenchOptions, NumberRow } from "../number-row.ts";
import { atRate, OK, openGuardWorld, WIDE } from "./guard-world.ts";
import { measureDay } from "./measure-day.ts";
import { measureProbes } from "./measure-probes.ts";
import { measureHiddenLimit } from "./measure-throttling.ts";

/** Numbers 4, 12, 14 and 15, judged by counts and states: they hold beside each other and beside other work. */
export async function runGuardCounts(options: BenchOptions): Promise<readonly NumberRow[]> {
  const measures = [measureFailures, measureHiddenLimit, measureProbes, measureDay];
  return (await Promise.all(measures.map((measure) => measure(options)))).flat();
}

/** One in ten requests fails, in random order: a deck of a hundred with ten bad cards, shuffled again and again. */
async function measureFailures(options: BenchOptions): Promise<readonly NumberRow[]> {
  const rows: NumberRow[] = [];
  for (const maxAttempts of [3, 1]) {
    const random = createRandom(options.seed);
    let deck: boolean[] = [];
    const state = { isFailing: false };
    const draw = (): boolean => {
      if (deck.length === 0) {
        deck = Array.from({ length: 100 }, (_, index) => index < 10)
          .map((isBad) => ({ isBad, order: random() }))
          .toSorted((a, b) => a.order - b.order)
          .map(({ isBad }) => isBad);
      }
      return deck.pop() ?? false;
    };
    const world = await openGuardWorld(
      {
        guards: 1,
        settings: WIDE,
        guardOptions: { retry: { maxAttempts, baseMs: 50, capMs: 200 } },
      },
      { answer: () => (state.isFailing && draw() ? { status: 503, body: "" } : OK) },
    );
    try {
      // A fleet that has run for a while has saved something.
      await atRate({ perSecond: 60, seconds: 2 }, () => world.call("acme", "push"));
      const before = world.server.arrivals.length;
      state.isFailing = true;
      const ended = await atRate({ perSecond: 60, seconds: options.isShort ? 4 : 20 }, () =>
        world.call("acme", "push"),
      );
      const success = ended.filter(Boolean).length / ended.length;
      const perCall = (world.server.arrivals.length - before) / ended.length;
      // A short run ends within a deck: by then all of its bad cards may have been dealt.
      const isGood = success >= 0.99 && perCall <= (options.isShort ? 1.13 : 1.12);
      rows.push({
        number: "4",
        measure: "first-run success at 10 % random failures",
        stack: maxAttempts === 1 ? "control: no retry in place" : "ballast",
        goal: "≥ 99 %, ≤ 1.12 requests per call",
        measured: `${(100 * success).toFixed(1)} %, ${perCall.toFixed(3)} requests per call`,
        figures: { success, perCall, calls: ended.length },
        isMet: maxAttempts === 1 ? success < 0.95 : isGood,
      });
    } finally {
      await world.close();
    }
  }
  return rows;
}
