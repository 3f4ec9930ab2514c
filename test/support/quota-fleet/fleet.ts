import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import type { RequestClass } from "../../../src/core/request.ts";

/** What a sender is told when it starts. */
export interface SenderOrders {
  readonly connection: { readonly path: string } | { readonly host: string; readonly port: number };
  readonly port: number;
  readonly tenants: readonly string[];
  readonly class: RequestClass;
  readonly concurrency: number;
  /** Wait up to this between permit and write, as a connect, a TLS handshake or a stall would. */
  readonly sendDelayMs: number;
  /** False: the negative control. */
  readonly isUseByKept: boolean;
  /** The process' wall clock steps by this, to and fro, every two seconds. */
  readonly clockStepMs?: number;
}

/** What a sender did. */
export interface SenderFigures {
  sent: number;
  late: number;
  refused: number;
  evaluations: number;
}

export interface Sender {
  readonly child: ChildProcess;
  /** Stop it in good order. Undefined: it was killed. */
  stop(): Promise<SenderFigures | undefined>;
}

export interface ArrivalServer {
  readonly port: number;
  arrivals(): Promise<{
    readonly arrivals: readonly { readonly atMs: number; readonly from: string }[];
    readonly longestStallMs: number;
    /** Epoch milliseconds at which its time was 0. */
    readonly timeOriginMs: number;
  }>;
  /** So many processes that start at once stall everybody: what is judged begins now. */
  forgetStall(): void;
  stop(): void;
}

/** A message to the arrival server; every other asks it to tell. */
export const FORGET_STALL = "forget-stall";

const here = (name: string): string => new URL(name, import.meta.url).pathname;

/** Start the process that stands for Google. */
export async function startArrivalServer(): Promise<ArrivalServer> {
  const child = fork(here("arrival-server.ts"), { stdio: "inherit" });
  const [{ port }] = (await once(child, "message")) as [{ port: number }];
  return {
    port,
    arrivals: async () => {
      child.send("tell");
      const [told] = (await once(child, "message")) as [
        Awaited<ReturnType<ArrivalServer["arrivals"]>>,
      ];
      return told;
    },
    forgetStall: () => {
      child.send(FORGET_STALL);
    },
    stop: () => {
      child.kill("SIGKILL");
    },
  };
}

/** Start a guarded process that sends as fast as it is permitted. */
export function startSender(orders: SenderOrders): Sender {
  const child = fork(here("sender.ts"), { stdio: "inherit" });
  child.send(orders);
  return {
    child,
    stop: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return undefined;
      child.kill("SIGCONT");
      const figures = once(child, "message") as Promise<[SenderFigures]>;
      const exited = once(child, "exit").then(() => undefined);
      child.send("stop");
      const told = await Promise.race([figures, exited]);
      await exited;
      return told?.[0];
    },
  };
}
