/**
 * The caller of `ledger.lua`: one EVALSHA an operation, NOSCRIPT handled, every reply checked against what this
 * process remembers before anything in it is believed.
 *
 * States, those of the connection (ioredis) aside: closed or not. What the ledger's own state is, each reply says.
 * I1: a grant is passed on only from an open epoch, within its use-by measured from before the ask, and when the
 * ledger's clock moved as ours did. The connection never queues, resends or waits for ever: an ask that ran late
 * on another server would be a grant that nobody accounts for.
 */
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Redis } from "ioredis";
import type { Clock } from "../core/clock.ts";
import type { ProjectId } from "../core/ids.ts";
import { LedgerUnavailable } from "../core/refusal.ts";
import { connectStrictly, createEvaluator } from "./ledger-connection.ts";
import { encodeLane, encodeReport, type LaneReport, type LedgerLane } from "./ledger-lane.ts";
import {
  parseAskReply,
  parseObserveReply,
  parsePlainReply,
  type AskReply,
  type LaneAnswer,
  type LedgerHeader,
  type LedgerTerms,
  type ObserveReply,
} from "./ledger-reply.ts";
import { createLedgerWitness, type LedgerWitness } from "./ledger-witness.ts";
import type { Upstream } from "./permit.ts";
import { ledgerKeys } from "./redis-keys.ts";

const FORMAT = "1";

/** How many permits a lane asks for. */
export interface LaneAsk {
  readonly lane: LedgerLane;
  readonly count: number;
  /** How many more wait behind these; it keeps the tenant's place. */
  readonly more: number;
}

/** The answer to a batch of asks, in their order. */
export type AskAnswer =
  | {
      readonly kind: "decided";
      readonly lanes: readonly LaneAnswer[];
      readonly askedAtMs: number;
      readonly useByMonotonicMs: number;
      readonly terms: LedgerTerms;
    }
  /** The ledger cannot vouch for the budget (or its new epoch has just been learnt): ask again soon. */
  | { readonly kind: "unavailable"; readonly why: string };

/** One project's ledger as this process sees it. */
export interface Ledger {
  readonly projectId: ProjectId;
  readonly asker: string;
  readonly witness: LedgerWitness;
  /** Tell what became of permits, ask for new ones. Throws `LedgerUnavailable` when Redis does not answer. */
  ask(request: {
    readonly reports: readonly LaneReport[];
    readonly lanes: readonly LaneAsk[];
  }): Promise<AskAnswer>;
  /** This process' sensor tripped: open the breaker, unless it is open. */
  openBreaker(upstream: Upstream): Promise<void>;
  /** Look without asking; makes this process one that compares clocks. */
  observe(lastEpochNumber: number): Promise<ObserveReply>;
  /** Run any operation of the script; for the opener and for reading figures. */
  run(operation: string, args: readonly string[]): Promise<unknown>;
  /** Ask no more. `closed`: nobody else asks either, and the epoch was closed. */
  retire(mayClose: boolean): Promise<"left" | "closed">;
  close(): void;
}

export interface LedgerOptions {
  readonly projectId: ProjectId;
  /** The script's text; tests replace its clock. */
  readonly script?: string;
}

/** The text of the script that decides. */
export function readLedgerScript(): string {
  return readFileSync(new URL("ledger.lua", import.meta.url), "utf8");
}

interface Caller {
  readonly projectId: ProjectId;
  readonly witness: LedgerWitness;
  readonly clock: Clock;
  readonly run: Ledger["run"];
}

