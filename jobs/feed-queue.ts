import type { AccountStore } from "../src/core/account-store.ts";
import type { CalendarStore, ClaimQuery } from "../src/core/calendar-store.ts";
import type { ChannelStore } from "../src/core/channel-store.ts";
import type { BackgroundWork, ClaimRoom, TenantTerms } from "../src/core/claim-room.ts";
import type { Clock } from "../src/core/clock.ts";
import type { RequestClass } from "../src/core/request.ts";
import type { StoreHealth } from "../src/core/store-health.ts";
import type { ClaimLook } from "../src/queue/claimer.ts";
import type { QueueName, WorkQueue } from "../src/queue/work-queue.ts";
import { discoverCalendars } from "./discover-calendars.ts";
import { refreshCalendar } from "./refresh-calendar.ts";
import { renewChannel } from "./renew-channel.ts";

export interface FeedOptions {
  /** Jobs that may wait in a queue at once: more would only grow old there, behind which nobody is served. */
  readonly depth: Readonly<Record<QueueName, number>>;
  /** K: calendars of one tenant that may wait in the background queue at once. */
  readonly perTenant: number;
  /** How long a queued row is nobody else's; then, if its job was lost, it is claimed again. */
  readonly queuedForMs: number;
}

export interface FeedDeps {
  readonly calendars: Pick<CalendarStore, "claimDue">;
  readonly accounts: Pick<AccountStore, "claimDueDiscoveries">;
  /** Undefined: Google cannot reach us, so no channel is opened, and none needs work. */
  readonly channels?: Pick<ChannelStore, "claimWatches"> | undefined;
  readonly queue: WorkQueue;
  readonly storeHealth: StoreHealth;
  /** What the budget would let out: more is not taken, and stays due. */
  readonly room: () => Promise<ClaimRoom>;
  readonly terms: () => Promise<TenantTerms>;
  readonly clock: Clock;
}

/**
 * One look of the claimer: move due rows into the queues, up to their depth and to what the budget has.
 *
 * State: what was taken a moment ago; when channels were last looked at, and found none.
 */
export function createFeed(options: FeedOptions, deps: FeedDeps): () => Promise<ClaimLook> {
  const claims = createClaims(options, deps);
  const takenLately = createTakenLately(deps.clock);
  return async () => {
    // Asked first: a Redis that cannot be asked must not hide claimed rows for `queuedForMs`.
    const [interactive, background, terms] = await Promise.all([
      deps.queue.waiting("interactive"),
      deps.queue.waiting("background"),
      deps.terms(),
    ]);
    // A person's refresh has a queue of its own: no full background queue, no K and no budget holds it back here.
    const urgent = await claims.calendars(["interactive"], {
      limit: options.depth.interactive - interactive,
      perTenant: Number.MAX_SAFE_INTEGER,
      weights: terms.weights,
    });
    // I13: what would be fetched could not be stored. The look above was a write: it tells when it can.
    if (!deps.storeHealth.canStore()) return urgent > 0 ? "took" : "idle";
    const place = createPlace(
      options.depth.background - background,
      Math.max(background, takenLately.count()),
    );
    if (place.slots() > 0) {
      place.learn(await deps.room());
      await feedBackground(claims, place, {
        perTenant: options.perTenant,
        weights: terms.weights,
        except: terms.paused,
      });
      takenLately.add(place.taken());
    }
    if (urgent + place.taken() > 0) return "took";
    return interactive > 0 || place.isShort() ? "full" : "idle";
  };
}

