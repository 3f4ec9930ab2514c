import type { OutcomeRecord } from "./describe-outcome.ts";
import type { RenewOutcome } from "./renew-channel.ts";

/** What became of a calendar's channel, as the run record shows it. */
export function describeRenewal(
  { calendarId }: { readonly calendarId: string },
  outcome: RenewOutcome,
): OutcomeRecord {
  const { kind, reason } = outcome;
  if (kind === "skipped") return { outcome: kind, facts: { calendarId, reason } };
  const { stopped, code, error } = outcome;
  return { outcome: kind, facts: { calendarId, reason, stopped, code }, error };
}
