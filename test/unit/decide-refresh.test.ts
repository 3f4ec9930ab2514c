import { expect, test } from "vitest";
import { epochMs } from "../../src/core/clock.ts";
import { decideRefresh } from "../../src/sync/decide-refresh.ts";
import { refreshState, twoPagesStored } from "../support/refresh-states.ts";

const query = { fingerprint: "query-a", now: epochMs(9_000) };

test("a sync token of the same query makes the refresh incremental", () => {
  expect(decideRefresh(refreshState(), query)).toEqual({
    kind: "incremental",
    syncToken: "sync-3",
    pageToken: undefined,
    startedAt: 9_000,
    pagesStored: 0,
  });
});

test("without a sync token the calendar is read in full", () => {
  expect(decideRefresh(refreshState({ syncToken: undefined }), query).kind).toBe("full");
});

test("a sync token of another query is not sent", () => {
  const plan = decideRefresh(refreshState({ queryFingerprint: "query-b" }), query);
  expect(plan).toMatchObject({ kind: "full", syncToken: undefined });
});

test("a full read that was asked for is made although the token holds", () => {
  expect(decideRefresh(refreshState({ requestedMode: "full" }), query)).toMatchObject({
    kind: "full",
    syncToken: undefined,
  });
});

test("an unfinished listing goes on from its next page and keeps its start", () => {
  expect(decideRefresh(refreshState({ unfinished: twoPagesStored }), query)).toEqual({
    kind: "full",
    syncToken: undefined,
    pageToken: "page-3",
    startedAt: 1_000,
    pagesStored: 2,
  });
});

test("an unfinished delta is continued with the sync token that it was begun with", () => {
  const unfinished = { ...twoPagesStored, kind: "incremental" } as const;
  expect(decideRefresh(refreshState({ unfinished }), query)).toMatchObject({
    kind: "incremental",
    syncToken: "sync-3",
    pageToken: "page-3",
  });
});

test("a page token of another query is not sent: the listing begins anew", () => {
  const unfinished = { ...twoPagesStored, fingerprint: "query-b" };
  expect(decideRefresh(refreshState({ unfinished }), query)).toMatchObject({
    kind: "incremental",
    pageToken: undefined,
    startedAt: 9_000,
  });
});
