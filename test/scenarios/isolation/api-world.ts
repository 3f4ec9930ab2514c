/**
 * The HTTP API over a database of three tenants, each with an account, a calendar that is published and one that is
 * not. Everything of a tenant holds a word of its own, so that it is noticed wherever it turns up.
 */
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import type { CalendarReader } from "../../../src/core/calendar-reads.ts";
import { epochMs, systemClock, type EpochMs } from "../../../src/core/clock.ts";
import {
  accountName,
  projectId,
  tenantId,
  type AccountId,
  type CalendarId,
} from "../../../src/core/ids.ts";
import { makeApiToken } from "../../../src/core/token-store.ts";
import { createPushTokens } from "../../../src/google/push-token.ts";
import {
  createHttpServer,
  type HttpServer,
  type HttpServerDeps,
} from "../../../src/http/create-http-server.ts";
import { createKnownChannels } from "../../../src/http/known-channels.ts";
import { createNotificationRecorder } from "../../../src/http/record-notifications.ts";
import { createRequestRecorder } from "../../../src/http/record-requests.ts";
import { createCalendarReader } from "../../../src/read/calendar-reader.ts";
import { openStore, type Store } from "../../../src/store/open-store.ts";
import { createVault } from "../../../src/store/vault.ts";

const LEASE_MS = 600_000;
const HOUR_MS = 3_600_000;
/** So that nothing is refused for being asked often. */
const PLENTY = { token: 1e9, tenant: 1e9, consumer: 1e9 };

/** A tenant, and how others would name what it has. */
export interface Inhabitant {
  readonly tenant: string;
  readonly account: AccountId;
  readonly accountName: string;
  readonly calendars: readonly CalendarId[];
  readonly googleIds: readonly string[];
  /** In every text that is its own. */
  readonly word: string;
}

export interface ApiWorld {
  readonly store: Store;
  readonly server: HttpServer;
  readonly databaseUrl: string;
  /** Requests that wait for changes now. */
  waitingForChanges(): number;
  readonly inhabitants: readonly [Inhabitant, Inhabitant, Inhabitant];
  /** Changes with each transaction that somebody commits. */
  dataVersion(): number;
  /** A new token of a tenant's with these scopes. */
  tokenOf(tenant: string, scopes: readonly string[]): Promise<string>;
  /** What `POST /google/notifications` takes for ours. */
  pushTokenOf(channelId: string): string;
  close(): Promise<void>;
}

/** Operators' tokens by their scopes. */
export const OPERATORS = {
  all: "operator-all",
  read: "operator-read",
  refresh: "operator-refresh",
  operate: "operator-operate",
} as const;

