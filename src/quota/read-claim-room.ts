/**
 * What the budget has for background work, asked of the ledger by those who decide how much of it to begin.
 *
 * State: the last answer, good for a moment, and the ask that is under way: one for all who want to know.
 */
import {
  BACKGROUND_WORK,
  type BackgroundWork,
  type ClaimRoom,
  type WorkRoom,
} from "../core/claim-room.ts";
import type { Clock } from "../core/clock.ts";
import type { Consumer } from "../core/ids.ts";
import { LedgerUnavailable } from "../core/refusal.ts";
import type { Operation, RequestClass } from "../core/request.ts";
import type { Ledger } from "./ledger.ts";
import { parseRoomReply } from "./ledger-reply.ts";

export interface ClaimRoomOptions {
  /** Who will send what is begun. */
  readonly consumer: Consumer;
  /** What is granted so soon counts as room: less than background work waits for a permit before it gives up. */
  readonly withinMs: number;
  /** How long an answer is believed. */
  readonly believedForMs: number;
}

/** The first request of each kind of work. */
const FIRST_REQUEST: Readonly<
  Record<BackgroundWork, { readonly class: RequestClass; readonly operation: Operation }>
> = {
  push: { class: "push", operation: "events.list" },
  poll: { class: "poll", operation: "events.list" },
  backfill: { class: "backfill", operation: "events.list" },
  discovery: { class: "poll", operation: "calendarList.list" },
  watch: { class: "poll", operation: "events.watch" },
};

/** Ask no permit and spend nothing; never throws for a ledger that is away: then there is no room. */
export function createClaimRoomReader(
  options: ClaimRoomOptions,
  deps: { readonly ledger: Pick<Ledger, "run">; readonly clock: Clock },
): () => Promise<ClaimRoom> {
  const { clock } = deps;
  let last: { readonly room: ClaimRoom; readonly atMs: number } | undefined;
  let asking: Promise<ClaimRoom> | undefined;

  const ask = async (): Promise<ClaimRoom> => {
    try {
      const room = await readClaimRoom(options, deps.ledger);
      last = { room, atMs: clock.monotonicMs() };
      return room;
    } finally {
      asking = undefined;
    }
  };
  return () => {
    if (last !== undefined && clock.monotonicMs() - last.atMs < options.believedForMs) {
      return Promise.resolve(last.room);
    }
    asking ??= ask();
    return asking;
  };
}

async function readClaimRoom(
  { consumer, withinMs }: ClaimRoomOptions,
  ledger: Pick<Ledger, "run">,
): Promise<ClaimRoom> {
  const lanes = BACKGROUND_WORK.flatMap((work) => {
    const { class: requestClass, operation } = FIRST_REQUEST[work];
    // Whose it will be is not known yet: limits of a tenant's own do not count here.
    return ["calendar", requestClass, "", "", "", consumer, operation, "first", "1"];
  });
  try {
    const args = [String(withinMs), String(BACKGROUND_WORK.length), ...lanes];
    const { header, rooms } = parseRoomReply(await ledger.run("room", args));
    return roomOfEach((index) => rooms[index] ?? noRoom(header.status, header.reason));
  } catch (error) {
    if (error instanceof LedgerUnavailable) return roomOfEach(() => noRoom("unavailable", ""));
    throw error;
  }
}

function noRoom(status: string, detail: string): WorkRoom {
  return { requests: 0, heldBy: { limit: `ledger-${status}`, detail } };
}

function roomOfEach(roomAt: (index: number) => WorkRoom): ClaimRoom {
  const of = (work: BackgroundWork): WorkRoom => roomAt(BACKGROUND_WORK.indexOf(work));
  return {
    push: of("push"),
    poll: of("poll"),
    backfill: of("backfill"),
    discovery: of("discovery"),
    watch: of("watch"),
  };
}
