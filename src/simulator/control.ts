import { z } from "zod";
import { changeAcl } from "./change-generator.ts";
import type { ChangeGenerator } from "./change-generator.ts";
import { CHANGE_KINDS } from "./change-generator.ts";
import type { Channels } from "./channels.ts";
import { readText, send } from "./exchange.ts";
import type { Exchange } from "./exchange.ts";
import type { Faults } from "./faults.ts";
import { consultOracle } from "./oracle.ts";
import type { Quota } from "./quota.ts";
import { createRandom } from "./random.ts";
import type { RequestLog } from "./request-log.ts";
import { seedFromCalendars, seedGenerated } from "./seed-world.ts";
import type { Account, Calendar, World } from "./world.ts";

/** What the control routes steer. */
export interface ControlDeps {
  readonly world: World;
  readonly changes: ChangeGenerator;
  readonly faults: Faults;
  readonly quota: Quota;
  readonly log: RequestLog;
  readonly channels: Channels;
  readonly counters: () => object;
  readonly resetCounters: () => void;
  readonly save: () => Promise<void>;
}

/** A control request, read. */
export interface ControlRequest {
  readonly query: URLSearchParams;
  readonly body: unknown;
}

type ControlHandler = (request: ControlRequest) => unknown;

/** A control request that cannot be done; its message is the answer. */
class ControlRefused extends Error {
  override readonly name = "ControlRefused";
}

const role = z.enum(["none", "freeBusyReader", "reader", "writer", "owner"]);
const mix = z.partialRecord(z.enum(CHANGE_KINDS), z.number().min(0));
const bodies = {
  changes: z.strictObject({
    count: z.number().int().min(0).max(1_000_000).optional(),
    perSecond: z.number().min(0).max(10_000).optional(),
    mix: mix.optional(),
    calendars: z.array(z.string()).optional(),
  }),
  expire: z.strictObject({ calendar: z.string().optional(), account: z.string().optional() }),
  acl: z.strictObject({
    calendar: z.string(),
    account: z.string().optional(),
    role: role.optional(),
  }),
  calendar: z.strictObject({
    id: z.string().min(1),
    owner: z.string().optional(),
    summary: z.string().optional(),
    timeZone: z.string().optional(),
    isWatchable: z.boolean().optional(),
    tokenLifetimeMs: z.number().positive().optional(),
    isDeleted: z.boolean().optional(),
  }),
  listed: z.strictObject({ calendar: z.string(), account: z.string(), hidden: z.boolean() }),
  account: z.strictObject({
    account: z.string(),
    isRevoked: z.boolean().optional(),
    expireAccessTokens: z.boolean().optional(),
  }),
  seed: z.union([
    z.strictObject({ accounts: z.number().int().min(1), calendars: z.array(z.unknown()) }),
    z.strictObject({
      accounts: z.number().int().min(1),
      calendars: z.number().int().min(0),
      events: z.number().int().min(0),
      seed: z.union([z.string(), z.number()]).optional(),
    }),
  ]),
  limits: z.strictObject({
    projectPerWindow: z.number().int().positive().nullable().optional(),
    userPerWindow: z.number().int().positive().nullable().optional(),
    perDay: z.number().int().positive().nullable().optional(),
    windowSeconds: z.number().positive().optional(),
    weights: z.record(z.string(), z.number().positive()).optional(),
    countsRejected: z.boolean().optional(),
    rejectionStatus: z.union([z.literal(403), z.literal(429)]).optional(),
    userReason: z.enum(["rateLimitExceeded", "userRateLimitExceeded"]).optional(),
  }),
};

