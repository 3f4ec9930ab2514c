import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { epochMs } from "../../src/core/clock.ts";
import type { GoogleEvent } from "../../src/core/google-event.ts";
import { createCalendarReader } from "../../src/read/calendar-reader.ts";
import { createSimulator } from "../../src/simulator/simulator.ts";
import { currentVersion } from "../../src/simulator/world.ts";
import { openTestStore } from "../conformance/store-fixture.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const DAY_MS = 86_400_000;

test("busy times of a mirror are what freebusy.query says of the calendars it mirrors", async () => {
  const simulator = await createSimulator({
    seed: "freebusy",
    generate: { accounts: 2, calendars: 4, events: 80 },
  });
  onTestFinished(() => simulator.close());
  const store = await openTestStore(`sqlite:${join(await temporaryDirectory(), "db")}`);
  const reader = createCalendarReader({ events: store.events, clock: store.clock });
  let compared = 0;
  for (const account of simulator.accounts()) {
    const grant = await fetch(simulator.tokenUrl, {
      method: "POST",
      body: new URLSearchParams({
        grant_type: "refresh_token",
        client_id: "test",
        refresh_token: account.refreshToken,
      }),
    });
    const { access_token: token } = (await grant.json()) as { access_token: string };
    const listed = account.list.items.map(({ calendarId }) => calendarId);
    const { calendars } = await store.connect(account.email, account.email, listed);
    for (const [at, googleId] of listed.entries()) {
      const theirs = simulator.world.calendars.get(googleId);
      const id = calendars[at];
      if (theirs === undefined || id === undefined) throw new Error(googleId);
      const items = theirs.events.items.map((one) => currentVersion(one).resource);
      await store.refresh(id, {
        items: items as readonly object[] as readonly GoogleEvent[],
        timeZone: theirs.timeZone,
      });
      for (const days of [1, 7, 40]) {
        // Their answer knows no fractions of a second.
        const from = Math.floor(Date.now() / 60_000) * 60_000 - 10 * DAY_MS;
        const to = from + days * DAY_MS;
        const answer = await fetch(`${simulator.url}calendar/v3/freeBusy`, {
          method: "POST",
          headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
          body: JSON.stringify({
            timeMin: new Date(from).toISOString(),
            timeMax: new Date(to).toISOString(),
            items: [{ id: googleId }],
          }),
        });
        const said = (await answer.json()) as {
          calendars: Record<string, { busy: readonly { start: string; end: string }[] }>;
        };
        const ours = await reader.readBusy(
          { calendarIds: [id], from: epochMs(from), to: epochMs(to), tentative: "busy" },
          new AbortController().signal,
        );
        expect(ours.unknown).toEqual([]);
        expect(ours.busy).toEqual(
          said.calendars[googleId]?.busy.map(({ start, end }) => ({
            from: Date.parse(start),
            to: Date.parse(end),
          })),
        );
        compared += ours.busy.length;
      }
    }
  }
  expect(compared).toBeGreaterThan(200);
});
