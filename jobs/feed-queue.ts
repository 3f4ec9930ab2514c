import type { AccountStore } from "../src/core/account-store.ts";
import type { CalendarStore } from "../src/core/calendar-store.ts";
import type { ChannelStore } from "../src/core/channel-store.ts";
import type { Clock } from "../src/core/clock.ts";
import { REQUEST_CLASSES } from "../src/core/request.ts";
import type { StoreHealth } from "../src/core/store-health.ts";
import type { WorkQueue } from "../src/queue/work-queue.ts";
import { discoverCalendars } from "./discover-calendars.ts";
import { refreshCalendar } from "./refresh-calendar.ts";
import { renewChannel } from "./renew-channel.ts";

export interface FeedOptions {
  /** Rows that may wait in the background queue at once: more would only grow old there. */
  readonly queueDepth: number;
  /** K: rows of one tenant that may be queued at once. */
  readonly perTenant: number;
  /** How long a queued row is nobody else's; then, if its job was lost, it is claimed again. */
  readonly queuedForMs: number;
}

export interface FeedDeps {
  readonly calendars: CalendarStore;
  readonly accounts: AccountStore;
  /** Undefined: Google cannot reach us, so no channel is opened, and none needs work. */
  readonly channels?: Pick<ChannelStore, "claimWatches"> | undefined;
  readonly queue: WorkQueue;
  readonly storeHealth: StoreHealth;
  readonly clock: Clock;
}

/**
 * One look of the claimer: move due rows into the queues, up to their depth. Returns how many.
 *
 * State: when channels were last looked at, and found none.
 */
export function createFeed(options: FeedOptions, deps: FeedDeps): () => Promise<number> {
  const feedWatches = createWatchFeed(options, deps);
  return async () => {
    // Asked first: a Redis that cannot be asked must not hide claimed rows for `queuedForMs`.
    const [interactive, background] = await Promise.all([
      deps.queue.waiting("interactive"),
      deps.queue.waiting("background"),
    ]);
    // A person's refresh has a queue of its own: neither a full background queue nor K holds it back.
    const urgent = await feedCalendars(deps, {
      ...options,
      classes: ["interactive"],
      limit: options.queueDepth - interactive,
      perTenant: options.queueDepth,
    });
    // I13: what would be fetched could not be stored. The look above was a write: it tells when it can.
    if (!deps.storeHealth.canStore()) return urgent;
    const room = options.queueDepth - background;
    const notified = await feedCalendars(deps, { ...options, classes: ["push"], limit: room });
    // Each time a part of the room at most: many accounts at once must not hold up all calendars (I8).
    const discovered = await feedDiscoveries(deps, {
      ...options,
      limit: Math.ceil((room - notified) * DISCOVERY_SHARE),
    });
    const watched = await feedWatches(Math.ceil((room - notified - discovered) * WATCH_SHARE));
    const taken = notified + discovered + watched;
    const refreshed = await feedCalendars(deps, {
      ...options,
      classes: PATIENT_CLASSES,
      limit: room - taken,
    });
    return urgent + taken + refreshed;
  };
}

const PATIENT_CLASSES = REQUEST_CLASSES.filter((one) => one === "poll" || one === "backfill");
const DISCOVERY_SHARE = 0.25;
/** Channels are not urgent: until one is open, or again, its calendar is polled. */
const WATCH_SHARE = 0.15;
const LOOK_FOR_WATCHES_EVERY_MS = 1_000;

type Claim = Omit<Parameters<CalendarStore["claimDue"]>[0], "now">;

async function feedCalendars(deps: FeedDeps, claim: Claim): Promise<number> {
  if (claim.limit <= 0) return 0;
  const now = deps.clock.now();
  const claimed = await deps.calendars.claimDue({ ...claim, now });
  for (const { calendarId, class: requestClass } of claimed) {
    const payload = { calendarId, class: requestClass };
    await deps.queue.add(refreshCalendar, payload, { claimedAt: now });
  }
  return claimed.length;
}

async function feedDiscoveries(
  deps: FeedDeps,
  claim: Pick<Claim, "limit" | "queuedForMs">,
): Promise<number> {
  if (claim.limit <= 0) return 0;
  const now = deps.clock.now();
  const claimed = await deps.accounts.claimDueDiscoveries({ ...claim, now });
  for (const { accountId } of claimed) {
    await deps.queue.add(discoverCalendars, { accountId, class: "poll" }, { claimedAt: now });
  }
  return claimed.length;
}

function createWatchFeed(
  { queuedForMs }: FeedOptions,
  { channels, queue, clock }: FeedDeps,
): (limit: number) => Promise<number> {
  let quietUntilMs = Number.NEGATIVE_INFINITY;
  return async (limit) => {
    if (channels === undefined || limit <= 0 || clock.monotonicMs() < quietUntilMs) return 0;
    const now = clock.now();
    const claimed = await channels.claimWatches({ now, limit, queuedForMs });
    if (claimed.length === 0) quietUntilMs = clock.monotonicMs() + LOOK_FOR_WATCHES_EVERY_MS;
    for (const { calendarId, claim } of claimed) {
      await queue.add(renewChannel, { calendarId, claim }, { claimedAt: now });
    }
    return claimed.length;
  };
}