/** Open the world. `wrapReader`: in place of the reader, for a control that must be noticed. */
export async function openApiWorld(
  changes: {
    readonly wrapReader?: (reader: CalendarReader) => CalendarReader;
    readonly deps?: (deps: HttpServerDeps) => HttpServerDeps;
    readonly limits?: typeof PLENTY;
    /** Reads that are too old for a question ask for a refresh, and wait for it. */
    readonly refreshes?: true;
  } = {},
): Promise<ApiWorld> {
  const directory = await mkdtemp(join(tmpdir(), "ballast-api-"));
  const file = join(directory, "b.db");
  const vault = createVault([{ id: "test", key: new Uint8Array(32).fill(7) }]);
  const store = await openStore(
    { url: `sqlite:${file}`, mirror: "full", migrateWhenEmpty: true },
    { clock: systemClock, vault },
  );
  const inhabitants = [
    await settleTenant(store, "acme"),
    await settleTenant(store, "globex"),
    await settleTenant(store, "initech"),
  ] as const;
  const pushTokens = createPushTokens(vault.deriveKeys("test"));
  const requests = createRequestRecorder({ calendars: store.calendars, clock: systemClock });
  const { deps, close } = depsOf(store, { requests, pushTokens });
  let waitingForChanges = 0;
  const onChangeWaits = (waiting: number): void => {
    waitingForChanges = waiting;
  };
  const reader = changes.refreshes ? refreshingReader(store) : deps.reader;
  const wrapped = {
    ...deps,
    onChangeWaits,
    reader: changes.wrapReader?.(reader) ?? reader,
  };
  const server = await createHttpServer(
    {
      host: "127.0.0.1",
      port: 0,
      tokens: operatorTokens(),
      limits: changes.limits ?? PLENTY,
      closeWithinMs: 1_000,
    },
    changes.deps?.(wrapped) ?? wrapped,
  );
  const beside = new DatabaseSync(file);
  const dataVersion = beside.prepare("pragma data_version");
  return {
    store,
    server,
    databaseUrl: `sqlite:${file}`,
    waitingForChanges: () => waitingForChanges,
    inhabitants,
    dataVersion: () => Number(dataVersion.get()?.["data_version"]),
    async tokenOf(tenant, scopes) {
      const now = systemClock.now();
      const { id, token, sha256 } = makeApiToken(now);
      const row = { id, sha256, name: "booking-api", scopes, tenantId: tenantId(tenant) };
      await store.tokens.create(row, { actor: "olga", now });
      return token;
    },
    pushTokenOf: (channelId) => pushTokens.tokenOf(channelId),
    async close() {
      await close();
      await server.close();
      beside.close();
      await store.close();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

function refreshingReader(store: Store): CalendarReader {
  return createCalendarReader({
    events: store.events,
    clock: systemClock,
    requestRefresh: (id) =>
      store.calendars.request(id, { class: "interactive", dueAt: systemClock.now() }),
  });
}

function operatorTokens(): { name: string; scopes: string[]; sha256: string }[] {
  return Object.entries(OPERATORS).map(([name, token]) => ({
    name,
    scopes: name === "all" ? ["read", "refresh", "operate"] : [name],
    sha256: createHash("sha256").update(token).digest("hex"),
  }));
}

function depsOf(
  store: Store,
  parts: {
    readonly requests: ReturnType<typeof createRequestRecorder>;
    readonly pushTokens: ReturnType<typeof createPushTokens>;
  },
): { readonly deps: HttpServerDeps; readonly close: () => Promise<void> } {
  const clock = systemClock;
  const notifications = createNotificationRecorder(
    {
      gatherMs: 1,
      keepWithinMs: 60_000,
      batchLimit: 1_000,
      putOffEveryMs: 250,
      debounce: { quietMs: 2_000, mostMs: 10_000 },
    },
    { channels: store.channels, clock, onError: () => undefined },
  );
  const logger: HttpServerDeps["logger"] = { log: () => undefined, with: () => logger };
  const deps: HttpServerDeps = {
    ...store,
    clock,
    logger,
    recorder: parts.requests,
    reader: createCalendarReader({ events: store.events, clock }),
    projectId: projectId("default"),
    consent: { authUrl: "https://accounts.example/auth", clientId: "client" },
    allowPrivateWebhooks: false,
    readQuota: () => Promise.resolve(noQuota(clock.now())),
    readiness: () => Promise.resolve([]),
    status: () => Promise.reject(new Error("not asked here")),
    metrics: { contentType: "text/plain", render: () => Promise.resolve("") },
    notifications: {
      isOurs: (channelId, token) => parts.pushTokens.isOurs(channelId, token),
      channels: createKnownChannels(
        { keptForMs: 60_000, limit: 10_000 },
        { channels: store.channels, clock },
      ),
      recorder: notifications,
      onNotification: () => undefined,
    },
  };
  return {
    deps,
    async close() {
      await parts.requests.close();
      await notifications.close();
    },
  };
}

function noQuota(at: EpochMs): Awaited<ReturnType<HttpServerDeps["readQuota"]>> {
  const window = { limit: 10, used: 3, left: 7 };
  const day = { ...window, startedAt: at, endsAt: at, perMinute: 0.5, forecast: 4 };
  const spender = { tenantId: "globex", consumer: "c", class: "poll", attempt: "first" };
  return {
    at,
    source: "ledger",
    minute: window,
    day: { ...day, exhaustedAt: undefined },
    retryTokens: 9.5,
    retryShare: undefined,
    since: at,
    spenders: [{ ...spender, requests: 3 }],
    unsuccessful: [{ ...spender, outcome: "refused", reason: "paused", requests: 1 }],
  };
}

/** A tenant with an account and a calendar for each of these names; all but `never` are published. */
export async function settleTenant(
  store: Store,
  tenant: string,
  names: readonly string[] = ["published", "never"],
): Promise<Inhabitant> {
  const word = `word-of-${tenant}`;
  const now = systemClock.now();
  const account = await store.accounts.connect({
    projectId: projectId("default"),
    tenantId: tenantId(tenant),
    name: accountName(`${word}-account`),
    quotaUser: undefined,
    refreshToken: `${word}-refresh-token`,
    scopes: [],
    now,
  });
  const googleIds = names.map((which) => `${word}-${which}@example.test`);
  await discover(store, account.id, googleIds);
  const rows = await store.calendars.list({ accountId: account.id, limit: 1_000 });
  const calendars = googleIds.map((id) => {
    const row = rows.find(({ googleId }) => googleId === id);
    if (row === undefined) throw new Error(`${id} was not discovered`);
    return row.id;
  });
  for (const [at, id] of calendars.entries()) {
    if (names[at] !== "never") await publishEvents(store, id, { word, version: 1 });
  }
  return { tenant, account: account.id, accountName: account.name, calendars, googleIds, word };
}

async function discover(store: Store, id: AccountId, googleIds: readonly string[]): Promise<void> {
  const now = systemClock.now();
  const until = epochMs(now + LEASE_MS);
  await store.accounts.requestDiscovery(id, now);
  const begun = await store.accounts.beginDiscovery(id, { now, until });
  if (begun.kind !== "begun") throw new Error(`Discovery did not begin: ${begun.kind}`);
  await store.accounts.applyDiscovery(begun.lease, {
    kind: "full",
    entries: googleIds.map((googleId) => ({
      googleId,
      summary: `title of ${googleId}`,
      timeZone: "Europe/Madrid",
      accessRole: "owner",
      isPrimary: false,
      isHidden: false,
      isDeleted: false,
    })),
    syncToken: "token",
    queryFingerprint: "query",
    served: begun.state.requested,
    nextDueAt: until,
    confirmAt: until,
    now,
  });
}

/** Publish a meeting and a daily series; another version is another generation. */
export async function publishEvents(
  store: Store,
  id: CalendarId,
  { word, version }: { readonly word: string; readonly version: number },
): Promise<void> {
  const now = systemClock.now();
  await store.calendars.request(id, { class: "poll", dueAt: now });
  const begun = await store.refreshes.begin(id, { now, until: epochMs(now + LEASE_MS) });
  if (begun.kind !== "begun") throw new Error(`The refresh did not begin: ${begun.kind}`);
  const start = Date.UTC(2026, 0, 5, 9);
  const at = (hours: number): { dateTime: string } => ({
    dateTime: new Date(start + hours * HOUR_MS).toISOString(),
  });
  const event = { status: "confirmed", summary: `meeting ${word} ${String(version)}` };
  await store.refreshes.publish(begun.lease, {
    kind: "full",
    isFirst: true,
    startedAt: now,
    items: [
      { ...event, id: "single", etag: `"${word}-${String(version)}"`, start: at(0), end: at(1) },
      {
        ...event,
        id: "series",
        etag: `"${word}-series"`,
        start: at(3),
        end: at(4),
        recurrence: ["RRULE:FREQ=DAILY"],
      },
    ],
    syncToken: "token",
    queryFingerprint: "query",
    timeZone: "Europe/Madrid",
    accessRole: "owner",
    served: begun.state.requested,
    nextPoll: { dueAt: epochMs(now + 24 * HOUR_MS), reason: "poll" },
    now,
  });
}
