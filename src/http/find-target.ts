/**
 * Which calendar a request means, and whose it is.
 *
 * State: what was found, at most MOST_HELD, the oldest forgotten first; who asks while it is looked up waits
 * for the same answer. An id never changes its tenant; what is not found is not kept.
 */
import type { AccountStore } from "../core/account-store.ts";
import type { CalendarStore } from "../core/calendar-store.ts";
import {
  accountName,
  calendarId,
  googleCalendarId,
  type CalendarId,
  type TenantId,
} from "../core/ids.ts";

/** A calendar by our id, or as the tenant knows it. */
export type TargetQuery =
  | { readonly calendarId: string }
  | { readonly tenantId: TenantId; readonly account: string; readonly googleCalendarId: string };

export interface Target {
  readonly calendarId: CalendarId;
  readonly tenantId: TenantId;
}

export interface TargetFinder {
  find(query: TargetQuery): Promise<Target | undefined>;
  /** It was removed since. */
  forget(query: TargetQuery): void;
}

const MOST_HELD = 20_000;

export function createTargetFinder(deps: {
  readonly calendars: Pick<CalendarStore, "get" | "list">;
  readonly accounts: Pick<AccountStore, "find">;
}): TargetFinder {
  const held = new Map<string, Promise<Target | undefined>>();

  async function lookUp(query: TargetQuery): Promise<Target | undefined> {
    if ("calendarId" in query) {
      const row = await deps.calendars.get(calendarId(query.calendarId));
      return row === undefined ? undefined : { calendarId: row.id, tenantId: row.tenantId };
    }
    const account = await deps.accounts.find(query.tenantId, accountName(query.account));
    if (account === undefined) return undefined;
    const [row] = await deps.calendars.list({
      accountId: account.id,
      googleId: googleCalendarId(query.googleCalendarId),
      limit: 1,
    });
    return row === undefined ? undefined : { calendarId: row.id, tenantId: query.tenantId };
  }

  return {
    async find(query) {
      const key = keyOf(query);
      const known = held.get(key);
      if (known !== undefined) return known;
      const asked = lookUp(query);
      held.set(key, asked);
      const [oldest] = held.keys();
      if (held.size > MOST_HELD && oldest !== undefined) held.delete(oldest);
      let found: Target | undefined;
      try {
        found = await asked;
        return found;
      } finally {
        if (found === undefined && held.get(key) === asked) held.delete(key);
      }
    },
    forget: (query) => {
      held.delete(keyOf(query));
    },
  };
}

function keyOf(query: TargetQuery): string {
  return "calendarId" in query
    ? query.calendarId
    : JSON.stringify([query.tenantId, query.account, query.googleCalendarId]);
}
