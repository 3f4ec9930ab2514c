import { Counter, Gauge, type Registry } from "@prometheus-io/client";
import type { AccountState } from "../core/account-store.ts";
import { METRIC_NAMES } from "./metric-names.ts";

/** What becomes of accounts. */
export interface AccountMetrics {
  /** One account, once, by the code of what Google said. */
  accountDisconnected(code: string): void;
  /** Google refuses many for what is no account's fault: once while it lasts. */
  projectAlarmed(code: string): void;
  /** Access to calendars was lost, confirmed; once each. */
  calendarsLost(how: "refused" | "gone-from-list", count: number): void;
  /** All accounts by state, as last counted in the database. */
  setAccounts(counts: Readonly<Record<AccountState, number>>): void;
}

export function createAccountMetrics(registry: Registry): AccountMetrics {
  const registers = [registry];
  const accounts = new Gauge({
    name: METRIC_NAMES.accounts,
    help: "Accounts by state, as last counted in the database.",
    labelNames: ["state"] as const,
    registers,
  });
  const disconnects = new Counter({
    name: METRIC_NAMES.accountDisconnects,
    help: "Accounts that Google accepts no more, by why.",
    labelNames: ["code"] as const,
    registers,
  });
  const alarms = new Counter({
    name: METRIC_NAMES.projectAlarms,
    help: "Refusals that are no account's fault (a wave, the OAuth client, a clock), once while each lasts.",
    labelNames: ["code"] as const,
    registers,
  });
  const lost = new Counter({
    name: METRIC_NAMES.calendarsLost,
    help: "Calendars lost: refused twice by Google, or gone from their account's list.",
    labelNames: ["how"] as const,
    registers,
  });
  return {
    calendarsLost: (how, count) => {
      lost.inc({ how }, count);
    },
    accountDisconnected: (code) => {
      disconnects.inc({ code });
    },
    projectAlarmed: (code) => {
      alarms.inc({ code });
    },
    setAccounts: (counts) => {
      for (const [state, count] of Object.entries(counts)) accounts.set({ state }, count);
    },
  };
}
