import { expect, test } from "vitest";
import { isBusy } from "../../src/read/is-busy.ts";

function answered(responseStatus: string): { readonly attendees: unknown } {
  return {
    attendees: [
      { email: "someone@example.test", responseStatus: "declined" },
      { email: "me@example.test", self: true, responseStatus },
    ],
  };
}

const CASES: readonly [
  what: string,
  fields: object,
  busy: boolean,
  busyWithoutTentative: boolean,
][] = [
  ["a plain event", {}, true, true],
  ["a cancelled one", { status: "cancelled" }, false, false],
  ["a transparent one", { transparency: "transparent" }, false, false],
  ["an opaque one", { transparency: "opaque" }, true, true],
  ["a working location", { eventType: "workingLocation" }, false, false],
  ["a birthday", { eventType: "birthday" }, false, false],
  ["out of office", { eventType: "outOfOffice" }, true, true],
  ["focus time", { eventType: "focusTime" }, true, true],
  ["a type of tomorrow", { eventType: "somethingNew" }, true, true],
  ["declined by oneself", answered("declined"), false, false],
  ["accepted by oneself, declined by another", answered("accepted"), true, true],
  ["tentative by oneself", answered("tentative"), true, false],
  ["not yet answered", answered("needsAction"), true, false],
  ["a tentative event", { status: "tentative" }, true, false],
  ["attendees that are none", { attendees: ["me", null, { self: true }] }, true, true],
];

for (const [what, fields, busy, busyWithoutTentative] of CASES) {
  test(`${what} is ${busy ? "busy" : "free"}, and ${busyWithoutTentative ? "busy" : "free"} where tentative is free`, () => {
    const event = { id: "e", ...fields };
    expect(isBusy(event, "busy")).toBe(busy);
    expect(isBusy(event, "free")).toBe(busyWithoutTentative);
  });
}
