import type { RequestClass } from "../core/request.ts";
import type { DiscoveryOutcome } from "./discover-calendars.ts";
import type { RefreshOutcome } from "./refresh-calendar.ts";

/** An outcome as the run record shows it: a word and flat facts. */
export interface OutcomeRecord {
  readonly outcome: string;
  readonly facts: Readonly<Record<string, string | number | boolean | undefined>>;
  /** What was thrown where the outcome came from an error. */
  readonly error?: unknown;
}

export function describeRefresh(
  ids: { readonly calendarId: string; readonly class: RequestClass },
  outcome: RefreshOutcome,
): OutcomeRecord {
  switch (outcome.kind) {
    case "published": {
      const { changes, refresh, generation, pages, requests } = outcome;
      return {
        outcome: "published",
        facts: { ...ids, refresh, generation, pages, requests, ...changes },
      };
    }
    case "postponed": {
      const { code, postponed } = outcome.settlement;
      return {
        outcome: "postponed",
        facts: {
          ...ids,
          code,
          dueReason: postponed.dueReason,
          dueAt: postponed.dueAt,
          state: postponed.state.kind,
          requests: outcome.requests,
        },
        error: outcome.error,
      };
    }
    case "skipped":
      return { outcome: "skipped", facts: { ...ids, reason: outcome.reason } };
    case "fenced-out":
      return { outcome: "fenced-out", facts: { ...ids, requests: outcome.requests } };
  }
}

export function describeDiscovery(
  ids: { readonly accountId: string; readonly class: RequestClass },
  outcome: DiscoveryOutcome,
): OutcomeRecord {
  switch (outcome.kind) {
    case "applied":
      return {
        outcome: "applied",
        facts: { ...ids, ...outcome.changes, requests: outcome.requests },
      };
    case "postponed":
      return {
        outcome: "postponed",
        facts: { ...ids, code: outcome.code, requests: outcome.requests },
        error: outcome.error,
      };
    case "skipped":
      return { outcome: "skipped", facts: { ...ids, reason: outcome.reason } };
    case "fenced-out":
      return { outcome: "fenced-out", facts: { ...ids, requests: outcome.requests } };
  }
}
