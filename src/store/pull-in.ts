import { sql, type RawBuilder } from "kysely";
import { FRESHNESS_TARGET_MS } from "../core/calendar-state.ts";
import type { PollKind } from "../core/poll-store.ts";

/** Sets of a statement that bring calendars' next polls forward. */
export interface PulledIn {
  readonly due_at: RawBuilder<number | null>;
  readonly fresh_until: RawBuilder<number | null>;
}

/**
 * Brings the next poll forward, and with it the moment until which the copy counts as fresh. What is due for
 * another reason than its poll stays as it is.
 */
export function pulledIn(to: {
  readonly if: RawBuilder<unknown>;
  readonly pollBy: RawBuilder<unknown>;
}): PulledIn {
  const freshUntil = sql`${to.pollBy} + ${sql.lit(FRESHNESS_TARGET_MS)}`;
  return {
    due_at: sql<number | null>`case when ${to.if} and due_reason = 'poll' and due_at > ${to.pollBy}
      then ${to.pollBy} else due_at end`,
    fresh_until: sql<number | null>`case when ${to.if} and fresh_until > ${freshUntil}
      then ${freshUntil} else fresh_until end`,
  };
}

/** Brings the next poll of a calendar forward that rested on its channel until now. */
export function restsNoMore(
  pollBy: number,
  kind: PollKind,
): PulledIn & { readonly poll_kind: RawBuilder<PollKind> } {
  const rests = sql`poll_kind in ('live', 'unproven')`;
  return {
    // Postgres does not know the type of a bare parameter within a CASE.
    ...pulledIn({ if: rests, pollBy: sql`cast(${pollBy} as bigint)` }),
    poll_kind: sql<PollKind>`case when ${rests} then ${sql.lit(kind)} else poll_kind end`,
  };
}
