import type { Clock } from "../core/clock.ts";
import { cancelEvent, editedEvent, newEvent, storeEdit } from "./events-write.ts";
import { makeEvent, moveTimes } from "./make-event.ts";
import type { Random } from "./random.ts";
import { addException } from "./seed-world.ts";
import { currentVersion } from "./world.ts";
import type { Calendar, EventHistory, World } from "./world.ts";

/** The kinds of random changes. The last two touch no event. */
export type ChangeKind =
  | "insert"
  | "edit"
  | "move"
  | "delete"
  | "undelete"
  | "exception"
  | "respond"
  | "token-death"
  | "acl-change";

/** Every kind there is. */
export const CHANGE_KINDS: readonly ChangeKind[] = [
  "insert",
  "edit",
  "move",
  "delete",
  "undelete",
  "exception",
  "respond",
  "token-death",
  "acl-change",
];

/** How often each kind comes, unless told otherwise. */
export const DEFAULT_MIX: Readonly<Partial<Record<ChangeKind, number>>> = {
  insert: 30,
  edit: 25,
  move: 15,
  delete: 12,
  undelete: 2,
  exception: 10,
  respond: 6,
};

/** Which changes to make. */
export interface ChangePlan {
  /** Weights by kind. */
  readonly mix?: Readonly<Partial<Record<ChangeKind, number>>>;
  /** Only these calendars. */
  readonly calendars?: readonly string[];
}

/** Makes random changes, all at once or at a rate. */
export interface ChangeGenerator {
  /** Make so many changes now; returns how many of each kind came about. */
  apply(count: number, plan?: ChangePlan): Partial<Record<ChangeKind, number>>;
  /** Make changes at this rate until stopped; replaces a running one. */
  start(perSecond: number, plan?: ChangePlan): void;
  stop(): Promise<void>;
  /** How many of each kind so far. */
  made(): Readonly<Partial<Record<ChangeKind, number>>>;
}

const TICK_MS = 50;

/** Create the generator. State: a random stream, counts, and the run in progress if there is one. */
export function createChangeGenerator(deps: {
  readonly world: World;
  readonly random: Random;
  readonly clock: Clock;
  /** Told when a change failed: a bug of ours, after which the run has ended. */
  readonly onError: (error: unknown) => void;
}): ChangeGenerator {
  const { world, random, clock } = deps;
  const made: Partial<Record<ChangeKind, number>> = {};
  let running: { readonly stopping: AbortController; readonly done: Promise<void> } | undefined;

  const apply: ChangeGenerator["apply"] = (count, plan = {}) => {
    const counts: Partial<Record<ChangeKind, number>> = {};
    const calendars = calendarsOf(world, plan.calendars);
    if (calendars.length === 0) return counts;
    for (let number = 0; number < count; number++) {
      const kind = makeChange(pickKind(plan.mix ?? DEFAULT_MIX, random), {
        world,
        calendar: random.pick(calendars),
        random,
      });
      counts[kind] = (counts[kind] ?? 0) + 1;
      made[kind] = (made[kind] ?? 0) + 1;
    }
    return counts;
  };
  const run = async (perSecond: number, plan: ChangePlan, signal: AbortSignal): Promise<void> => {
    const startedMs = clock.monotonicMs();
    let total = 0;
    while (!signal.aborted) {
      await clock.sleep(TICK_MS, signal);
      const due = Math.floor(((clock.monotonicMs() - startedMs) / 1000) * perSecond);
      apply(due - total, plan);
      total = due;
    }
  };
  const stop = async (): Promise<void> => {
    const stopped = running;
    running = undefined;
    stopped?.stopping.abort();
    await stopped?.done;
  };
  return {
    apply,
    start(perSecond, plan = {}) {
      running?.stopping.abort();
      const stopping = new AbortController();
      const done = run(perSecond, plan, stopping.signal).catch((error: unknown) => {
        if (!stopping.signal.aborted) deps.onError(error);
      });
      running = { stopping, done };
    },
    stop,
    made: () => ({ ...made }),
  };
}

