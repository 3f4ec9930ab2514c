import { expect, test } from "vitest";
import { createVersionHistory, type VersionHistory } from "../scenarios/mirror/version-history.ts";

const event = (id: string, etag: string): { id: string; etag: string } => ({ id, etag });

/** `a` written at 10–20, changed at 30–40; `b` written at 10–20, removed at 50–60. */
function twoEvents(): VersionHistory {
  const history = createVersionHistory();
  history.wrote(event("a", "a1"), { sentAt: 10, answeredAt: 20 });
  history.wrote(event("b", "b1"), { sentAt: 10, answeredAt: 20 });
  history.wrote(event("a", "a2"), { sentAt: 30, answeredAt: 40 });
  history.removed("b", { sentAt: 50, answeredAt: 60 });
  return history;
}

test("a copy of what was current is right", () => {
  const copy = [event("a", "a1"), event("b", "b1")];
  expect(twoEvents().judge(copy, { from: 21, to: 25 })).toEqual({ isEmpty: false, problems: [] });
});

test("while a write is on its way, either version is right", () => {
  for (const etag of ["a1", "a2"]) {
    const copy = [event("a", etag), event("b", "b1")];
    expect(twoEvents().judge(copy, { from: 33, to: 35 }).problems).toEqual([]);
  }
});

test("a version that was superseded before the sync began is wrong", () => {
  const copy = [event("a", "a1"), event("b", "b1")];
  expect(twoEvents().judge(copy, { from: 41, to: 45 }).problems).toEqual(["holds a at a1"]);
});

test("a version from the future is wrong", () => {
  const copy = [event("a", "a2"), event("b", "b1")];
  expect(twoEvents().judge(copy, { from: 21, to: 25 }).problems).toEqual(["holds a at a2"]);
});

test("an event that existed throughout must be held", () => {
  expect(twoEvents().judge([event("a", "a2")], { from: 41, to: 45 }).problems).toEqual(["lacks b"]);
});

test("an event whose removal is on its way may be held or not", () => {
  expect(twoEvents().judge([event("a", "a2")], { from: 45, to: 55 }).problems).toEqual([]);
  const copy = [event("a", "a2"), event("b", "b1")];
  expect(twoEvents().judge(copy, { from: 45, to: 55 }).problems).toEqual([]);
});

test("an event removed before the sync began must not be held", () => {
  const copy = [event("a", "a2"), event("b", "b1")];
  expect(twoEvents().judge(copy, { from: 61, to: 65 }).problems).toEqual(["holds b at b1"]);
});

test("nothing read where something existed is an empty read", () => {
  expect(twoEvents().judge([], { from: 41, to: 45 }).isEmpty).toBe(true);
});
