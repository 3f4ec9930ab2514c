import type { Clock, EpochMs } from "../core/clock.ts";
import type { EventStore, Freshness } from "../core/event-store.ts";
import type { GoogleEvent } from "../core/google-event.ts";
import type { CalendarId } from "../core/ids.ts";

/** Small enough that parsing one page does not hold up the event loop. */
const PAGE = 500;
const MAX_TRIES = 4;

/** What of a calendar may touch a window, from one generation. */
export type WindowRead =
  | {
      readonly kind: "events";
      readonly freshness: Freshness;
      readonly events: readonly GoogleEvent[];
    }
  | { readonly kind: "unknown-calendar" }
  /** Published anew between two pages, again and again. */
  | { readonly kind: "changing" };

/** Read all pages of a window, beginning anew when the calendar is published in between. */
export async function readWindow(
  deps: { readonly events: Pick<EventStore, "readEvents">; readonly clock: Clock },
  id: CalendarId,
  window: { readonly from: EpochMs; readonly to: EpochMs },
): Promise<WindowRead> {
  for (let tries = 0; tries < MAX_TRIES; tries++) {
    const read = await readPages(deps, id, window);
    if (read !== "changed") return read;
  }
  return { kind: "changing" };
}

async function readPages(
  { events: store, clock }: Parameters<typeof readWindow>[0],
  id: CalendarId,
  window: Parameters<typeof readWindow>[2],
): Promise<WindowRead | "changed"> {
  const events: GoogleEvent[] = [];
  let generation: number | undefined;
  let after: string | undefined;
  for (;;) {
    const page = await store.readEvents(id, { ...window, after, limit: PAGE }, clock.now());
    if (page.kind === "unknown-calendar") return page;
    if (generation !== undefined && page.freshness.generation !== generation) return "changed";
    generation = page.freshness.generation;
    events.push(...page.events);
    if (page.next === undefined) return { kind: "events", freshness: page.freshness, events };
    after = page.next;
  }
}