/** Create the handler of everything under `/_control`: JSON in, JSON out, nothing of Google's. */
export function createControl(deps: ControlDeps): (exchange: Exchange) => void {
  const handlers: Record<string, ControlHandler | undefined> = {
    ...readingHandlers(deps),
    ...changingHandlers(deps),
    ...accessHandlers(deps),
  };
  return (exchange) => {
    const handler = handlers[`${exchange.request.method ?? ""} ${exchange.path}`];
    if (!handler) {
      exchange.request.resume();
      reply(exchange, 404, {
        error: `No such control route. Known: ${Object.keys(handlers).join(", ")}`,
      });
      return;
    }
    readText(exchange.request, (text) => {
      run(handler, exchange, text ?? "")
        .then((result) => reply(exchange, 200, result ?? {}))
        .catch((error: unknown) => reply(exchange, 400, { error: messageOf(error) }));
    });
  };
}

async function run(handler: ControlHandler, exchange: Exchange, text: string): Promise<unknown> {
  const body: unknown = text === "" ? {} : JSON.parse(text);
  return await handler({ query: exchange.query, body });
}

function readingHandlers(deps: ControlDeps): Record<string, ControlHandler> {
  const { world, log } = deps;
  return {
    "GET /_control/counters": () => deps.counters(),
    "POST /_control/counters/reset": () => deps.resetCounters(),
    "GET /_control/requests": ({ query }) => {
      const after = Number(query.get("after") ?? 0);
      const limit = Math.min(Number(query.get("limit") ?? 1000), 10_000);
      const requests = log.after(after, limit);
      return { requests, next: requests.at(-1)?.sequence ?? after, hash: log.hash() };
    },
    "GET /_control/oracle": ({ query }) =>
      consultOracle(needCalendar(world, query.get("calendar") ?? ""), world.nowMs()),
    "GET /_control/accounts": () => ({ accounts: [...world.accounts.values()].map(describe) }),
    "GET /_control/calendars": () => ({
      calendars: [...world.calendars.values()].map((calendar) => ({
        id: calendar.id,
        owner: calendar.ownerEmail,
        access: Object.fromEntries(calendar.acl),
        revision: calendar.events.revision(),
        events: calendar.events.items.length,
        isDeleted: calendar.isDeleted,
      })),
    }),
    "GET /_control/channels": () => ({ channels: [...deps.channels.all.values()] }),
    "GET /_control/faults": () => ({ faults: deps.faults.report() }),
    "GET /_control/limits": () => deps.quota.limits(),
  };
}

function changingHandlers(deps: ControlDeps): Record<string, ControlHandler> {
  const { world, changes } = deps;
  return {
    "POST /_control/faults": ({ body }) => {
      deps.faults.install(body);
      return { faults: deps.faults.report() };
    },
    "DELETE /_control/faults": () => deps.faults.install({ faults: [] }),
    "POST /_control/changes": ({ body }) => {
      const { count, perSecond, ...plan } = bodies.changes.parse(body);
      const chosen = {
        ...(plan.mix ? { mix: plan.mix } : {}),
        ...(plan.calendars ? { calendars: plan.calendars } : {}),
      };
      if (perSecond !== undefined) changes.start(perSecond, chosen);
      return { applied: changes.apply(count ?? 0, chosen), made: changes.made() };
    },
    "GET /_control/changes": () => ({ made: changes.made() }),
    "DELETE /_control/changes": async () => {
      await changes.stop();
      return { made: changes.made() };
    },
    "POST /_control/seed": ({ body }) => {
      const seed = bodies.seed.parse(body);
      if ("events" in seed) seedGenerated(world, seed, createRandom(seed.seed ?? "control"));
      else seedFromCalendars(world, seed.calendars, { accounts: seed.accounts });
      return { accounts: world.accounts.size, calendars: world.calendars.size };
    },
    "POST /_control/limits": ({ body }) => {
      const limits = bodies.limits.parse(body);
      deps.quota.setLimits(
        Object.fromEntries(
          Object.entries(limits).map(([name, value]) => [name, value ?? undefined]),
        ),
      );
      return deps.quota.limits();
    },
    // A channel that dies without a word, as Google's sometimes do.
    "DELETE /_control/channels": ({ query }) => ({
      isDropped: deps.channels.all.delete(query.get("id") ?? ""),
    }),
    "POST /_control/state/save": () => deps.save(),
  };
}

