import { epochMs, systemClock } from "../../src/core/clock.ts";
import { accountName, projectId, tenantId, type CalendarId } from "../../src/core/ids.ts";
import type { Store } from "../../src/store/open-store.ts";

const FAR_MS = 24 * 3_600_000;

/** One Google account and its calendars. */
interface GoogleUser {
  readonly refreshToken: string;
  readonly calendarIds: readonly string[];
}

/**
 * Connect accounts of a tenant, all of them the same Google user's, whose calendars are known already: each is
 * due at once for its first sync, and no list of calendars is.
 */
export async function fillTenant(
  store: Pick<Store, "accounts" | "calendars">,
  filling: { readonly tenant: string; readonly accounts: number; readonly user: GoogleUser },
): Promise<readonly CalendarId[]> {
  const filled: CalendarId[] = [];
  for (let number = 0; number < filling.accounts; number += 1) {
    filled.push(...(await connectOne(store, filling, `account-${String(number)}`)));
  }
  return filled;
}

async function connectOne(
  { accounts, calendars }: Pick<Store, "accounts" | "calendars">,
  { tenant, user }: Parameters<typeof fillTenant>[1],
  name: string,
): Promise<readonly CalendarId[]> {
  const now = systemClock.now();
  const { id } = await accounts.connect({
    projectId: projectId("default"),
    tenantId: tenantId(tenant),
    name: accountName(name),
    quotaUser: undefined,
    refreshToken: user.refreshToken,
    scopes: ["https://www.googleapis.com/auth/calendar.readonly"],
    now,
  });
  await accounts.requestDiscovery(id, now);
  const begun = await accounts.beginDiscovery(id, { now, until: epochMs(now + 60_000) });
  if (begun.kind !== "begun") throw new Error(`Discovery did not begin: ${begun.kind}`);
  await accounts.applyDiscovery(begun.lease, {
    kind: "full",
    entries: user.calendarIds.map(entryOf),
    syncToken: "filled",
    queryFingerprint: "filled",
    served: begun.state.requested,
    nextDueAt: epochMs(now + FAR_MS),
    confirmAt: epochMs(now + FAR_MS),
    now,
  });
  const rows = await calendars.list({ accountId: id, limit: 1_000 });
  return rows.map((row) => row.id);
}

function entryOf(googleId: string) {
  return {
    googleId,
    summary: undefined,
    timeZone: "UTC",
    accessRole: "owner",
    isPrimary: false,
    isHidden: false,
    isDeleted: false,
  } as const;
}
