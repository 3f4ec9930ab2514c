import type { CalendarSource } from "../../src/core/calendar-source.ts";
import { CallFailed } from "../../src/core/failure.ts";
import type { GoogleEvent } from "../../src/core/google-event.ts";
import type { CalendarId } from "../../src/core/ids.ts";
import type { RefreshLease, RefreshStore } from "../../src/core/refresh-store.ts";
import type { RequestClass } from "../../src/core/request.ts";
import { consultOracle } from "../../src/simulator/oracle.ts";
import type { Database } from "../../src/store/database.ts";
import type { Step } from "./crash-steps.ts";
import type { SyncWorld } from "./sync-world.ts";

/** What came about in a sequence, so that a suite can prove that it tried what it claims. */
export interface Came {
  readonly crashes: Record<Step, number>;
  fencedOut: number;
  pagesGoneOn: number;
  tokenDeaths: number;
  publishes: number;
}

/** How one calendar was when it was last looked at, and what is known of its marks. */
export interface Watched {
  readonly id: CalendarId;
  readonly googleId: string;
  row: WatchedRow | undefined;
  /** What a reader saw last. */
  copy: string;
  requested: number;
  readonly requestedAt: Map<number, number>;
  /** Google said that its token is dead, and the row may still hold that token. */
  isTokenDead: boolean;
  /** What Google had, and since when. */
  readonly past: { readonly atMs: number; readonly events: Versions }[];
}

type WatchedRow = Awaited<ReturnType<typeof readRow>>;
type Versions = ReadonlyMap<string, string>;

/** Looks at the database between any two steps and holds it against I4 to I7 and Google's past. */
export interface Judge {
  /** Every rule that was broken so far, in words. */
  readonly problems: readonly string[];
  readonly calendars: readonly Watched[];
  /** Read the row and the copy, as anybody may at any moment. */
  look(watched: Watched): Promise<void>;
  /** Remember what Google has from now on. */
  noteGoogle(): void;
  /** Ask for a refresh, and remember when. */
  request(
    watched: Watched,
    wish: { readonly class: RequestClass; readonly mode: "incremental" | "full" },
  ): Promise<void>;
  /** I6: whether somebody still waits. */
  isLeftUnserved(): Promise<boolean>;
  /** I5: learn which tokens Google has called dead. */
  watchSource(watched: Watched, source: CalendarSource): CalendarSource;
  /** I7: what a lease writes stands if, and only if, no later lease was taken. */
  watchFence(watched: Watched): {
    /** Right before a process's transaction. */
    readonly onWrite: () => Promise<void>;
    watch(refreshes: RefreshStore): RefreshStore;
  };
}

/** Begin to watch every calendar there is. */
export async function createJudge(
  world: SyncWorld,
  database: Database,
  came: Came,
): Promise<Judge> {
  const problems: string[] = [];
  const { store } = world;
  const calendars = (await world.calendars()).map(({ id, googleId, requested }): Watched => ({
    id,
    googleId,
    row: undefined,
    copy: "[]",
    requested,
    requestedAt: new Map(),
    isTokenDead: false,
    past: [{ atMs: 0, events: googleHas(world, googleId) }],
  }));

  return {
    problems,
    calendars,
    noteGoogle() {
      for (const { googleId, past } of calendars) {
        past.push({ atMs: store.now(), events: googleHas(world, googleId) });
      }
    },
    async look(watched) {
      const row = await readRow(database, watched.id);
      const copy = versionsOf(await store.readAll(watched.id));
      const found = [
        ...(watched.row === undefined ? [] : judgeMarks(watched, watched.row, row)),
        ...judgeCopy(watched, row, copy),
      ];
      for (const what of found) {
        problems.push(`${watched.googleId} at ${String(store.now())}: ${what}`);
      }
      if (watched.row?.sync_token !== row.sync_token) watched.isTokenDead = false;
      if (row.generation > (watched.row?.generation ?? 0)) came.publishes += 1;
      watched.row = row;
      watched.copy = JSON.stringify([...copy]);
    },
    async request(watched, wish) {
      watched.requested += 1;
      watched.requestedAt.set(watched.requested, store.now());
      await store.calendars.request(watched.id, { ...wish, dueAt: store.now() });
    },
    async isLeftUnserved() {
      const rows = await Promise.all(calendars.map(({ id }) => readRow(database, id)));
      return rows.some(({ requested, served }) => served < requested);
    },
    watchSource: (watched, source) => ({
      ...source,
      async listEvents(...call) {
        try {
          const page = await source.listEvents(...call);
          if (call[1].pageToken !== undefined) came.pagesGoneOn += 1;
          return page;
        } catch (error) {
          if (error instanceof CallFailed && error.failure.kind === "sync-token-dead") {
            watched.isTokenDead = true;
            came.tokenDeaths += 1;
          }
          throw error;
        }
      },
    }),
    watchFence(watched) {
      let fence = 0;
      const judged = (lease: RefreshLease, answer: string): void => {
        if (answer === "fenced-out") came.fencedOut += 1;
        if ((answer !== "fenced-out") === (lease.fence === fence)) return;
        problems.push(
          `${watched.googleId}: I7: lease ${String(lease.fence)} ${answer} at fence ${String(fence)}`,
        );
      };
      return {
        async onWrite() {
          fence = (await readRow(database, watched.id)).fence;
        },
        watch: (refreshes) => ({
          ...refreshes,
          async stagePage(lease, page) {
            const answer = await refreshes.stagePage(lease, page);
            judged(lease, answer);
            return answer;
          },
          async publish(lease, publication) {
            const answer = await refreshes.publish(lease, publication);
            judged(lease, answer.kind);
            return answer;
          },
          async postpone(lease, outcome) {
            const answer = await refreshes.postpone(lease, outcome);
            judged(lease, answer);
            return answer;
          },
        }),
      };
    },
  };
}

