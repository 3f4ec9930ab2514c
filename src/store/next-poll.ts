import type { NextPoll } from "../core/poll-store.ts";
import type { Publication } from "../core/refresh-store.ts";
import { momentOf } from "./calendar-rows.ts";
import { channelsOf } from "./channel-rows.ts";
import type { Trx } from "./database.ts";
import type { HeldCalendar } from "./stage-page.ts";

/** When a calendar that is being published is polled next, by what its row and its channels say now. */
export async function nextPollOf(
  trx: Trx,
  held: HeldCalendar,
  of: { readonly publication: Publication; readonly generation: number },
): Promise<NextPoll> {
  const { nextPoll, now } = of.publication;
  if (typeof nextPoll !== "function") return nextPoll;
  const isWatched = held.watch_state === "watched";
  const channels = isWatched ? await channelsOf(trx, held.id) : [];
  return nextPoll({
    watchState: held.watch_state,
    generation: of.generation,
    changedAt: of.generation === held.generation ? momentOf(held.published_at) : now,
    readAt: momentOf(held.last_read_at),
    channel: channels.findLast(({ state }) => state === "live"),
    isSilent: held.watch_silent_at !== null,
  });
}
