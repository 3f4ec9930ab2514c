/**
 * One process of one stack. States: waiting for orders → ready → running (its loads) → settling → told.
 * Parent's messages: the orders, then "go", then "stop".
 */
import { systemClock } from "../../src/core/clock.ts";
import { CREATE_STACK } from "./create-stack.ts";
import type { EndedCall, Stack, StackOrders, StackReport, TenantLoad } from "./orders.ts";

const calls: EndedCall[] = [];
const stopping = new AbortController();
const reasons = new Set<string>();
let unfinished = 0;
let startedMs = 0;

process.once("message", (orders: StackOrders) => {
  run(orders).catch((error: unknown) => {
    process.stderr.write(`${orders.stack}: ${String(error)}\n`);
    process.exitCode = 1;
    process.disconnect();
  });
});

async function run(orders: StackOrders): Promise<void> {
  const stack = await CREATE_STACK[orders.stack](orders);
  const go = nextMessage();
  process.send?.("ready");
  await go;
  startedMs = performance.now();
  const stop = nextMessage().then(() => stopping.abort(new Error("the run is over")));
  await Promise.all(orders.loads.map((load) => bear(load, { orders, stack })));
  await stop;
  const ended = { calls: [...calls], unfinished, reasons: [...reasons].slice(0, 5) };
  await stack.settle?.();
  const report: StackReport = {
    ...ended,
    sentAtEpochMs: stack.sentAtEpochMs ?? [],
    rejected: stack.rejected?.() ?? 0,
    tokenRequests: stack.tokenRequests?.() ?? 0,
  };
  await new Promise((told) => {
    process.send?.(report, told);
  });
  // What is still under way is not waited for: the peers would try again for minutes.
  await Promise.race([stack.close(), systemClock.sleep(2_000, new AbortController().signal)]);
  // oxlint-disable-next-line unicorn/no-process-exit -- the peers' libraries keep connections and timers that nobody can end
  process.exit();
}

function nextMessage(): Promise<void> {
  return new Promise((resolve) => {
    process.once("message", () => resolve());
  });
}

interface Running {
  readonly orders: StackOrders;
  readonly stack: Stack;
}

async function bear(load: TenantLoad, running: Running): Promise<void> {
  const accounts = running.orders.accounts.filter(({ tenant }) => tenant === load.tenant);
  if (accounts.length === 0) throw new Error(`tenant ${load.tenant} has no account`);
  if (!(await pause(load.fromMs))) return;
  let turn = 0;
  const call = async (): Promise<void> => {
    const account = accounts[turn++ % accounts.length];
    if (!account) return;
    const beganMs = performance.now();
    unfinished += 1;
    const isSuccess = await running.stack.perform(account, load.class).then(
      () => true,
      (error: unknown) => {
        reasons.add(error instanceof Error ? error.message : String(error));
        return false;
      },
    );
    unfinished -= 1;
    const endedMs = performance.now();
    calls.push({
      tenant: load.tenant,
      class: load.class,
      endedMs: endedMs - startedMs,
      tookMs: endedMs - beganMs,
      isSuccess,
    });
  };
  const isOver = (): boolean =>
    stopping.signal.aborted || performance.now() - startedMs >= load.toMs;
  if (load.outstanding !== undefined) {
    for (let index = 0; index < load.outstanding; index += 1) keepCalling(call, isOver);
    return;
  }
  const everyMs = 1_000 / (load.perSecond ?? 1);
  for (let index = 0; !isOver(); index += 1) {
    // A call never rejects; the next one does not wait for it.
    begin(call);
    if (!(await pause(load.fromMs + (index + 1) * everyMs))) return;
  }
}

/** False: the run was stopped meanwhile. */
async function pause(untilMs: number): Promise<boolean> {
  const waitMs = untilMs - (performance.now() - startedMs);
  if (waitMs <= 0) return !stopping.signal.aborted;
  return systemClock.sleep(waitMs, stopping.signal).then(
    () => true,
    () => false,
  );
}

function begin(work: () => Promise<void>): void {
  work().catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    process.exitCode = 1;
  });
}

function keepCalling(call: () => Promise<void>, isOver: () => boolean): void {
  begin(async () => {
    while (!isOver()) {
      const beganMs = performance.now();
      await call();
      // A stack that refuses at once must not turn into a busy loop.
      if (performance.now() - beganMs < 1) await pause(performance.now() - startedMs + 5);
    }
  });
}
