/**
 * Brings into the database who used the budget. What was sent, by every process of every consumer, is counted by
 * the ledger; what this process refused to send is counted here, since the ledger never heard of much of it.
 *
 * States: recording (every few seconds: take the ledger's batch, write it, confirm it; write what was refused;
 * forget what is too old) → closed (once more, then no more). A batch that was written and not confirmed comes
 * again under the same id and is counted once; refusals that were never written are lost with the process.
 */
import { randomUUID } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import type { ProjectId } from "../core/ids.ts";
import { OTHER, type UsageBatch, type UsageFigure, type UsageStore } from "../core/usage-store.ts";
import { collectUsage } from "./collect-usage.ts";
import { createDoze } from "./doze.ts";
import type { Ledger } from "./ledger.ts";
import type { RequestObserver, RequestRecord } from "./request-observer.ts";

const EVERY_MS = 5_000;
const MOST_REFUSALS = 2_000;
/** Periods forgotten in one go; the rest of a backlog goes with the next ones. */
const FORGET_AT_ONCE = 4;

export interface UsageRecorder extends RequestObserver {
  /** Write what is known by now. After the broker, so that its last reports are in. */
  close(): Promise<void>;
}

export interface UsageRecorderDeps {
  readonly ledger: Pick<Ledger, "run">;
  readonly usage: UsageStore;
  readonly clock: Clock;
  /** Redis or the database could not be asked; it is tried again. */
  readonly onTrouble: (error: unknown) => void;
}

/** Start recording, in a process that has the database. */
export function createUsageRecorder(
  options: { readonly projectId: ProjectId; readonly everyMs?: number },
  deps: UsageRecorderDeps,
): UsageRecorder {
  const { usage, clock } = deps;
  const refusals = createRefusals();
  const doze = createDoze(deps);
  const state = { isClosed: false };
  let unwritten: UsageBatch | undefined;

  const writeRefusals = async (): Promise<void> => {
    unwritten ??= refusals.take({ projectId: options.projectId, at: clock.now() });
    if (unwritten === undefined) return;
    await usage.add(unwritten);
    unwritten = undefined;
  };
  const writeLedgers = async (): Promise<void> => {
    const batch = await collectUsage(deps.ledger);
    if (batch === undefined) return;
    await usage.add({
      id: batch.batchId,
      projectId: options.projectId,
      at: clock.now(),
      figures: batch.rows,
    });
    await batch.confirm();
  };
  const forget = async (): Promise<void> => {
    for (let count = 0; count < FORGET_AT_ONCE; count += 1) {
      if (!(await usage.prune(clock.now()))) return;
    }
  };
  const record = async (): Promise<void> => {
    for (const step of [writeLedgers, writeRefusals, forget]) {
      try {
        await step();
      } catch (error) {
        deps.onTrouble(error);
      }
    }
  };
  const run = async (): Promise<void> => {
    while (!state.isClosed) {
      await record();
      await doze.sleep(options.everyMs ?? EVERY_MS);
    }
    await record();
  };
  const running = run();

  return {
    onRequest: (request) => {
      if (request.outcome === "refused") refusals.count(request);
    },
    close: async () => {
      state.isClosed = true;
      doze.wake();
      await running;
    },
  };
}

interface Refusals {
  count(request: RequestRecord): void;
  take(to: Pick<UsageBatch, "projectId" | "at">): UsageBatch | undefined;
}

/** Bounded: what comes when it is full is counted for nobody by name. */
function createRefusals(): Refusals {
  let figures = new Map<string, UsageFigure>();
  return {
    count: ({ attribution, operation, attempt, reason = "" }) => {
      const { tenantId, consumer } = attribution;
      const named = { tenantId, consumer, class: attribution.class, operation, attempt, reason };
      const place =
        figures.size < MOST_REFUSALS || figures.has(keyOf(named))
          ? named
          : { ...named, tenantId: OTHER, consumer: OTHER };
      const requests = (figures.get(keyOf(place))?.requests ?? 0) + 1;
      figures.set(keyOf(place), { ...place, outcome: "refused", requests });
    },
    take: (to) => {
      if (figures.size === 0) return undefined;
      const taken = [...figures.values()];
      figures = new Map();
      return { ...to, id: randomUUID(), figures: taken };
    },
  };
}

function keyOf(figure: Omit<UsageFigure, "outcome" | "requests">): string {
  return JSON.stringify(figure);
}
