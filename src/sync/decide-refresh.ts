import type { EpochMs } from "../core/clock.ts";
import type { RefreshKind, RefreshState } from "../core/refresh-store.ts";

/** What to ask Google for next, and since when the answer will be current. */
export interface RefreshPlan {
  readonly kind: RefreshKind;
  readonly syncToken: string | undefined;
  readonly pageToken: string | undefined;
  readonly startedAt: EpochMs;
  readonly pagesStored: number;
}

/**
 * Go on with an unfinished listing, else incremental while the sync token holds, else full. A token
 * issued under another query is not sent (Google refuses it or, worse, answers with another view);
 * it is not dropped either: the full read replaces it when it publishes (I5).
 */
export function decideRefresh(
  state: RefreshState,
  query: { readonly fingerprint: string; readonly now: EpochMs },
): RefreshPlan {
  const canUseToken = state.syncToken !== undefined && state.queryFingerprint === query.fingerprint;
  const { unfinished } = state;
  const canContinue =
    unfinished?.nextPageToken !== undefined &&
    unfinished.fingerprint === query.fingerprint &&
    (unfinished.kind === "full" || canUseToken);
  if (canContinue) {
    return {
      kind: unfinished.kind,
      syncToken: unfinished.kind === "incremental" ? state.syncToken : undefined,
      pageToken: unfinished.nextPageToken,
      startedAt: unfinished.startedAt,
      pagesStored: unfinished.pagesStored,
    };
  }
  const isFull = state.requestedMode === "full" || !canUseToken;
  return {
    kind: isFull ? "full" : "incremental",
    syncToken: isFull ? undefined : state.syncToken,
    pageToken: undefined,
    startedAt: query.now,
    pagesStored: 0,
  };
}
