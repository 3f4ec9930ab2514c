import { describe, expect, test } from "vitest";
import type { ImportEntry } from "../../src/core/import-store.ts";
import { accountName, googleCalendarId, projectId, tenantId } from "../../src/core/ids.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { event, listEntry, must, openTestStore, type TestStore } from "./store-fixture.ts";

/** Accounts taken over from another system. */
export function importConformance(freshDatabase: FreshDatabase): void {
  describe("an import", () => {
    test("stores accounts and their calendars, due as backfill; a second run changes nothing", async () => {
      const store = await openTestStore(await freshDatabase());
      const entries = [entry("acme", "ann", ["ann@x.test"]), entry("rival", "bob", [])];
      expect(kinds(await store.imports.judge(entries, { isShadow: false }))).toEqual([
        "new",
        "new",
      ]);
      expect(kinds(await run(store, entries))).toEqual(["new", "new"]);
      const [calendar] = await store.calendars.list({ limit: 10 });
      expect(calendar).toMatchObject({
        googleId: "ann@x.test",
        tenantId: "acme",
        dueClass: "backfill",
        dueReason: "first-sync",
      });
      const claim = { now: store.now(), limit: 10, perTenant: 10, queuedForMs: 1_000 };
      expect(await store.calendars.claimDue(claim)).toMatchObject([
        { calendarId: calendar?.id, class: "backfill" },
      ]);
      const ann = must(await store.accounts.find(tenantId("acme"), accountName("ann")));
      // What its list adds is backfill, too; what comes later is not.
      await store.discover(ann.id, { entries: [listEntry("ann@x.test"), listEntry("b@x.test")] });
      await store.discover(ann.id, {
        kind: "incremental",
        entries: [listEntry("later@x.test")],
      });
      const calendars = await store.calendars.list({ accountId: ann.id, limit: 10 });
      expect(Object.fromEntries(calendars.map((row) => [row.googleId, row.dueClass]))).toEqual({
        "ann@x.test": "backfill",
        "b@x.test": "backfill",
        "later@x.test": "poll",
      });

      expect(kinds(await run(store, entries))).toEqual(["unchanged", "unchanged"]);
      const { connectedAt, stateSince, state } = ann;
      expect(await store.accounts.get(ann.id)).toMatchObject({ connectedAt, stateSince, state });
      const changed = [{ ...must(entries[0]), refreshToken: "another" }];
      expect(kinds(await run(store, changed))).toEqual(["changed"]);
      expect(await store.accounts.readGrant(ann.id)).toMatchObject({ refreshToken: "another" });
    });

    test("brings the old system's channels along, to be stopped, once", async () => {
      const store = await openTestStore(await freshDatabase());
      const googleId = googleCalendarId("ann@x.test");
      const channels = [{ id: "old-1", resourceId: "resource-1", googleId }];
      const entries = [{ ...entry("acme", "ann", [googleId]), channels }];
      await run(store, entries);
      const [calendar] = await store.calendars.list({ limit: 1 });
      const of = must(calendar).id;
      expect(await store.channels.listOfCalendar(of)).toMatchObject([
        { id: "old-1", resourceId: "resource-1", state: "stopping" },
      ]);
      const claim = { now: store.now(), limit: 10, queuedForMs: 1_000 };
      expect(await store.channels.claimWatches(claim)).toMatchObject([{ calendarId: of }]);
      await store.channels.remove("old-1");
      await run(store, entries);
      expect(await store.channels.listOfCalendar(of)).toEqual([]);
    });

    test("refuses what is being removed, and takes up again a calendar that was removed alone", async () => {
      const store = await openTestStore(await freshDatabase());
      const entries = [entry("acme", "ann", ["a@x.test"])];
      await run(store, entries);
      const by = { actor: "olga", reason: undefined, isRevoking: false, now: store.now() };
      await store.removals.ask({ kind: "tenant", tenantId: tenantId("acme") }, by);
      const [verdict] = await run(store, entries);
      expect(verdict?.kind === "refused" && verdict.problem).toContain("being removed");
    });

    test("in shadow is mirrored, served to nobody and told to nobody, until it is imported in earnest", async () => {
      const store = await openTestStore(await freshDatabase());
      const entries = [entry("acme", "ann", ["a@x.test"])];
      await run(store, entries, true);
      const [calendar] = await store.calendars.list({ limit: 1 });
      const id = must(calendar).id;
      await store.refresh(id, { items: [event("e")] });
      await store.discover(must(calendar).accountId, {
        entries: [listEntry("a@x.test"), listEntry("b@x.test")],
      });
      expect(await store.events.readFacts([id], store.now())).toEqual([]);
      expect(await store.events.readEvents(id, { limit: 1 }, store.now())).toMatchObject({
        kind: "unknown-calendar",
      });
      expect(await feed(store)).toEqual([]);
      expect(await store.imports.shadowCounts()).toEqual({
        accounts: 1,
        calendars: 2,
        published: 1,
      });
      expect(await store.imports.sampleShadow(10)).toEqual([id]);
      expect(kinds(await run(store, entries, true))).toEqual(["unchanged"]);

      expect(kinds(await run(store, entries))).toEqual(["promoted"]);
      expect(await store.events.readFacts([id], store.now())).toMatchObject([{ calendarId: id }]);
      expect(await feed(store)).toEqual(
        expect.arrayContaining(["account-connected", "calendar-added", "calendar-replaced"]),
      );
      expect(kinds(await run(store, entries))).toEqual(["unchanged"]);
      expect(kinds(await run(store, entries, true))).toEqual(["refused"]);
    });
  });
}

function entry(tenant: string, account: string, calendars: readonly string[]): ImportEntry {
  return {
    tenantId: tenantId(tenant),
    name: accountName(account),
    refreshToken: `token of ${account}`,
    scopes: ["calendar.readonly"],
    quotaUser: undefined,
    calendars: calendars.map(googleCalendarId),
    channels: [],
  };
}

function run(
  store: TestStore,
  entries: readonly ImportEntry[],
  isShadow = false,
): ReturnType<TestStore["imports"]["store"]> {
  const options = { projectId: projectId("default"), isShadow, now: store.now() };
  return store.imports.store(entries, options);
}

function kinds(verdicts: Awaited<ReturnType<typeof run>>): readonly string[] {
  return verdicts.map(({ kind }) => kind);
}

async function feed(store: TestStore): Promise<readonly string[]> {
  const read = await store.changes.read(tenantId("acme"), { after: 0, limit: 100 });
  return read.kind === "changes" ? read.changes.map(({ kind }) => kind) : [];
}