/** In this order; what is left of the room goes to the next. */
async function feedBackground(
  claims: Claims,
  place: Place,
  terms: Pick<ClaimQuery, "perTenant" | "weights" | "except">,
): Promise<void> {
  const feed = async (classes: readonly ("push" | "poll" | "backfill")[]): Promise<void> => {
    const limit = Math.min(...classes.map((one) => place.roomFor(one)));
    place.take(await claims.calendars(classes, { ...terms, limit }));
  };
  await feed(["push"]);
  // Each time a part of the room at most: many accounts at once must not hold up all calendars (I8).
  place.take(await claims.discoveries(share(place.roomFor("discovery"), DISCOVERY_SHARE)));
  place.take(await claims.watches(share(place.roomFor("watch"), WATCH_SHARE)));
  // One claim for both, where it is the queue that is short and not the budget.
  if (place.roomFor("poll") === place.roomFor("backfill")) await feed(["poll", "backfill"]);
  else for (const one of ["poll", "backfill"] as const) await feed([one]);
}

const DISCOVERY_SHARE = 0.25;
/** Channels are not urgent: until one is open, or again, its calendar is polled. */
const WATCH_SHARE = 0.15;
const LOOK_FOR_WATCHES_EVERY_MS = 1_000;
/** From its claim until a job asks for its first permit, and the answer about the room has heard of that. */
const UNKNOWN_FOR_MS = 250;

const share = (room: number, part: number): number => Math.ceil(room * part);

/** What one look may still put into the background queue. */
interface Place {
  slots(): number;
  learn(room: ClaimRoom): void;
  roomFor(work: BackgroundWork): number;
  take(count: number): void;
  taken(): number;
  /** What is due may be waiting for those before it. */
  isShort(): boolean;
}

function createPlace(free: number, underWay: number): Place {
  let room: ClaimRoom | undefined;
  let taken = 0;
  const roomFor = (work: BackgroundWork): number =>
    Math.min(free, (room?.[work].requests ?? 0) - underWay) - taken;
  return {
    slots: () => free - taken,
    learn: (now) => {
      room = now;
    },
    roomFor,
    take: (count) => {
      taken += count;
    },
    taken: () => taken,
    isShort: () => underWay > 0 || (room?.poll.heldBy === undefined && roomFor("poll") <= 0),
  };
}

/** Jobs on their way from the queue to the ledger, which does not know of them yet. */
function createTakenLately(clock: Clock): { add(count: number): void; count(): number } {
  let takes: readonly { readonly atMs: number; readonly count: number }[] = [];
  return {
    add(count) {
      if (count > 0) takes = [...takes, { atMs: clock.monotonicMs(), count }];
    },
    count() {
      const sinceMs = clock.monotonicMs() - UNKNOWN_FOR_MS;
      takes = takes.filter(({ atMs }) => atMs > sinceMs);
      return takes.reduce((sum, { count }) => sum + count, 0);
    },
  };
}

interface Claims {
  calendars(
    classes: readonly RequestClass[],
    claim: Omit<ClaimQuery, "now" | "queuedForMs" | "classes">,
  ): Promise<number>;
  discoveries(limit: number): Promise<number>;
  watches(limit: number): Promise<number>;
}

function createClaims({ queuedForMs }: FeedOptions, deps: FeedDeps): Claims {
  const { queue, clock } = deps;
  return {
    async calendars(classes, claim) {
      if (claim.limit <= 0) return 0;
      const now = clock.now();
      const claimed = await deps.calendars.claimDue({ ...claim, classes, queuedForMs, now });
      for (const { calendarId, class: requestClass } of claimed) {
        await queue.add(refreshCalendar, { calendarId, class: requestClass }, { claimedAt: now });
      }
      return claimed.length;
    },
    async discoveries(limit) {
      if (limit <= 0) return 0;
      const now = clock.now();
      const claimed = await deps.accounts.claimDueDiscoveries({ limit, queuedForMs, now });
      for (const { accountId } of claimed) {
        await queue.add(discoverCalendars, { accountId, class: "poll" }, { claimedAt: now });
      }
      return claimed.length;
    },
    watches: createWatchClaim({ queuedForMs }, deps),
  };
}

function createWatchClaim(
  { queuedForMs }: Pick<FeedOptions, "queuedForMs">,
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
