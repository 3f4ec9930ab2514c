import { systemClock } from "../../src/core/clock.ts";
import { createSimulator } from "../../src/simulator/simulator.ts";
import type { BenchOptions, NumberRow } from "../number-row.ts";
import { loseJob } from "./lose-job.ts";
import { openStormWorld } from "./storm-world.ts";

const KILLS = 3;
const HANGS_MS = 4_000;
const SERVED_WITHIN_MS = 60_000;

/** Number 10: one calendar's worker is killed three times while it reads it; the fourth must find all the work. */
export async function measureKilledWorkers(options: BenchOptions): Promise<readonly NumberRow[]> {
  const simulator = await createSimulator({
    seed: options.seed,
    generate: { accounts: 2, calendars: 1, events: 2 },
  });
  const world = await openStormWorld({
    simulator,
    workers: 1,
    windowMs: 60_000,
    limit: 1_000,
    experiment: { isBreakerHeldClosed: false, isEveryTryFirst: false },
  });
  try {
    const [calendar] = world.calendars;
    if (calendar === undefined) throw new Error("There are no calendars");
    await world.ask(calendar, "push");
    let kills = 0;
    for (; kills < KILLS; kills += 1) {
      simulator.faults.install({
        faults: [
          {
            match: { operation: "events.list" },
            answer: { kind: "hang", forMs: HANGS_MS },
          },
        ],
      });
      await until("the calendar to be read", () => strikes(simulator) > 0);
      await world.killWorker();
      options.say(`killed worker ${String(kills + 1)} at its work`);
      if (kills + 1 === KILLS) simulator.faults.install({ faults: [] });
      await world.startWorker();
    }
    const lost = await leftOver(world);
    const control = await loseJob(KILLS);
    return [
      {
        number: "10",
        measure: "work lost when the same calendar's worker is killed 3 times",
        stack: "control: a job in BullMQ alone, default maxStalledCount",
        goal: "0",
        measured: `${control.isLost ? "1" : "0"} lost after ${String(control.kills)} kills at work`,
        figures: { lost: control.isLost ? 1 : 0, kills: control.kills },
        isMet: control.isLost && control.kills > 0,
      },
      {
        number: "10",
        measure: "work lost when the same calendar's worker is killed 3 times",
        stack: "ballast",
        goal: "0",
        measured: `${String(lost)} lost, ${String(kills)} kills at work`,
        figures: { lost, kills },
        isMet: lost === 0 && kills === KILLS,
      },
    ];
  } finally {
    await world.close();
    await simulator.close();
  }
}

function strikes(simulator: { faults: { report(): readonly { struck: number }[] } }): number {
  return simulator.faults.report().reduce((sum, { struck }) => sum + struck, 0);
}

/** Requests that nobody has served when there was time enough. */
async function leftOver({ store }: Awaited<ReturnType<typeof openStormWorld>>): Promise<number> {
  const deadlineMs = performance.now() + SERVED_WITHIN_MS;
  for (;;) {
    const rows = await store.calendars.list({ limit: 1_000 });
    const lost = rows.reduce(
      (sum, { requested, served }) => sum + Math.max(0, requested - served),
      0,
    );
    if (lost === 0 || performance.now() > deadlineMs) return lost;
    await systemClock.sleep(50, new AbortController().signal);
  }
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  const deadlineMs = performance.now() + SERVED_WITHIN_MS;
  while (!isSo()) {
    if (performance.now() > deadlineMs) throw new Error(`Waited in vain for ${what}`);
    await systemClock.sleep(10, new AbortController().signal);
  }
}
