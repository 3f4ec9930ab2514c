import { onTestFinished } from "vitest";
import type { AccountRow } from "../../src/core/account-store.ts";
import { epochMs, type EpochMs } from "../../src/core/clock.ts";
import type { CalendarListEntry, GoogleEvent } from "../../src/core/google-event.ts";
import {
  accountName,
  projectId,
  tenantId,
  type AccountId,
  type CalendarId,
} from "../../src/core/ids.ts";
import type {
  Publication,
  RefreshLease,
  RefreshPostponed,
  RefreshState,
  StagedPage,
} from "../../src/core/refresh-store.ts";
import { openStore, type Store } from "../../src/store/open-store.ts";
import { createVault, type Vault } from "../../src/store/vault.ts";
import { createManualClock, type ManualClock } from "../support/manual-clock.ts";

export const HOUR_MS = 3_600_000;
export const LEASE_MS = 60_000;

/** A vault with one key, the same in every test. */
export const testVault: Vault = createVault([{ id: "test-key", key: new Uint8Array(32).fill(7) }]);

/** A store on an empty database, closed after the test, with what tests do all the time. */
export interface TestStore extends Store {
  readonly url: string;
  readonly clock: ManualClock;
  now(): EpochMs;
  later(ms: number): EpochMs;
  /** Connect an account and discover calendars of these Google ids. */
  connect(tenant: string, account: string, googleIds: readonly string[]): Promise<Connected>;
  /** One calendar of a tenant of its own. */
  connectOne(): Promise<CalendarId>;
  discover(id: AccountId, list: DiscoveredList): Promise<DiscoveryChanges>;
  /** Take the lease of a calendar that is due; fails the test when it cannot be had. */
  begin(id: CalendarId): Promise<{ readonly lease: RefreshLease; readonly state: RefreshState }>;
  stage(lease: RefreshLease, page?: Partial<StagedPage>): Promise<"staged" | "fenced-out">;
  publish(lease: RefreshLease, publication?: Partial<Publication>): Promise<PublishedOrFenced>;
  postpone(
    lease: RefreshLease,
    outcome?: Partial<RefreshPostponed>,
  ): Promise<"postponed" | "fenced-out">;
  /** Request, begin and publish in one go. */
  refresh(id: CalendarId, publication?: Partial<Publication>): Promise<PublishedOrFenced>;
  /** Every published event of a calendar, page by page. */
  readAll(id: CalendarId): Promise<readonly GoogleEvent[]>;
}

type PublishedOrFenced = Awaited<ReturnType<Store["refreshes"]["publish"]>>;
type DiscoveryChanges = { added: number; changed: number; lost: number; returned: number };

interface Connected {
  readonly account: AccountRow;
  readonly calendars: readonly CalendarId[];
}

interface DiscoveredList {
  readonly kind?: "full" | "incremental";
  readonly entries: readonly CalendarListEntry[];
}

