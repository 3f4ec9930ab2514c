import type { CalendarRow } from "../../src/core/calendar-store.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";
import type { TenantLoad, WorkAccount } from "../stacks/orders.ts";
import type { StormConsumers } from "./consumers.ts";
import type { StormPlan } from "./storm-plan.ts";
import type { StormWorld } from "./storm-world.ts";

/** What there is to do for one calendar, whoever does it. */
export interface StormWork {
  readonly ask: (turn: number) => Promise<void>;
  readonly backfill: () => Promise<void>;
}

/** Who asks for an account's calendars. */
function consumerOf(
  { accounts, hasConsumers }: StormPlan,
  account: number,
): "worker" | "booking" | "atoms" {
  if (hasConsumers !== true || account < 0.6 * accounts) return "worker";
  return account < 0.8 * accounts ? "booking" : "atoms";
}

/** Every calendar of the plan, in turn. */
export function divideWork(
  plan: StormPlan,
  {
    simulator,
    world,
    consumers,
  }: {
    readonly simulator: Simulator;
    readonly world: StormWorld;
    readonly consumers: StormConsumers;
  },
): readonly StormWork[] {
  const rows = new Map<string, CalendarRow>(
    world.calendars.map((row) => [`${row.tenantId}\n${row.googleId}`, row] as const),
  );
  return calendarsInTurn(simulator).map(({ account, calendarId }) => {
    const who = consumerOf(plan, account);
    if (who === "booking") {
      return { ask: () => consumers.book(account, calendarId), backfill: doNothing };
    }
    if (who === "atoms") {
      return { ask: () => consumers.poll(account, calendarId), backfill: doNothing };
    }
    const row = rows.get(`tenant-${String(account)}\n${calendarId}`);
    if (row === undefined) throw new Error(`Calendar ${calendarId} was not discovered`);
    return {
      ask: (turn) =>
        world.ask(row, turn % 4 === 0 ? "interactive" : turn % 4 === 1 ? "poll" : "push"),
      backfill: () => world.ask(row, "backfill"),
    };
  });
}

function doNothing(): Promise<void> {
  return Promise.resolve();
}

/** One calendar after the other at an even rate, whatever became of those before; how many were asked for. */
export async function offer(
  { offeredPerSecond, seconds }: StormPlan,
  work: readonly StormWork[],
): Promise<number> {
  const beganMs = performance.now();
  const asked: Promise<void>[] = [];
  for (let turn = 0; turn < offeredPerSecond * seconds; turn += 1) {
    await until(beganMs + (turn * 1_000) / offeredPerSecond);
    const one = work[turn % work.length];
    if (one === undefined) throw new Error("There is nothing to do");
    // Who failed is seen in what did not succeed at Google; the next one does not wait for it.
    asked.push(one.ask(Math.floor(turn / work.length) + turn).catch(() => undefined));
  }
  return asked.length;
}

/** The workers' calendars are all due at once for a peer as well. */
export function backfillLoads(
  plan: StormPlan,
  accounts: readonly { readonly tenant: string; readonly of: number }[],
): readonly TenantLoad[] {
  return plan.phases
    .filter(({ isBackfill }) => isBackfill === true)
    .flatMap(({ at }) =>
      accounts
        .filter(({ of }) => consumerOf(plan, of) === "worker")
        .map(({ tenant }) => {
          const fromMs = at * 1_000;
          return { tenant, fromMs, toMs: fromMs + 500, perSecond: 1 };
        }),
    );
}

/** Accounts take turns, so that each is asked for in any few seconds. */
function calendarsInTurn(
  simulator: Simulator,
): readonly { readonly account: number; readonly calendarId: string }[] {
  return simulator
    .accounts()
    .flatMap(({ listedById }, account) =>
      [...listedById.keys()].map((calendarId, index) => ({ account, calendarId, index })),
    )
    .toSorted((one, other) => one.index - other.index || one.account - other.account);
}

/** Each calendar is one account of a stack's own, so that all are asked for in turn. */
export function accountsOf(
  simulator: Simulator,
): readonly (WorkAccount & { readonly of: number })[] {
  const accounts = simulator.accounts();
  return calendarsInTurn(simulator).flatMap(({ account: of, calendarId }, index) => {
    const account = accounts[of];
    if (account === undefined) return [];
    const { sub: quotaUser, refreshToken } = account;
    const name = `account-${String(of)}-${String(index)}`;
    return [{ of, tenant: name, name, refreshToken, quotaUser, calendarId }];
  });
}

/** Wait for a moment of the monotonic clock. */
export async function until(momentMs: number): Promise<void> {
  const waitMs = momentMs - performance.now();
  if (waitMs > 0) await systemClock.sleep(waitMs, new AbortController().signal);
}
