import type { AccountState } from "../../src/core/account-store.ts";
import type { Change, ChangeStore } from "../../src/core/change-store.ts";
import type { AccountId, CalendarId, TenantId } from "../../src/core/ids.ts";
import type { TestStore } from "../conformance/store-fixture.ts";

/** What a consumer of a tenant's feed has made of it; compared with the mirror as plain data. */
export interface Followed {
  readonly accounts: Readonly<Record<AccountId, AccountState>>;
  readonly calendars: Readonly<Record<CalendarId, FollowedCalendar>>;
}

interface FollowedCalendar {
  readonly isLost: boolean;
  /** As JSON, by Google's id; undefined: never published. */
  readonly events: Readonly<Record<string, string>> | undefined;
}

/** A consumer as the documentation tells one to be: it names no order of its own and trusts only what it applied. */
export interface FeedConsumer {
  /** Read one page and apply it; true: there was something. `crash`: die after so many changes, cursor unmoved. */
  step(page: { readonly limit: number; readonly crash?: number | undefined }): Promise<boolean>;
  /** Begin again at the cursor of so many pages ago: what was applied is applied again. */
  goBack(pages: number): void;
  state(): Followed;
}

/** `changes`: the feed to follow, which a test may have spoilt. */
export function createFeedConsumer(
  tenant: TenantId,
  store: TestStore,
  changes: Pick<ChangeStore, "read" | "head"> = store.changes,
): FeedConsumer {
  let state: Followed = { accounts: {}, calendars: {} };
  let cursors: number[] = [];

  const readAnew = async (): Promise<void> => {
    const head = await changes.head(tenant);
    state = await readMirror(tenant, store);
    cursors = [head];
  };

  return {
    async step({ limit, crash }) {
      const after = cursors.at(-1);
      if (after === undefined) {
        await readAnew();
        return true;
      }
      const read = await changes.read(tenant, { after, limit });
      if (read.kind === "forgotten") {
        await readAnew();
        return true;
      }
      for (const change of read.changes.slice(0, crash)) state = await apply(state, change, store);
      if (crash === undefined) cursors.push(read.next);
      return read.changes.length > 0;
    },
    goBack(pages) {
      cursors = cursors.slice(0, Math.max(1, cursors.length - pages));
    },
    state: () => state,
  };
}

async function apply(state: Followed, change: Change, store: TestStore): Promise<Followed> {
  if ("state" in change) {
    return { ...state, accounts: { ...state.accounts, [change.accountId]: change.state } };
  }
  const { calendarId } = change;
  const known = state.calendars[calendarId] ?? { isLost: false, events: undefined };
  const calendar = await applyToCalendar(known, change, store);
  return { ...state, calendars: { ...state.calendars, [calendarId]: calendar } };
}

async function applyToCalendar(
  known: FollowedCalendar,
  change: Exclude<Change, { readonly state: AccountState }>,
  store: TestStore,
): Promise<FollowedCalendar> {
  switch (change.kind) {
    case "calendar-added":
      return known;
    case "calendar-lost":
      return { ...known, isLost: true };
    case "calendar-returned":
      return { ...known, isLost: false };
    case "calendar-removed":
      return { isLost: true, events: undefined };
    case "calendar-replaced":
      return { ...known, events: await readEvents(change.calendarId, store) };
    case "event-deleted": {
      const { [change.eventId]: _, ...events } = known.events ?? {};
      return { ...known, events };
    }
    case "event-created":
    case "event-updated": {
      // One event; that it is not there (any more) is no reason to forget it: its deletion will be told.
      const event = (await readEvents(change.calendarId, store))[change.eventId];
      return event === undefined
        ? known
        : { ...known, events: { ...known.events, [change.eventId]: event } };
    }
  }
}

async function readEvents(
  id: CalendarId,
  store: TestStore,
): Promise<Readonly<Record<string, string>>> {
  const events = await store.readAll(id);
  return Object.fromEntries(events.map((event) => [event.id, JSON.stringify(event)]));
}

/** What is true: everything that the mirror holds of a tenant. */
export async function readMirror(tenant: TenantId, store: TestStore): Promise<Followed> {
  const accounts = await store.accounts.list({ tenantId: tenant, limit: 1_000 });
  const calendars = await store.calendars.list({ tenantId: tenant, limit: 1_000 });
  const read = await Promise.all(
    calendars.map(async ({ id, generation, state }): Promise<[CalendarId, FollowedCalendar]> => {
      const events = generation === 0 ? undefined : await readEvents(id, store);
      return [id, { isLost: state === "lost", events }];
    }),
  );
  return {
    accounts: Object.fromEntries(accounts.map(({ id, state }) => [id, state])),
    calendars: Object.fromEntries(read),
  };
}
