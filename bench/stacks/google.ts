import { fork } from "node:child_process";
import { once } from "node:events";
import type { SimulatorOptions } from "../../src/simulator/assemble-simulator.ts";
import type { FaultScript } from "../../src/simulator/fault-script.ts";
import type { QuotaLimits } from "../../src/simulator/quota.ts";
import type { Counters } from "../../src/simulator/request-log.ts";

/** What the simulator's process tells when it listens. */
export interface GoogleReady {
  readonly url: string;
  readonly tokenUrl: string;
  readonly controlUrl: string;
  readonly accounts: readonly {
    readonly email: string;
    readonly sub: string;
    readonly refreshToken: string;
    readonly calendarIds: readonly string[];
  }[];
}

/** A Google of a bench's own. */
export interface Google extends GoogleReady {
  counters(): Promise<Counters & { readonly longestStallMs: number }>;
  resetCounters(): Promise<void>;
  setFaults(script: FaultScript): Promise<void>;
  setLimits(limits: Partial<QuotaLimits>): Promise<void>;
  stop(): void;
}

/** Start a simulator in a process of its own. */
export async function startGoogle(options: SimulatorOptions): Promise<Google> {
  const child = fork(new URL("google-process.ts", import.meta.url).pathname, { stdio: "inherit" });
  child.send(options);
  const [ready] = (await once(child, "message")) as [GoogleReady];
  const control = async (method: string, route: string, body?: unknown): Promise<unknown> => {
    const response = await fetch(`${ready.controlUrl}${route}`, {
      method,
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    const told: unknown = await response.json();
    if (!response.ok) throw new Error(`${route}: ${JSON.stringify(told)}`);
    return told;
  };
  return {
    ...ready,
    counters: async () =>
      (await control("GET", "counters")) as Counters & { readonly longestStallMs: number },
    resetCounters: async () => {
      await control("POST", "counters/reset", {});
    },
    setFaults: async (script) => {
      await control("POST", "faults", script);
    },
    setLimits: async (limits) => {
      await control("POST", "limits", limits);
    },
    stop: () => {
      child.kill("SIGKILL");
    },
  };
}