/** Change who may see a calendar. Its sync tokens die, as Google's do after such a change. */
export function changeAcl(
  world: World,
  calendar: Calendar,
  access?: { readonly email: string; readonly role: Parameters<World["setAccess"]>[2] },
): void {
  calendar.tokenEpoch += 1;
  if (access) world.setAccess(calendar, access.email, access.role);
}

interface Changing {
  readonly world: World;
  readonly calendar: Calendar;
  readonly random: Random;
}

/** Make one change; a kind that finds nothing to change becomes an insert. */
function makeChange(kind: ChangeKind, changing: Changing): ChangeKind {
  const { world, calendar, random } = changing;
  if (kind === "token-death") {
    calendar.tokenEpoch += 1;
    return kind;
  }
  if (kind === "acl-change") {
    toggleReader(changing);
    return kind;
  }
  const event = kind === "insert" ? undefined : pickEvent(changing, kind);
  if (event && changeEvent(kind, event, changing)) return kind;
  const fields = makeEvent(calendar, random, world.nowMs());
  world.putEvent(calendar, newEvent(calendar, { ...fields, id: random.text(26) }, world));
  return "insert";
}

function changeEvent(
  kind: ChangeKind,
  event: EventHistory,
  { world, calendar, random }: Changing,
): boolean {
  const { resource } = currentVersion(event);
  if (kind === "delete") {
    cancelEvent(world, calendar, resource);
    return true;
  }
  if (kind === "exception") {
    return addException(world, calendar, { event, random }) !== undefined;
  }
  const fields =
    kind === "move"
      ? moveTimes(resource, calendar, random)
      : kind === "respond"
        ? {
            attendees: [
              {
                email: calendar.id,
                self: true,
                responseStatus: random.pick(["accepted", "declined"]),
              },
            ],
          }
        : { summary: `Edited ${random.integer(1_000_000)}` };
  const next = { ...resource, ...fields, ...(kind === "undelete" ? { status: "confirmed" } : {}) };
  const after = editedEvent(calendar, resource, next);
  storeEdit(world, calendar, { before: resource, after });
  return true;
}

/** An event that this kind of change can be made to; a few tries, because most can. */
function pickEvent({ calendar, random }: Changing, kind: ChangeKind): EventHistory | undefined {
  const { items } = calendar.events;
  for (let attempt = 0; attempt < 20 && items.length > 0; attempt++) {
    const event = random.pick(items);
    const { resource } = currentVersion(event);
    const isCancelled = resource.status === "cancelled";
    if (kind === "undelete" ? canReturn(calendar, event) : !isCancelled) {
      if (kind !== "exception" || resource.recurrence) return event;
    }
  }
  return undefined;
}

/** A deleted event can come back, but not an instance of a series that is gone. */
function canReturn(calendar: Calendar, event: EventHistory): boolean {
  const { resource } = currentVersion(event);
  if (resource.status !== "cancelled") return false;
  if (typeof resource.recurringEventId !== "string") return true;
  const master = calendar.eventsById.get(resource.recurringEventId);
  return master !== undefined && currentVersion(master).resource.status !== "cancelled";
}

function toggleReader({ world, calendar, random }: Changing): void {
  const others = [...calendar.acl].filter(([email]) => email !== calendar.ownerEmail);
  if (others.length === 0) {
    changeAcl(world, calendar);
    return;
  }
  const [email, role] = random.pick(others);
  changeAcl(world, calendar, { email, role: role === "reader" ? "writer" : "reader" });
}

function calendarsOf(world: World, wanted: readonly string[] | undefined): readonly Calendar[] {
  const calendars = [...world.calendars.values()].filter((calendar) => !calendar.isDeleted);
  return wanted ? calendars.filter((calendar) => wanted.includes(calendar.id)) : calendars;
}

function pickKind(mix: NonNullable<ChangePlan["mix"]>, random: Random): ChangeKind {
  const total = CHANGE_KINDS.reduce((sum, kind) => sum + (mix[kind] ?? 0), 0);
  let left = random.next() * total;
  for (const kind of CHANGE_KINDS) {
    left -= mix[kind] ?? 0;
    if (left < 0) return kind;
  }
  return "insert";
}
