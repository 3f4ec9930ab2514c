import type { CalendarSource } from "../../src/core/calendar-source.ts";
import { CallFailed } from "../../src/core/failure.ts";
import type { Database } from "../../src/store/database.ts";

/**
 * One process's work, cut into steps: every transaction (before it, in it, after its commit) and
 * every request (before it, after its answer).
 *
 * States: running → (held → running)? → ended | dead. A dead process does nothing more: each later
 * step of it fails before it acts, so that what it would have written on its way out is not written.
 */
export type Step = "before-write" | "in-write" | "after-write" | "before-request" | "after-request";

/** What befalls the process at its `at`th step, counted from 1. */
export interface Fate {
  readonly at: number;
  readonly act: "crash" | "hold" | "meddle" | "refuse";
}

export interface Steps {
  /** How it died: undefined while it has not. */
  diedAt(): Step | undefined;
  /** Resolves when the process stands still at its step. */
  readonly held: Promise<undefined>;
  /** Let a held process go on. */
  release(): void;
  wrapDatabase(database: Database): Database;
  wrapSource(source: CalendarSource): CalendarSource;
}

/** Follow one process; `onStep` looks at the world between its steps, `onMeddle` changes it there. */
export function createSteps(
  fate: Fate | undefined,
  deps: {
    readonly onStep: () => Promise<void>;
    readonly onMeddle: () => Promise<void>;
    /** Right before a transaction begins: nobody else writes until it has ended. */
    readonly onWrite: () => Promise<void>;
  },
): Steps {
  const held = Promise.withResolvers<undefined>();
  const released = Promise.withResolvers<undefined>();
  let crossed = 0;
  let diedAt: Step | undefined;
  let isSpent = false;
  /** The next answer of Google's is a bad one. */
  let isRefusing = false;

  const meet = async (step: Step): Promise<void> => {
    if (diedAt !== undefined) throw new Error(`A dead process tried to go on (${step})`);
    crossed += 1;
    if (isSpent || fate === undefined || crossed < fate.at) return;
    // Whoever stood still in a transaction would stop every other writer: it stands still after it.
    if (step === "in-write" && fate.act !== "crash") return;
    isSpent = true;
    if (fate.act === "crash") {
      diedAt = step;
      throw new Error(`Crashed (${step})`);
    }
    if (fate.act === "refuse") {
      isRefusing = true;
      return;
    }
    if (fate.act === "meddle") {
      await deps.onMeddle();
      return;
    }
    held.resolve(undefined);
    await released.promise;
  };
  const answer = async <Answer>(operation: string, ask: () => Promise<Answer>): Promise<Answer> => {
    await cross("before-request");
    const answered = await ask();
    await cross("after-request");
    if (!isRefusing) return answered;
    isRefusing = false;
    throw new CallFailed({ kind: "malformed-response", detail: "a test's" }, { operation });
  };
  const cross = async (step: Step): Promise<void> => {
    if (step !== "in-write") await deps.onStep();
    await meet(step);
  };

  return {
    diedAt: () => diedAt,
    held: held.promise,
    release: () => released.resolve(undefined),
    wrapDatabase: (database) => ({
      ...database,
      async write(run) {
        await cross("before-write");
        await deps.onWrite();
        const written = await database.write(async (trx) => {
          const result = await run(trx);
          await cross("in-write");
          return result;
        });
        await cross("after-write");
        return written;
      },
    }),
    wrapSource: (source) => ({
      ...source,
      listEvents: (...call) => answer("events.list", () => source.listEvents(...call)),
      listCalendars: (...call) => answer("calendarList.list", () => source.listCalendars(...call)),
    }),
  };
}
