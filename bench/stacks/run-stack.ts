import { fork, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { systemClock } from "../../src/core/clock.ts";
import type { RedisProgram } from "../../src/embedded/obtain-redis.ts";
import { startPrivateRedis } from "../../src/embedded/redis-server.ts";
import { openLedger } from "../../test/support/ledger-parts.ts";
import type { StackOrders, StackReport, WorkAccount } from "./orders.ts";

/** A stack's run: the same work for each, spread over processes. */
export interface StackRun {
  readonly program: RedisProgram;
  readonly processes: number;
  readonly orders: Omit<StackOrders, "redis" | "loads">;
  /** Of each process. */
  readonly loadsOf: (process: number) => StackOrders["loads"];
  /** Rows of Ballast's settings. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly runMs: number;
  /** While it runs, at the run's begin. */
  readonly meanwhile?: (children: readonly ChildProcess[]) => Promise<void>;
}

/** Run it and gather what its processes tell. A private Redis each time. */
export async function runStack(run: StackRun): Promise<readonly StackReport[]> {
  const redis = await startPrivateRedis(
    { program: run.program, persistent: false },
    { clock: systemClock },
  );
  const { limit, windowMs, stack } = run.orders;
  const parts =
    stack === "ballast"
      ? await openLedger(
          { path: redis.socketPath },
          {
            openWithinMs: 20_000,
            settings: {
              windowMs,
              projectPerMinute: limit,
              userPerMinute: limit,
              perDay: 100_000_000,
              ...run.settings,
            },
          },
        )
      : undefined;
  const children = Array.from({ length: run.processes }, (_, index) => {
    const child = fork(new URL("stack-process.ts", import.meta.url).pathname, { stdio: "inherit" });
    child.send({ ...run.orders, redis: redis.socketPath, loads: run.loadsOf(index) });
    return child;
  });
  try {
    await Promise.all(children.map((child) => once(child, "message")));
    for (const child of children) child.send("go");
    const over = systemClock.sleep(run.runMs, new AbortController().signal);
    await Promise.all([over, run.meanwhile?.(children)]);
    return await Promise.all(children.map(tellAndEnd));
  } finally {
    for (const child of children) child.kill("SIGKILL");
    await parts?.close();
    await redis.stop();
  }
}

async function tellAndEnd(child: ChildProcess): Promise<StackReport> {
  const told = once(child, "message") as Promise<[StackReport]>;
  child.send("stop");
  const [report] = await told;
  if (child.exitCode === null) await once(child, "exit");
  return report;
}

/** One account a tenant, on its first calendar. */
export function accountsOf(
  google: {
    readonly accounts: readonly {
      readonly sub: string;
      readonly refreshToken: string;
      readonly calendarIds: readonly string[];
    }[];
  },
  tenants: readonly string[],
): readonly WorkAccount[] {
  return tenants.map((tenant, index) => {
    const account = google.accounts[index % google.accounts.length];
    const [calendarId] = account?.calendarIds ?? [];
    if (!account || calendarId === undefined) throw new Error("Too few accounts in the simulator");
    return {
      tenant,
      name: `${tenant}-account`,
      refreshToken: account.refreshToken,
      quotaUser: account.sub,
      calendarId,
    };
  });
}
