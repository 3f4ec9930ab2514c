import { expect, test } from "vitest";
import { createFailedCalls, keyOfCall } from "../../packages/client/src/failed-calls.ts";
import { createManualClock } from "../support/manual-clock.ts";

test("a failed call is a retry when it is made again, until it succeeds or ten minutes are over", async () => {
  const clock = createManualClock();
  const calls = createFailedCalls({ clock });
  expect(calls.earlierAttemptOf("a")).toBe("none");
  calls.noteFailed("a");
  calls.noteFailed("b");
  expect(calls.earlierAttemptOf("a")).toBe("reached-google");
  calls.noteSucceeded("a");
  expect(calls.earlierAttemptOf("a")).toBe("none");
  await clock.advance(10 * 60_000);
  expect(calls.earlierAttemptOf("b")).toBe("reached-google");
  await clock.advance(1);
  expect(calls.earlierAttemptOf("b")).toBe("none");
});

test("it remembers so many and no more, the latest", () => {
  const calls = createFailedCalls({ clock: createManualClock() });
  for (let count = 0; count <= 5_000; count += 1) calls.noteFailed(`call ${count}`);
  expect(calls.earlierAttemptOf("call 0")).toBe("none");
  expect(calls.earlierAttemptOf("call 1")).toBe("reached-google");
  expect(calls.earlierAttemptOf("call 5000")).toBe("reached-google");
});

test("two calls are the same when they ask the same of the same, and tell nothing of it", () => {
  const call = {
    account: "acme/ada",
    method: "POST",
    url: "https://calendar.example.test/calendar/v3/calendars/ada@example/events",
    params: { sendUpdates: "all" },
    body: { summary: "Lunch" },
  };
  const key = keyOfCall(call);
  expect(keyOfCall({ ...call })).toBe(key);
  for (const other of [
    { account: "acme/bob" },
    { method: "PUT" },
    { params: undefined },
    { body: { summary: "Dinner" } },
  ]) {
    expect(keyOfCall({ ...call, ...other })).not.toBe(key);
  }
  expect(key).toMatch(/^[A-Za-z0-9+/]{43}=$/);
});
