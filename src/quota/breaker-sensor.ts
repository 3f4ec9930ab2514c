/**
 * Notices that an upstream is failing: one opossum per project and upstream measures the rolling error
 * rate of this process. It only measures. What follows is the ledger's: it stops the fleet, and grants
 * one probe at a time.
 *
 * States, per project and upstream: measuring → tripped (telling the ledger) → told (measures nothing)
 * → measuring again, with an empty window, as soon as the ledger grants an ordinary permit or a probe of
 * ours succeeded. opossum's own half-open state is never reached.
 */
import CircuitBreaker from "opossum";
import type { Permit, PermitBroker } from "./permit.ts";

export interface BreakerSensorOptions {
  /** Fewer requests than this within the window trip nothing. */
  readonly volumeThreshold: number;
  readonly errorThresholdPercentage: number;
  readonly windowMs: number;
}

export interface BreakerSensor {
  /** A request was answered, well or ill, or upstream failed. Refusals of ours are not reported here. */
  observe(permit: Permit, outcome: Observed): void;
  /** An ordinary permit: the ledger's breaker is closed. */
  noteGranted(permit: Permit): void;
  close(): void;
}

/** setTimeout's longest: opossum must not half-open by itself, or every process would send a probe. */
const NEVER_MS = 2 ** 31 - 1;

type Observed = "answered" | "upstream-failed";

/** Its timers do not hold the process; `close` ends them. */
export function createBreakerSensor(
  options: BreakerSensorOptions,
  { broker }: { readonly broker: Pick<PermitBroker, "openBreaker"> },
): BreakerSensor {
  const circuits = new Map<string, Circuit>();

  function circuitOf({ ask }: Permit): Circuit {
    const { projectId } = ask.attribution;
    const key = `${projectId}:${ask.upstream}`;
    const existing = circuits.get(key);
    if (existing) return existing;
    const circuit = createCircuit(options, () => broker.openBreaker(projectId, ask.upstream));
    circuits.set(key, circuit);
    return circuit;
  }

  return {
    observe: (permit, outcome) => {
      const circuit = circuitOf(permit);
      if (!permit.isProbe) circuit.count(outcome);
      // A probe goes around opossum: its one answer decides for all.
      else if (outcome === "answered") circuit.noteClosed();
    },
    noteGranted: (permit) => {
      if (!permit.isProbe) circuitOf(permit).noteClosed();
    },
    close: () => {
      for (const circuit of circuits.values()) circuit.close();
      circuits.clear();
    },
  };
}

interface Circuit {
  count(outcome: Observed): void;
  /** The fleet's breaker is closed. */
  noteClosed(): void;
  close(): void;
}

function createCircuit(options: BreakerSensorOptions, tellLedger: () => Promise<void>): Circuit {
  let state: "measuring" | "tripped" | "told" = "measuring";
  let breaker = createBreaker();

  function createBreaker(): CircuitBreaker<[Observed]> {
    const created = new CircuitBreaker(judge, {
      timeout: false,
      volumeThreshold: options.volumeThreshold,
      errorThresholdPercentage: options.errorThresholdPercentage,
      rollingCountTimeout: options.windowMs,
      rollingPercentilesEnabled: false,
      enableSnapshots: false,
      resetTimeout: NEVER_MS,
    });
    created.on("open", () => {
      if (state !== "measuring") return;
      state = "tripped";
      // The ledger could not be told, so nobody knows: measure again, and trip again.
      tell().catch(measureAgain);
    });
    return created;
  }

  async function tell(): Promise<void> {
    await tellLedger();
    state = "told";
  }

  /** With a new window: the failures that tripped the old one would trip it again at the next one. */
  function measureAgain(): void {
    breaker.shutdown();
    breaker = createBreaker();
    state = "measuring";
  }

  return {
    count: (outcome) => {
      if (state === "measuring") breaker.fire(outcome).catch(ignoreOwnError);
    },
    noteClosed: () => {
      if (state === "told") measureAgain();
    },
    close: () => {
      breaker.shutdown();
    },
  };
}

const FAILED = new Error("Upstream failed");

function judge(outcome: Observed): Promise<void> {
  return outcome === "answered" ? Promise.resolve() : Promise.reject(FAILED);
}

/** `fire` rejects with the failure that it was given to count: nobody's news. */
function ignoreOwnError(error: unknown): void {
  if (error !== FAILED && !CircuitBreaker.isOurError(asError(error))) throw error;
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error("Not an error", { cause: error });
}
