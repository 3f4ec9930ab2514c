import type { CalendarReader } from "../../../src/core/calendar-reads.ts";
import { createBounds, type Scenario } from "../scenario.ts";
import { openApiWorld } from "./api-world.ts";
import { fuzzRoutes } from "./fuzz-routes.ts";
import { tryRoutes } from "./try-routes.ts";

/**
 * Every route of the API's table × every other tenant's id in every field that names something, with every kind of
 * token; then requests between well formed and nonsense for each of them and for Google's notifications.
 *
 * routes, tried, leaks: see `tryRoutes`. controlLeaks: the same on a server whose reads ignore whose a calendar is.
 * fuzzedRoutes, runs, accepted, refused, failures: see `fuzzRoutes`.
 */
export const runIsolation: Scenario = async ({ short, seed, foreign, say }) => {
  if (foreign !== undefined) throw new Error("isolation asks Ballast alone");
  const bounds = createBounds();
  const world = await openApiWorld();
  try {
    const { routes, tried, leaks } = await tryRoutes(world);
    for (const leak of leaks) say(`leak: ${leak}`);
    say(`${String(tried)} requests about other tenants on ${String(routes)} routes`);
    const controlLeaks = await tryLeaky();
    say(`${String(controlLeaks)} leaks found where reads ignore whose a calendar is`);
    const runs = short ? 500 : 20_000;
    const fuzzed = await fuzzRoutes(world, { runs, seed, say });
    bounds.atLeast("routes", routes, 14);
    bounds.atLeast("tried", tried, routes * 16);
    bounds.atMost("leaks", leaks.length, 0);
    bounds.atLeast("controlLeaks", controlLeaks, 1);
    bounds.atLeast("fuzzedRoutes", fuzzed.routes, routes + 1);
    bounds.atLeast("runs", fuzzed.runs, fuzzed.routes * runs);
    bounds.atLeast("accepted", fuzzed.accepted, fuzzed.runs / 20);
    bounds.atLeast("refused", fuzzed.refused, fuzzed.runs / 20);
    bounds.atMost("failures", fuzzed.failures.length, 0);
    return {
      figures: {
        seed,
        routes,
        tried,
        leaks: leaks.length,
        controlLeaks,
        fuzzedRoutes: fuzzed.routes,
        runs: fuzzed.runs,
        accepted: fuzzed.accepted,
        refused: fuzzed.refused,
        failures: fuzzed.failures.length,
      },
      missed: bounds.missed,
    };
  } finally {
    await world.close();
  }
};

/** What the trying is worth: reads that forget to ask whose a calendar is have to be noticed. */
async function tryLeaky(): Promise<number> {
  const world = await openApiWorld({ wrapReader: forgetful });
  try {
    return (await tryRoutes(world)).leaks.length;
  } finally {
    await world.close();
  }
}

function forgetful(reader: CalendarReader): CalendarReader {
  return {
    readBusy: (question, signal) => reader.readBusy({ ...question, tenantId: undefined }, signal),
    readEvents: (question, signal) =>
      reader.readEvents({ ...question, tenantId: undefined }, signal),
  };
}