function readRow(database: Database, id: CalendarId) {
  return database.read((db) =>
    db
      .selectFrom("calendars")
      .select([
        "fence",
        "generation",
        "sync_token",
        "requested",
        "served",
        "due_at",
        "current_as_of",
      ])
      .where("id", "=", id)
      .executeTakeFirstOrThrow(),
  );
}

function judgeMarks(watched: Watched, before: WatchedRow, row: WatchedRow): string[] {
  const askedAt = watched.requestedAt.get(row.served) ?? 0;
  const isTokenDropped = before.sync_token !== null && row.sync_token === null;
  const rules: readonly (readonly [isBroken: boolean, what: string])[] = [
    [row.fence < before.fence, "I7: the fence fell"],
    [row.requested !== watched.requested, "I6: a request was not counted"],
    [row.served < before.served, "I6: the served mark fell"],
    [row.served > row.requested, "I6: more is served than was asked for"],
    [row.due_at === null, "I6: the row is due never"],
    [askedAt > (row.current_as_of ?? 0), "I6: a request is served by an earlier listing"],
    [isTokenDropped && !watched.isTokenDead, "I5: a living token was dropped"],
  ];
  return rules.filter(([isBroken]) => isBroken).map(([, what]) => what);
}

function judgeCopy(watched: Watched, row: WatchedRow, copy: Versions): string[] {
  const isMoved = watched.row?.generation !== row.generation;
  if (!isMoved && JSON.stringify([...copy]) !== watched.copy) {
    return ["I4: the copy changed, its generation did not"];
  }
  if (row.generation === 0) {
    return copy.size > 0 ? ["I4: a copy never published is seen"] : [];
  }
  return judgeEvents(copy, momentsSince(watched, row.current_as_of ?? 0));
}

/** Id and version of each event. Of a cancelled exception a delta may tell less than a full list. */
function versionsOf(events: readonly GoogleEvent[]): Versions {
  const versions = events.map(
    ({ id, status, etag }) => [id, status === "cancelled" ? status : String(etag)] as const,
  );
  return new Map(versions.toSorted(([a], [b]) => (a < b ? -1 : 1)));
}

function googleHas(world: SyncWorld, googleId: string): Versions {
  const calendar = world.simulator.world.calendars.get(googleId);
  if (calendar === undefined) throw new Error(`Google has no ${googleId}`);
  return versionsOf(consultOracle(calendar, world.store.now()).current as GoogleEvent[]);
}

/** Everything that was Google's state at that moment or later. */
function momentsSince({ past }: Watched, fromMs: number): readonly Versions[] {
  const current = past.findLastIndex(({ atMs }) => atMs <= fromMs);
  return past.slice(Math.max(0, current)).map(({ events }) => events);
}

function judgeEvents(copy: Versions, moments: readonly Versions[]): string[] {
  const [first, ...later] = moments;
  const missing = [...(first?.keys() ?? [])].filter(
    (id) => !copy.has(id) && later.every((events) => events.has(id)),
  );
  const wrong = [...copy].filter(
    ([id, version]) => !moments.some((events) => events.get(id) === version),
  );
  return [
    ...missing.map((id) => `I4: the copy lacks ${id}`),
    ...wrong.map(([id]) => `I4: the copy holds ${id} in a version of another time`),
  ];
}
