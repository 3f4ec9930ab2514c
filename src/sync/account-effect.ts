import { CallFailed } from "../core/failure.ts";
import { FAILURE_POLICY } from "../core/failure-policy.ts";
import type { AccountId } from "../core/ids.ts";

/** What a failure means beyond the calendar that ran into it. */
export type AccountEffect =
  | {
      readonly kind: "needs-reconnect";
      readonly accountId: AccountId;
      /** The failure's code. */
      readonly reason: string;
    }
  /** Not the account's fault: it stays connected, and who runs the service is told. */
  | {
      readonly kind: "project-trouble";
      readonly accountId: AccountId;
      readonly reason: string;
      readonly detail: string;
    };

/** Undefined: it concerns the calendar alone, or nobody. */
export function accountEffectOf(error: unknown, accountId: AccountId): AccountEffect | undefined {
  if (!(error instanceof CallFailed)) return undefined;
  const { code: reason, failure } = error;
  const { owner } = FAILURE_POLICY[failure.kind];
  if (owner.kind === "reconnect") return { kind: "needs-reconnect", accountId, reason };
  return owner.kind === "alarm"
    ? { kind: "project-trouble", accountId, reason, detail: detailOf(error) }
    : undefined;
}

function detailOf({ failure }: CallFailed): string {
  if (failure.kind === "client-misconfigured") return failure.reason;
  if (failure.kind !== "clock-skewed" || failure.skewMs === undefined) return failure.kind;
  const seconds = Math.round(Math.abs(failure.skewMs) / 1_000);
  return `${String(seconds)} s ${failure.skewMs < 0 ? "behind" : "ahead of"} Google's`;
}
