import { open, readFile, rename } from "node:fs/promises";
import { z } from "zod";
import { createChangeLog } from "./change-log.ts";
import type { Channel } from "./channels.ts";
import type { EventResource } from "./wire-resources.ts";
import { currentVersion, emptyAccount, indexException } from "./world.ts";
import type { Account, Calendar, EventHistory, ListedCalendar, World } from "./world.ts";

const role = z.enum(["none", "freeBusyReader", "reader", "writer", "owner"]);
const resource = z.custom<EventResource>((value) => typeof value === "object" && value !== null);
const state = z.object({
  format: z.literal(1),
  secret: z.string(),
  refreshTokens: z.array(z.tuple([z.string(), z.string()])),
  accounts: z.array(
    z.object({
      email: z.string(),
      sub: z.string(),
      refreshToken: z.string(),
      isRevoked: z.boolean(),
      tokensDeadBeforeMs: z.number(),
      listTokenEpoch: z.number(),
      changes: z.array(z.number()),
      list: z.array(
        z.object({
          calendarId: z.string(),
          ordinal: z.number(),
          own: z.record(z.string(), z.union([z.string(), z.boolean()])),
          isDeleted: z.boolean(),
          revision: z.number(),
        }),
      ),
    }),
  ),
  calendars: z.array(
    z.object({
      id: z.string(),
      summary: z.string(),
      description: z.string().optional(),
      timeZone: z.string(),
      ownerEmail: z.string(),
      isWatchable: z.boolean(),
      isDeleted: z.boolean(),
      tokenEpoch: z.number(),
      tokenLifetimeMs: z.number().optional(),
      acl: z.array(z.tuple([z.string(), role])),
      changes: z.array(z.number()),
      events: z.array(z.object({ resource, revision: z.number(), fromMs: z.number() })),
    }),
  ),
  channels: z.array(
    z.object({
      id: z.string(),
      resourceId: z.string(),
      resourceUri: z.string(),
      address: z.string(),
      token: z.string().optional(),
      expirationMs: z.number(),
      calendarId: z.string(),
      accountEmail: z.string(),
      messageNumber: z.number(),
    }),
  ),
});

/** A world at rest: everything that tokens and channels given out depend on. History is not kept, only what is current. */
export type StoredState = z.output<typeof state>;

/** Read a state file; undefined when there is none. Throws a readable error when it is not one. */
export async function readState(path: string): Promise<StoredState | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return state.parse(JSON.parse(text));
  } catch (error) {
    throw new Error(`${path} is not a simulator state file; move it away to start anew`, {
      cause: error,
    });
  }
}

/** Write a state file in one step: a crash leaves the old one. */
export async function writeState(
  path: string,
  world: World,
  channels: ReadonlyMap<string, Channel>,
): Promise<void> {
  const text = JSON.stringify(snapshot(world, channels));
  const file = await open(`${path}.next`, "w", 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.next`, path);
}

/** Fill an empty world, created with the stored secret, with what was stored. */
export function restoreState(
  stored: StoredState,
  world: World,
  channels: Map<string, Channel>,
): void {
  for (const account of stored.accounts) world.accounts.set(account.email, readAccount(account));
  for (const calendar of stored.calendars) world.calendars.set(calendar.id, readCalendar(calendar));
  for (const [token, email] of stored.refreshTokens) world.refreshTokens.set(token, email);
  for (const { token, ...channel } of stored.channels) {
    channels.set(channel.id, { ...channel, token });
  }
}

function snapshot(world: World, channels: ReadonlyMap<string, Channel>): StoredState {
  return {
    format: 1,
    secret: world.secret,
    refreshTokens: [...world.refreshTokens],
    accounts: [...world.accounts.values()].map(writeAccount),
    calendars: [...world.calendars.values()].map(writeCalendar),
    channels: [...channels.values()],
  };
}

function writeAccount(account: Account): StoredState["accounts"][number] {
  const { list, email, sub, refreshToken, isRevoked } = account;
  return {
    email,
    sub,
    refreshToken,
    isRevoked,
    tokensDeadBeforeMs: account.tokensDeadBeforeMs,
    listTokenEpoch: account.listTokenEpoch,
    changes: [...list.changes],
    list: list.items.map(writeListed),
  };
}

function writeListed(listed: ListedCalendar): StoredState["accounts"][number]["list"][number] {
  return { ...listed, own: ownOf(listed) };
}

function writeCalendar(calendar: Calendar): StoredState["calendars"][number] {
  const { acl, events, eventsById: _, exceptions: __, ...rest } = calendar;
  return {
    ...rest,
    acl: [...acl],
    changes: [...events.changes],
    events: events.items.map((event) => {
      const { resource: current, revision, fromMs } = currentVersion(event);
      return { resource: current, revision, fromMs };
    }),
  };
}

function ownOf(listed: ListedCalendar): Record<string, string | boolean> {
  const own: Record<string, string | boolean> = {};
  for (const [name, value] of Object.entries(listed.own)) {
    if (typeof value === "string" || typeof value === "boolean") own[name] = value;
  }
  return own;
}

function readAccount(stored: StoredState["accounts"][number]): Account {
  const { list, changes, ...rest } = stored;
  const items: ListedCalendar[] = [...list];
  return {
    ...emptyAccount(rest, rest.listTokenEpoch),
    ...rest,
    list: createChangeLog({ items, changes }),
    listedById: new Map(items.map((listed) => [listed.calendarId, listed])),
  };
}

function readCalendar(stored: StoredState["calendars"][number]): Calendar {
  const { acl, changes, events, description, tokenLifetimeMs, ...rest } = stored;
  const items: EventHistory[] = events.map((version, ordinal) => ({
    id: version.resource.id ?? "",
    ordinal,
    versions: [version],
  }));
  const calendar: Calendar = {
    ...rest,
    description,
    tokenLifetimeMs,
    acl: new Map(acl),
    events: createChangeLog({ items, changes }),
    eventsById: new Map(items.map((event) => [event.id, event])),
    exceptions: new Map(),
  };
  for (const event of items) indexException(calendar, event);
  return calendar;
}
