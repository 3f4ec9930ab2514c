import type { Selectable } from "kysely";
import { epochMs } from "../core/clock.ts";
import { tenantId } from "../core/ids.ts";
import type { RemovalCounts, RemovalRow } from "../core/removal-store.ts";
import type { RemovalsTable } from "./leaving-tables.ts";
import { fromStoredText, fromStoredTextOrUndefined } from "./stored-text.ts";

/** A row of `removals`. */
export type StoredRemoval = Selectable<RemovalsTable>;

/** What it is about, as people know it. */
export function subjectOf(row: StoredRemoval): string {
  return row.calendar_id ?? row.account_id ?? fromStoredText(row.tenant_id);
}

/** What it has done so far. */
export function countsOf(row: StoredRemoval): RemovalCounts {
  return {
    channelsStopped: row.channels_stopped,
    channelsLeft: row.channels_left,
    tokensRevoked: row.tokens_revoked,
    tokensLeft: row.tokens_left,
    erasedRows: row.erased_rows,
  };
}

/** The row as the rest of the service sees it. */
export function toRow(row: StoredRemoval): RemovalRow {
  return {
    id: row.id,
    kind: row.kind,
    subject: subjectOf(row),
    tenantId: tenantId(fromStoredText(row.tenant_id)),
    stage: row.stage,
    isRevoking: row.is_revoking === 1,
    askedAt: epochMs(row.asked_at),
    askedBy: fromStoredText(row.asked_by),
    reason: fromStoredTextOrUndefined(row.reason),
    dueAt: epochMs(row.due_at),
    counts: countsOf(row),
  };
}
