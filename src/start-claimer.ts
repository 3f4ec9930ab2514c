import { createFeed } from "../jobs/feed-queue.ts";
import { PROJECT, tellTrouble, type Parts, type Starting } from "./app-parts.ts";
import { BACKGROUND_WORK, type ClaimRoom } from "./core/claim-room.ts";
import { consumer } from "./core/ids.ts";
import type { Logger } from "./observability/logger.ts";
import { startClaimer } from "./queue/claimer.ts";
import type { QueueName } from "./queue/work-queue.ts";
import { createClaimRoomReader } from "./quota/read-claim-room.ts";
import { createTenantTermsReader } from "./quota/read-tenant-terms.ts";

const RESTS = { busyRestMs: 20, idleRestMs: 250, backoffMs: 1_500 } as const;
/** Half of what background work waits for a permit: what is taken now is not refused then. */
const ROOM = { withinMs: 500, believedForMs: 250 } as const;
const TERMS_BELIEVED_FOR_MS = 2_000;
/** Jobs that wait for each that runs: enough that none is missed between two looks, few enough to be next soon. */
const WAITING_PER_RUNNING = 2;

/** Start to move due work into the queues, as fast as this process' workers and the budget take it. */
export function startFeeding(
  { config, deps, started }: Starting,
  parts: Pick<Parts, "store" | "budget" | "queue">,
  options: {
    readonly concurrency: Readonly<Record<QueueName, number>>;
    readonly queuedForMs: number;
    /** Whether channels can be opened. */
    readonly watches: boolean;
  },
): void {
  const { store, budget, queue } = parts;
  const { concurrency, queuedForMs, watches } = options;
  const readRoom = createClaimRoomReader(
    { ...ROOM, consumer: consumer(config.consumer) },
    { ledger: budget.ledger, clock: deps.clock },
  );
  const tellHeld = createTellHeld(deps.logger);
  const feed = createFeed(
    {
      depth: {
        background: concurrency.background * WAITING_PER_RUNNING,
        interactive: concurrency.interactive * WAITING_PER_RUNNING,
      },
      perTenant: concurrency.background,
      queuedForMs,
    },
    {
      ...store,
      channels: watches ? store.channels : undefined,
      storeHealth: store.health,
      queue,
      room: async () => {
        const room = await readRoom();
        tellHeld(room);
        return room;
      },
      terms: createTenantTermsReader(
        { projectId: PROJECT, believedForMs: TERMS_BELIEVED_FOR_MS },
        { settings: store.settings, clock: deps.clock },
      ),
      clock: deps.clock,
    },
  );
  const claimer = startClaimer(RESTS, {
    clock: deps.clock,
    claim: feed,
    onError: tellTrouble(deps, "The claimer could not look"),
  });
  started.push({ name: "claimer", run: () => claimer.stop() });
}

/** Limits that come and go many times a minute are how a budget works, and no news. */
const EVERYDAY_LIMITS: ReadonlySet<string> = new Set(["project-minute", "pacing"]);

/** One line when the budget begins to hold work back in the database, and one when it is over. */
function createTellHeld({ log }: Pick<Logger, "log">): (room: ClaimRoom) => void {
  let told = "";
  return (room) => {
    const held = BACKGROUND_WORK.flatMap((work) => {
      const limit = room[work].heldBy?.limit;
      return limit === undefined || EVERYDAY_LIMITS.has(limit) ? [] : [[work, limit] as const];
    });
    const now = JSON.stringify(held);
    if (now === told) return;
    if (held.length > 0) {
      log("info", "The budget holds background work back", Object.fromEntries(held));
    } else if (told !== "") {
      log("info", "The budget holds no background work back any more");
    }
    told = now;
  };
}