/** Open a store over an empty database. */
export async function openTestStore(
  url: string,
  options: { readonly mirror?: "full" | "busy"; readonly clock?: ManualClock } = {},
): Promise<TestStore> {
  const clock = options.clock ?? createManualClock();
  const store = await openStore(
    { url, mirror: options.mirror ?? "full", migrateWhenEmpty: true },
    { clock, vault: testVault },
  );
  onTestFinished(() => store.close());
  const now = (): EpochMs => clock.now();
  const later = (ms: number): EpochMs => epochMs(now() + ms);

  const self: TestStore = {
    ...store,
    url,
    clock,
    now,
    later,
    async connect(tenant, account, googleIds) {
      const row = await store.accounts.connect({
        projectId: projectId("default"),
        tenantId: tenantId(tenant),
        name: accountName(account),
        quotaUser: undefined,
        refreshToken: `refresh-token-of-${account}`,
        scopes: ["calendar.readonly"],
        now: now(),
      });
      await self.discover(row.id, { entries: googleIds.map((id) => listEntry(id)) });
      const calendars = await store.calendars.list({ accountId: row.id, limit: 1_000 });
      const idOf = new Map(calendars.map((calendar) => [String(calendar.googleId), calendar.id]));
      return { account: row, calendars: googleIds.map((id) => must(idOf.get(id))) };
    },
    async connectOne() {
      const { calendars } = await self.connect("acme", "ann", ["ann@example.test"]);
      return must(calendars[0]);
    },
    async discover(id, list) {
      await store.accounts.requestDiscovery(id, now());
      const begun = await store.accounts.beginDiscovery(id, {
        now: now(),
        until: later(LEASE_MS),
      });
      if (begun.kind !== "begun") throw new Error(`Discovery did not begin: ${begun.kind}`);
      const result = await store.accounts.applyDiscovery(begun.lease, {
        kind: list.kind ?? "full",
        entries: list.entries,
        syncToken: "list-token",
        queryFingerprint: "list-query",
        served: begun.state.requested,
        nextDueAt: later(HOUR_MS),
        confirmAt: later(1_000),
        now: now(),
      });
      if (result.kind !== "applied") throw new Error("Discovery was fenced out");
      return result.changes;
    },
    async begin(id) {
      const begun = await store.refreshes.begin(id, { now: now(), until: later(LEASE_MS) });
      if (begun.kind !== "begun") throw new Error(`The refresh did not begin: ${begun.kind}`);
      return begun;
    },
    stage: (lease, page = {}) =>
      store.refreshes.stagePage(lease, {
        kind: "full",
        isFirst: true,
        startedAt: now(),
        fingerprint: "query-a",
        requestedAtStart: 0,
        items: [],
        nextPageToken: "page-2",
        leaseUntil: later(LEASE_MS),
        ...page,
      }),
    publish: (lease, publication = {}) =>
      store.refreshes.publish(lease, {
        kind: "full",
        isFirst: true,
        startedAt: now(),
        items: [],
        syncToken: "token-1",
        queryFingerprint: "query-a",
        timeZone: undefined,
        accessRole: undefined,
        served: 0,
        nextPoll: { dueAt: later(HOUR_MS), reason: "poll" },
        now: now(),
        ...publication,
      }),
    postpone: (lease, outcome = {}) =>
      store.refreshes.postpone(lease, {
        dueAt: later(10_000),
        dueReason: "backoff",
        earlierAttempt: "reached-google",
        dropUnfinished: false,
        dropSyncToken: false,
        state: { kind: "keep" },
        ...outcome,
      }),
    async refresh(id, publication = {}) {
      await store.calendars.request(id, { class: "poll", dueAt: now() });
      const { lease, state } = await self.begin(id);
      return self.publish(lease, { served: state.requested, ...publication });
    },
    async readAll(id) {
      const events: GoogleEvent[] = [];
      for (let after: string | undefined; ;) {
        const read = await store.events.readEvents(id, { limit: 1_000, after }, now());
        if (read.kind !== "events") throw new Error(read.kind);
        events.push(...read.events);
        if (read.next === undefined) return events;
        after = read.next;
      }
    },
  };
  return self;
}

/** An entry of a calendar list. */
export function listEntry(
  googleId: string,
  changes: Partial<CalendarListEntry> = {},
): CalendarListEntry {
  return {
    googleId,
    summary: `Calendar ${googleId}`,
    timeZone: "Europe/Madrid",
    accessRole: "owner",
    isPrimary: false,
    isHidden: false,
    isDeleted: false,
    ...changes,
  };
}

/** An event of one hour; its etag follows its content unless one is given. */
export function event(id: string, changes: Partial<GoogleEvent> = {}): GoogleEvent {
  const body = {
    id,
    status: "confirmed",
    summary: `Event ${id}`,
    start: { dateTime: "2026-01-05T10:00:00Z" },
    end: { dateTime: "2026-01-05T11:00:00Z" },
    ...changes,
  };
  return { etag: JSON.stringify(body), ...body };
}

/** A daily series without an end. */
export function series(id: string, changes: Partial<GoogleEvent> = {}): GoogleEvent {
  return event(id, { recurrence: ["RRULE:FREQ=DAILY"], ...changes });
}

/** An instance of a series that differs from it. */
export function exception(
  id: string,
  recurringEventId: string,
  changes: Partial<GoogleEvent> = {},
): GoogleEvent {
  return event(id, {
    recurringEventId,
    originalStartTime: { dateTime: "2026-01-06T10:00:00Z" },
    ...changes,
  });
}

/** What Google sends of a deleted event. */
export function tombstone(id: string, changes: Partial<GoogleEvent> = {}): GoogleEvent {
  return { id, status: "cancelled", etag: `gone-${id}`, ...changes };
}

/** A value that the test cannot go on without. */
export function must<T>(value: T | undefined): T {
  if (value === undefined) throw new Error("Expected a value");
  return value;
}

/** The ids of events, in their order. */
export function idsOf(events: readonly GoogleEvent[]): readonly string[] {
  return events.map(({ id }) => id);
}