function accessHandlers({ world }: ControlDeps): Record<string, ControlHandler> {
  return {
    "POST /_control/sync-tokens/expire": ({ body }) => {
      const { calendar, account } = bodies.expire.parse(body);
      if (account !== undefined) needAccount(world, account).listTokenEpoch += 1;
      const expired =
        calendar === undefined
          ? account === undefined
            ? [...world.calendars.values()]
            : []
          : [needCalendar(world, calendar)];
      for (const one of expired) one.tokenEpoch += 1;
      return { calendars: expired.length };
    },
    "POST /_control/acl-change": ({ body }) => {
      const { calendar, account, role: given } = bodies.acl.parse(body);
      const found = needCalendar(world, calendar);
      if (account === undefined) changeAcl(world, found);
      else
        changeAcl(world, found, {
          email: needAccount(world, account).email,
          role: given ?? "reader",
        });
      return { access: Object.fromEntries(found.acl) };
    },
    "POST /_control/calendars": ({ body }) => putCalendar(world, bodies.calendar.parse(body)),
    "POST /_control/calendar-list": ({ body }) => {
      const { calendar, account, hidden } = bodies.listed.parse(body);
      const owner = needAccount(world, account);
      const listed = owner.listedById.get(calendar);
      if (!listed) throw new ControlRefused(`${account} does not list ${calendar}`);
      listed.own = { ...listed.own, hidden };
      world.touchListed(owner, listed);
      return listed;
    },
    "POST /_control/accounts": ({ body }) => {
      const { account, isRevoked, expireAccessTokens } = bodies.account.parse(body);
      const found = needAccount(world, account);
      if (isRevoked !== undefined) found.isRevoked = isRevoked;
      if (expireAccessTokens === true) found.tokensDeadBeforeMs = world.nowMs() + 1;
      return { account: found.email, isRevoked: found.isRevoked };
    },
  };
}

function describe(account: Account): object {
  const { email, sub, refreshToken, isRevoked } = account;
  return { email, sub, refreshToken, isRevoked };
}

function putCalendar(
  world: World,
  { isDeleted, owner, ...fields }: z.output<typeof bodies.calendar>,
): { readonly id: string; readonly isDeleted: boolean } {
  const known = world.calendars.get(fields.id);
  if (!known && owner === undefined) throw new ControlRefused("A new calendar needs an owner");
  const calendar =
    known ??
    world.addCalendar({
      id: fields.id,
      summary: fields.id,
      timeZone: "UTC",
      ownerEmail: needAccount(world, owner ?? "").email,
    });
  const given = Object.entries(fields).filter(([, value]) => value !== undefined);
  Object.assign(calendar, Object.fromEntries(given));
  if (isDeleted === true && !calendar.isDeleted) deleteCalendar(world, calendar);
  return { id: calendar.id, isDeleted: calendar.isDeleted };
}

function deleteCalendar(world: World, calendar: Calendar): void {
  calendar.isDeleted = true;
  for (const email of calendar.acl.keys()) world.setAccess(calendar, email, "none");
}

function needCalendar(world: World, id: string): Calendar {
  const calendar = world.calendars.get(id);
  if (!calendar) throw new ControlRefused(`No calendar ${id}; GET /_control/calendars lists them`);
  return calendar;
}

function needAccount(world: World, email: string): Account {
  const account = world.accounts.get(email);
  if (!account) throw new ControlRefused(`No account ${email}; GET /_control/accounts lists them`);
  return account;
}

function reply({ response }: Exchange, status: number, body: unknown): void {
  send(response, { status, body: JSON.stringify(body) });
}

function messageOf(error: unknown): string {
  if (error instanceof z.ZodError) return z.prettifyError(error);
  return error instanceof Error ? error.message : String(error);
}
