import { expect } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import type { AskAnswer, Ledger } from "../../src/quota/ledger.ts";
import type { LaneAnswer } from "../../src/quota/ledger-reply.ts";
import type { LedgerLane } from "../../src/quota/ledger-lane.ts";
import { lane, openLedger } from "../support/ledger-parts.ts";
import { test } from "../support/redis-test.ts";

async function ask(
  ledger: Ledger,
  ...lanes: readonly (readonly [LedgerLane, number])[]
): Promise<readonly LaneAnswer[]> {
  let answer: AskAnswer | undefined;
  for (let attempt = 0; attempt < 100; attempt += 1) {
    try {
      answer = await ledger.ask({
        reports: [],
        lanes: lanes.map(([one, count]) => ({ lane: one, count })),
      });
      if (answer.kind === "decided" && answer.lanes[0]?.refusal?.limit !== "settling") {
        return answer.lanes;
      }
    } catch {
      // The connection comes up.
    }
    await systemClock.sleep(25, AbortSignal.timeout(5_000));
  }
  throw new Error(`No decision: ${JSON.stringify(answer)}`);
}

test("I1: a batch is granted up to the project's limit and told which limit said no", async ({
  redisConnection,
}) => {
  const parts = await openLedger(redisConnection);
  const [first] = await ask(parts.ledger, [lane(), 150]);
  expect(first).toMatchObject({ granted: 100, refusal: { limit: "user-minute" } });
  expect(first?.refusal?.waitMs).toBeGreaterThan(9_000);
  await parts.close();
});
