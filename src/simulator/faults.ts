import { faultScript } from "./fault-script.ts";
import type { FaultAnswer, FaultRule, FaultScript, Latency } from "./fault-script.ts";
import type { Random } from "./random.ts";
import { createSlidingWindow } from "./sliding-window.ts";
import type { SlidingWindow } from "./sliding-window.ts";

/** What faults are matched against. */
export interface FaultTarget {
  readonly operation: string;
  readonly account: string;
  readonly calendar: string;
  readonly project: string;
  readonly quotaUser: string;
  readonly atMs: number;
  /** Only such a request can find its sync token dead. */
  readonly hasSyncToken: boolean;
}

/** What the faults make of one request. */
export interface FaultPlan {
  readonly delayMs: number;
  /** Undefined: answer as if nothing were wrong. */
  readonly answer: FaultAnswer | undefined;
}

/** The fault rules in force. */
export interface Faults {
  plan(target: FaultTarget): FaultPlan;
  /** Replace all rules; their clocks start now. Throws a readable error for a bad script. */
  install(script: unknown): void;
  /** The script in force, and how often each rule struck. */
  report(): readonly { readonly rule: FaultRule; readonly struck: number }[];
}

const NOTHING: FaultPlan = { delayMs: 0, answer: undefined };

interface ActiveRule {
  readonly rule: FaultRule;
  readonly random: Random;
  readonly matchesOperation: (operation: string) => boolean;
  readonly windows: Map<string, SlidingWindow>;
  struck: number;
}

/**
 * Create the faults, with a script or without.
 *
 * State: the rules, when they were installed, how often each struck, and the windows of hidden limits. Each rule draws from
 * a random stream of its own, so that adding one does not change what another does.
 */
export function createFaults(
  options: { readonly script: FaultScript | undefined },
  deps: { readonly random: Random; readonly nowMs: () => number },
): Faults {
  let rules: ActiveRule[] = [];
  let installedAtMs = 0;
  const install = (script: unknown): void => {
    const parsed = faultScript.parse(script);
    installedAtMs = deps.nowMs();
    rules = parsed.faults.map((rule, index) => ({
      rule,
      random: deps.random.fork(`${index}`),
      matchesOperation: operationMatcher(rule.match.operation),
      windows: new Map(),
      struck: 0,
    }));
  };
  install(options.script ?? { faults: [] });

  return {
    install,
    plan(target) {
      if (rules.length === 0) return NOTHING;
      let delayMs = 0;
      for (const active of rules) {
        if (!strikes(active, target, target.atMs - installedAtMs)) continue;
        active.struck += 1;
        const { answer } = active.rule;
        if (answer.kind !== "latency") return { delayMs, answer };
        delayMs += drawLatency(answer.latency, active.random);
      }
      return { delayMs, answer: undefined };
    },
    report: () => rules.map(({ rule, struck }) => ({ rule, struck })),
  };
}

function strikes(active: ActiveRule, target: FaultTarget, elapsedMs: number): boolean {
  const { match, answer } = active.rule;
  if (match.times !== undefined && active.struck >= match.times) return false;
  if (!active.matchesOperation(target.operation) || !isMeant(match, target)) return false;
  if (!isInTime(match, elapsedMs) || !concerns(answer, target)) return false;
  if (match.probability !== undefined && !active.random.chance(match.probability)) return false;
  return answer.kind !== "limit" || isOverHiddenLimit(active, answer, target);
}

function isMeant({ account, calendar }: FaultRule["match"], target: FaultTarget): boolean {
  return (
    (account === undefined || account === target.account) &&
    (calendar === undefined || calendar === target.calendar)
  );
}

/** Faults of listings strike only where they can be seen, so that `times` counts what happened. */
function concerns(answer: FaultAnswer, target: FaultTarget): boolean {
  if (answer.kind === "token-death") return target.hasSyncToken;
  return answer.kind !== "empty-page" || target.operation === "events.list";
}

function isInTime(match: FaultRule["match"], elapsedMs: number): boolean {
  const at = match.everyMs === undefined ? elapsedMs : elapsedMs % match.everyMs;
  return at >= (match.fromMs ?? 0) && at < (match.toMs ?? Infinity);
}

function isOverHiddenLimit(
  active: ActiveRule,
  limit: Extract<FaultAnswer, { kind: "limit" }>,
  target: FaultTarget,
): boolean {
  const key = limit.scope === "project" ? target.project : `${target.project}\n${target.quotaUser}`;
  let window = active.windows.get(key);
  if (!window) {
    window = createSlidingWindow(limit.windowSeconds * 1000);
    active.windows.set(key, window);
  }
  window.add(target.atMs, 1);
  return window.total(target.atMs) > limit.perWindow;
}

function operationMatcher(wanted: string | string[] | undefined): (operation: string) => boolean {
  if (wanted === undefined) {
    // Deliveries are not requests: only a rule that names them means them.
    return (operation) => operation !== "push.deliver";
  }
  const patterns = typeof wanted === "string" ? [wanted] : wanted;
  return (operation) =>
    patterns.some((pattern) =>
      pattern.endsWith("*") ? operation.startsWith(pattern.slice(0, -1)) : operation === pattern,
    );
}

function drawLatency(latency: Latency, random: Random): number {
  switch (latency.distribution) {
    case "fixed":
      return latency.ms;
    case "uniform":
      return latency.minMs + random.next() * Math.max(0, latency.maxMs - latency.minMs);
    case "exponential":
      return Math.min(latency.maxMs ?? Infinity, -latency.meanMs * Math.log(1 - random.next()));
    case "lognormal": {
      const normal =
        Math.sqrt(-2 * Math.log(1 - random.next())) * Math.cos(2 * Math.PI * random.next());
      return Math.min(
        latency.maxMs ?? Infinity,
        latency.medianMs * Math.exp(latency.sigma * normal),
      );
    }
  }
}
