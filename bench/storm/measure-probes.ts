import CircuitBreaker from "opossum";
import type { Permit } from "../../src/quota/permit.ts";
import type { BenchOptions, NumberRow } from "../number-row.ts";
import { openGuardWorld, pause } from "./guard-world.ts";

const PROCESSES = 4;
const RESET_MS = 800;

/** Number 14: how many requests test an upstream that is down, each time the breaker may close again. */
export async function measureProbes(options: BenchOptions): Promise<readonly NumberRow[]> {
  const probes = new Map<Permit, number>();
  const state = { isOpened: false };
  const world = await openGuardWorld(
    {
      guards: PROCESSES,
      settings: {
        projectPerMinute: 5_000,
        userPerMinute: 5_000,
        breakerFirstMs: RESET_MS,
        breakerMaxMs: RESET_MS,
      },
      guardOptions: { retry: { maxAttempts: 1 }, passage: { maxBackgroundWaitMs: 20 } },
    },
    {
      answer: () => ({ status: 503, body: "" }),
      wrapBroker: (broker) => ({
        ...broker,
        openBreaker: async (projectId, upstream) => {
          await broker.openBreaker(projectId, upstream);
          state.isOpened = true;
        },
        acquire: async (ask) => {
          const permit = await broker.acquire(ask);
          if (permit.isProbe) probes.set(permit, performance.now());
          return permit;
        },
        report: (permit, outcome, reason) => {
          // One that could not be written in time tested nothing.
          if (outcome.kind === "unused") probes.delete(permit);
          broker.report(permit, outcome, reason);
        },
      }),
    },
  );
  try {
    const all = (): Promise<readonly boolean[]> =>
      Promise.all(
        Array.from({ length: PROCESSES }, (_, guard) => world.call("acme", "push", guard)),
      );
    const giveUpMs = performance.now() + 20_000;
    while (!state.isOpened && performance.now() < giveUpMs) await all();
    await pause(100);
    const before = world.server.arrivals.length;
    const probesBefore = probes.size;
    const endsMs = performance.now() + (options.isShort ? 3_000 : 8_000);
    while (performance.now() < endsMs) {
      await all();
      await pause(5);
    }
    const requests = world.server.arrivals.length - before;
    const told = [...probes.values()].slice(probesBefore);
    // Two of one reset are closer than a reset's wait.
    const extra = told.filter((at, index) => at - (told[index - 1] ?? 0) < RESET_MS).length;
    const control = await probesOfLocalBreakers();
    const base = {
      number: "14",
      measure: `probes per reset over ${String(PROCESSES)} processes`,
      goal: "1",
    };
    return [
      {
        ...base,
        stack: "ballast",
        measured: `${String(told.length)} resets, ${String(requests)} requests, ${String(extra)} more than one`,
        figures: { resets: told.length, requests, extra },
        isMet: told.length > 0 && requests === told.length && extra === 0,
      },
      {
        ...base,
        stack: "control: each process' opossum half-opens by itself",
        measured: String(control),
        figures: { probes: control },
        isMet: control >= PROCESSES,
      },
    ];
  } finally {
    await world.close();
  }
}

/** What reaches upstream in one reset when every process asks for itself. */
async function probesOfLocalBreakers(): Promise<number> {
  let reached = 0;
  const fail = (): Promise<never> => {
    reached += 1;
    return Promise.reject(new Error("upstream failed"));
  };
  const breakers = Array.from(
    { length: PROCESSES },
    () =>
      new CircuitBreaker(fail, {
        timeout: false,
        volumeThreshold: 1,
        errorThresholdPercentage: 50,
        resetTimeout: 100,
      }),
  );
  const fireAll = (): Promise<unknown> =>
    Promise.allSettled(breakers.map((breaker) => breaker.fire()));
  while (breakers.some(({ opened }) => !opened)) await fireAll();
  const before = reached;
  await pause(150);
  await fireAll();
  for (const breaker of breakers) breaker.shutdown();
  return reached - before;
}
