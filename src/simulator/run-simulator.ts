import { readFile } from "node:fs/promises";
import { systemClock } from "../core/clock.ts";
import type { SimulatorOptions } from "./assemble-simulator.ts";
import type { FaultScript } from "./fault-script.ts";
import type { QuotaLimits } from "./quota.ts";
import type { SeedCalendars } from "./seed-world.ts";
import { createSimulator } from "./simulator.ts";
import type { Simulator } from "./simulator.ts";

/** What `ballast simulate` (and `ballast start` without Google credentials) can choose. */
export interface RunSimulatorOptions {
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  /** Calendars to start with (the shape of a seed file); made-up ones otherwise. */
  readonly seedFile?: string | undefined;
  readonly seed?: string | number | undefined;
  readonly accounts?: number | undefined;
  /** Per account. */
  readonly calendars?: number | undefined;
  /** Per calendar. */
  readonly events?: number | undefined;
  /** Carry on from this file; written every 10 s when something changed, and at the end. */
  readonly stateFile?: string | undefined;
  readonly limits?: Partial<QuotaLimits> | undefined;
  /** Path of a fault script. */
  readonly faultScript?: string | undefined;
  /** Random changes while it runs. */
  readonly changesPerSecond?: number | undefined;
  /** Keep every version for the oracle. Memory grows with every change; default false. */
  readonly keepsHistory?: boolean | undefined;
}

const SAVE_EVERY_MS = 10_000;

/** Start a simulator as a program runs it: from files, saved now and then. `close` saves a last time. */
export async function runSimulator(options: RunSimulatorOptions): Promise<Simulator> {
  const simulator = await createSimulator(await readOptions(options));
  if (options.changesPerSecond !== undefined && options.changesPerSecond > 0) {
    simulator.changes.start(options.changesPerSecond);
  }
  const stopping = new AbortController();
  const saving =
    options.stateFile === undefined
      ? Promise.resolve()
      : saveNowAndThen(simulator, stopping.signal);
  return {
    ...simulator,
    async close() {
      stopping.abort();
      await saving;
      await simulator.close();
    },
  };
}

async function readOptions(options: RunSimulatorOptions): Promise<SimulatorOptions> {
  const { host, port, seed, stateFile, limits } = options;
  const accounts = options.accounts ?? 3;
  const seeded =
    options.seedFile === undefined
      ? { generate: { accounts, calendars: options.calendars ?? 4, events: options.events ?? 40 } }
      : { calendars: { accounts, calendars: await readJson<SeedCalendars>(options.seedFile) } };
  const faults =
    options.faultScript === undefined
      ? {}
      : { faults: await readJson<FaultScript>(options.faultScript) };
  return {
    ...seeded,
    ...faults,
    ...(host === undefined ? {} : { host }),
    ...(port === undefined ? {} : { port }),
    ...(seed === undefined ? {} : { seed }),
    ...(stateFile === undefined ? {} : { stateFile }),
    ...(limits === undefined ? {} : { limits }),
    keepsHistory: options.keepsHistory ?? false,
  };
}

async function readJson<T>(path: string): Promise<T> {
  const text = await readFile(path, "utf8");
  try {
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- checked by whoever takes it: seeds and faults are parsed with zod
    return JSON.parse(text) as T;
  } catch (error) {
    throw new Error(`${path} is not JSON`, { cause: error });
  }
}

async function saveNowAndThen(simulator: Simulator, signal: AbortSignal): Promise<void> {
  let saved = -1;
  let isStopped = false;
  while (!isStopped) {
    const state = stateNumber(simulator);
    // A disk that is full now may not be later; the last save, in `close`, says so if it still is.
    if (state !== saved) {
      saved = await simulator.save().then(
        () => state,
        () => saved,
      );
    }
    isStopped = await systemClock.sleep(SAVE_EVERY_MS, signal).then(
      () => false,
      () => true,
    );
  }
}

/** A number that is another one after anything worth saving has changed. */
function stateNumber({ world, channels }: Simulator): number {
  const calendars = world.calendars
    .values()
    .reduce((sum, calendar) => sum + calendar.events.revision() + calendar.tokenEpoch, 0);
  const accounts = world.accounts
    .values()
    .reduce((sum, account) => sum + account.list.revision() + account.listTokenEpoch, 0);
  return calendars + accounts + channels.all.size + world.refreshTokens.size;
}