/** Connect to a project's ledger, on a connection of its own beside `redis`. */
export function createLedger(
  options: LedgerOptions,
  deps: { readonly redis: Redis; readonly clock: Clock },
): Ledger {
  const { projectId } = options;
  const { clock } = deps;
  const asker = randomUUID().slice(0, 13);
  const witness = createLedgerWitness();
  const connection = connectStrictly(deps.redis);
  const evaluate = createEvaluator(connection, options.script ?? readLedgerScript());
  const keys = ledgerKeys(projectId);

  const run = async (operation: string, args: readonly string[]): Promise<unknown> => {
    witness.attempt(clock.monotonicMs());
    const { epochNumber, epoch, sequence, ledgerMs } = witness.known;
    const epochArgs = [String(epochNumber), epoch, String(sequence)];
    const random = String(Math.random());
    const common = [operation, FORMAT, asker, ...epochArgs, random, String(ledgerMs)];
    try {
      return await evaluate([String(keys.length), ...keys, ...common, ...args]);
    } catch (error) {
      throw new LedgerUnavailable({
        message: `The ledger of project ${projectId} did not answer ${operation}: ${error instanceof Error ? error.message : String(error)}. Nothing is sent until it does; check Redis`,
        cause: error,
      });
    }
  };
  const caller: Caller = { projectId, witness, clock, run };

  return {
    projectId,
    asker,
    witness,
    run,
    ask: (request) => ask(caller, request),
    openBreaker: async (upstream) => {
      parsePlainReply(await run("trip", [upstream]));
    },
    observe: async (lastEpochNumber) => {
      const askedAtMs = clock.monotonicMs();
      const reply = parseObserveReply(await run("observe", [String(lastEpochNumber)]));
      if (reply.terms !== undefined) witness.learnTerms(reply.terms);
      const why = await doubt(caller, reply.header, askedAtMs);
      if (why === undefined) witness.follow(reply.header, reply.roster);
      return reply;
    },
    retire: async (mayClose) => {
      const { outcome } = parsePlainReply(await run("retire", [mayClose ? "1" : "0"]));
      return outcome === "closed" ? "closed" : "left";
    },
    close: () => {
      connection.disconnect();
    },
  };
}

async function ask(
  caller: Caller,
  { reports, lanes }: Parameters<Ledger["ask"]>[0],
): Promise<AskAnswer> {
  const told = [String(reports.length), ...reports.flatMap(encodeReport)];
  const asked = lanes.flatMap(({ lane, count, more }) =>
    encodeLane(lane, count).concat(String(more)),
  );
  const askedAtMs = caller.clock.monotonicMs();
  const reply = parseAskReply(await caller.run("ask", [...told, String(lanes.length), ...asked]));
  if (reply.terms !== undefined) caller.witness.learnTerms(reply.terms);
  const why = await doubt(caller, reply.header, askedAtMs);
  if (why !== undefined) return { kind: "unavailable", why };
  return believe(caller, { reply, lanes, askedAtMs });
}

/** Undefined: the reply may be believed. Otherwise why not; and the ledger is told what it must know. */
async function doubt(
  caller: Caller,
  header: LedgerHeader,
  askedAtMs: number,
): Promise<string | undefined> {
  const { projectId, witness, clock, run } = caller;
  if (header.status === "other-format") {
    throw new LedgerUnavailable({
      message: `The ledger of project ${projectId} has format ${header.format}, this build knows ${FORMAT}: run the build that wrote it`,
    });
  }
  const answeredAtMs = clock.monotonicMs();
  if (!witness.compareClocks({ header, askedAtMs, answeredAtMs })) {
    await run("distrust", ["clock-stepped"]);
    return "clock-stepped";
  }
  if (header.status === "stale") {
    witness.adopt(header);
    return "new-epoch";
  }
  if (header.status === "open") return undefined;
  if (!header.hasSeed) await reseed(caller);
  return header.status === "forgotten" ? header.reason : header.status;
}

async function reseed({ witness, clock, run }: Caller): Promise<void> {
  const nowMs = clock.monotonicMs();
  const grants = witness.recentGrants(nowMs);
  const { isWitness, roster } = witness.known;
  const told = grants.flatMap(({ lane, count, answeredAtMs }) => {
    const ageMs = Math.floor(Math.max(0, nowMs - answeredAtMs));
    return [String(ageMs)].concat(encodeLane(lane, count));
  });
  const members = [String(roster.length), ...roster];
  await run("reseed", [isWitness ? "1" : "0", ...members, String(grants.length), ...told]);
}

function believe(
  { witness, clock }: Caller,
  exchange: {
    readonly reply: AskReply;
    readonly lanes: readonly LaneAsk[];
    readonly askedAtMs: number;
  },
): AskAnswer {
  const { reply, lanes, askedAtMs } = exchange;
  const { terms, roster, lanes: answers } = reply;
  if (terms === undefined || roster === undefined || answers === undefined) {
    return { kind: "unavailable", why: reply.header.status };
  }
  witness.follow(reply.header, roster);
  const answeredAtMs = clock.monotonicMs();
  answers.forEach((answer, index) => {
    const asked = lanes[index];
    if (asked !== undefined && answer.granted > 0) {
      witness.keep({ lane: asked.lane, count: answer.granted, answeredAtMs });
    }
  });
  const useByMonotonicMs = askedAtMs + terms.useWithinMs;
  return { kind: "decided", lanes: answers, askedAtMs, useByMonotonicMs, terms };
}
