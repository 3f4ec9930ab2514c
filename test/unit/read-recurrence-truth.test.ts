import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import type { GoogleEvent } from "../../src/core/google-event.ts";
import {
  compareCases,
  generateCase,
  readerSays,
  simulatorSays,
  type Difference,
  type TruthCase,
} from "../support/recurrence-truth.ts";

vi.setConfig({ testTimeout: 300_000 });

const SHARED = join(import.meta.dirname, "../../../shared/data/public-calendars.json");

function describe(differences: readonly Difference[]): readonly string[] {
  return differences.map(
    (one) =>
      `${one.case.name}\n reader: ${one.reader.join(", ")}\n simulator: ${one.simulator.join(", ")}`,
  );
}

// `npm run truth:recurrence` compares 1,000 and more.
test("generated series with exceptions across clock changes take place when another library says", async () => {
  const cases = Array.from({ length: 150 }, (_, n) => generateCase(20_000 + n));
  const result = await compareCases(cases);
  expect(describe(result.differences)).toEqual([]);
  expect(result.compared).toBe(150);
  // The comparison is of something.
  expect(result.instances).toBeGreaterThan(500);
  expect(result.exceptions).toBeGreaterThan(100);
});

test("the comparison would notice a single occurrence that is missing", async () => {
  const found = Array.from({ length: 50 }, (_, n) => generateCase(n)).find(
    (one) => one.events.length === 1 && simulatorSays(one).length > 5,
  );
  if (found === undefined) throw new Error("no such case");
  const [master] = found.events;
  const [, start = ""] = simulatorSays(found)[2]?.split(" ") ?? [];
  const stamp = start.replaceAll(/[-:]|\.000/g, "");
  const recurrence = [...(master?.recurrence ?? []), `EXDATE:${stamp}`];
  const without = { ...found, events: [{ ...master, recurrence } as GoogleEvent] };
  expect(await readerSays(without)).toEqual(simulatorSays(without));
  expect(await readerSays(without)).not.toEqual(simulatorSays(found));
});

interface PublicCalendar {
  readonly id: string;
  readonly timeZone: string;
  readonly events: readonly Omit<GoogleEvent, "id">[];
}

// The data lies beside the repository, where it is at all.
const isHere = existsSync(SHARED);

test(`public calendars take place when another library says (${isHere ? "compared" : "NOT HERE: nothing compared"})`, async () => {
  const calendars = isHere
    ? (JSON.parse(readFileSync(SHARED, "utf8")) as readonly PublicCalendar[])
    : [];
  const cases = calendars.flatMap((calendar) =>
    [2015, 2019, 2024, 2026].map((year): TruthCase => ({
      name: `${calendar.id} ${year}`,
      timeZone: calendar.timeZone,
      events: calendar.events.map((event, n) => ({ ...event, id: `event${n}` })),
      fromMs: Date.UTC(year, 0, 1, 3),
      toMs: Date.UTC(year + 1, 1, 1, 7),
    })),
  );
  const result = await compareCases(cases);
  expect(describe(result.differences)).toEqual([]);
  expect(result.instances).toBeGreaterThanOrEqual(isHere ? 3_000 : 0);
});
