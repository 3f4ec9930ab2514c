import type { IncomingMessage, ServerResponse } from "node:http";
import type { Clock } from "../core/clock.ts";
import { createAccessTokens } from "./access-tokens.ts";
import { createChangeGenerator } from "./change-generator.ts";
import type { ChangeGenerator } from "./change-generator.ts";
import { createChannels } from "./channels.ts";
import type { Channel, Channels } from "./channels.ts";
import { createConsent } from "./consent.ts";
import { createControl } from "./control.ts";
import { openExchange } from "./exchange.ts";
import type { Exchange } from "./exchange.ts";
import type { FaultScript } from "./fault-script.ts";
import { createFaults } from "./faults.ts";
import type { FaultTarget, Faults } from "./faults.ts";
import { createRevokeEndpoint, createTokenEndpoint } from "./oauth.ts";
import type { OAuthClient, ServiceAccount } from "./oauth.ts";
import { createPushDelivery } from "./push-delivery.ts";
import type { PushCounters, PushDelivery, PushOptions } from "./push-delivery.ts";
import { UNLIMITED, createQuota } from "./quota.ts";
import type { Quota, QuotaLimits } from "./quota.ts";
import { checksum, createRandom } from "./random.ts";
import type { Random } from "./random.ts";
import { createRequestLog } from "./request-log.ts";
import type { Counters, RequestLog } from "./request-log.ts";
import { createOperations } from "./run-operation.ts";
import { seedFromCalendars, seedGenerated } from "./seed-world.ts";
import type { GeneratedSeed, SeedCalendars } from "./seed-world.ts";
import { createApiHandler } from "./serve-api.ts";
import { createOAuthHandlers } from "./serve-oauth.ts";
import { readState, restoreState, writeState } from "./state-file.ts";
import { createWorld } from "./world.ts";
import type { World } from "./world.ts";

/** What a simulator is like. Everything has a default that suits an in-process test. */
export interface SimulatorOptions {
  /** Where it listens; by default any free port on loopback. */
  readonly host?: string;
  readonly port?: number;
  /** Whatever is random follows from this; the same seed gives the same world, ids and faults. */
  readonly seed?: string | number;
  /** Made-up accounts with calendars and events. */
  readonly generate?: GeneratedSeed;
  /** Calendars of a seed file, dealt out over so many accounts. */
  readonly calendars?: { readonly accounts: number; readonly calendars: SeedCalendars };
  /** Google's limits; none unless given. */
  readonly limits?: Partial<QuotaLimits>;
  readonly faults?: FaultScript;
  readonly push?: Partial<PushOptions>;
  readonly accessTokenLifetimeSeconds?: number;
  readonly syncTokenLifetimeMs?: number;
  /** OAuth clients it knows; by default any, all of one project. */
  readonly clients?: readonly OAuthClient[];
  readonly serviceAccounts?: readonly ServiceAccount[];
  /** Carry on from this file, and write it on `save` and `close`. */
  readonly stateFile?: string;
  /** How many finished requests the log keeps for reading; the counters always cover all. */
  readonly keepRequests?: number;
  /** Keep every version of every event, for the oracle. Default true. */
  readonly keepsHistory?: boolean;
}

/** All figures of a simulator. */
export interface SimulatorCounters extends Counters {
  /** The longest this process's event loop stood still: a run in which it exceeds the transit bound judges nothing. */
  readonly longestStallMs: number;
  readonly internalErrors: number;
  readonly push: PushCounters;
  readonly changes: Readonly<Record<string, number>>;
}

/** What the assembly needs to know of the server it will run in. */
export interface ServerPlace {
  rootUrl: string;
  longestStallMs: () => number;
  resetStall: () => void;
}

/** A simulator without its HTTP server. */
export interface SimulatorParts {
  readonly world: World;
  readonly changes: ChangeGenerator;
  readonly faults: Faults;
  readonly quota: Quota;
  readonly log: RequestLog;
  readonly channels: Channels;
  readonly push: PushDelivery;
  readonly handle: (request: IncomingMessage, response: ServerResponse) => void;
  counters(): SimulatorCounters;
  resetCounters(): void;
  save(): Promise<void>;
}

/** The project whose quota requests count against, unless a client or service account names its own. */
const PROJECT = "123456789012";
const MONTH_MS = 30 * 86_400_000;

/** Build every part and connect them. */
export async function assembleSimulator(
  options: SimulatorOptions,
  deps: { readonly clock: Clock; readonly place: ServerPlace },
): Promise<SimulatorParts> {
  const { clock, place } = deps;
  const random = createRandom(options.seed ?? "ballast");
  const stored = options.stateFile === undefined ? undefined : await readState(options.stateFile);
  const secret = stored?.secret ?? checksum("world", String(options.seed ?? "ballast"));
  const world = createWorld({ secret, keepsHistory: options.keepsHistory ?? true }, { clock });
  const faults = createFaults(
    { script: options.faults },
    { random: random.fork("faults"), nowMs: world.nowMs },
  );
  const quota = createQuota({ ...UNLIMITED, ...options.limits });
  const log = createRequestLog({
    keep: options.keepRequests ?? 100_000,
    windowSeconds: () => quota.limits().windowSeconds,
  });
  const push = createPushDelivery(
    { delayMs: 0, retryDelayMs: 500, maxRetries: 5, timeoutMs: 10_000, ...options.push },
    {
      clock,
      random: random.fork("push"),
      planFault: (channel) => faults.plan(deliveryOf(channel, world)),
    },
  );
  const channels = createChannels({
    world,
    rootUrl: () => place.rootUrl,
    announce: (channel) => push.notify(channel, "sync"),
  });
  if (stored) restoreState(stored, world, channels.all);
  else seedWorld(world, options, random);
  notifyOfChanges(world, channels, push);
  let internalErrors = 0;
  const onInternalError = (): void => {
    internalErrors += 1;
  };
  const changes = createChangeGenerator({
    world,
    clock,
    random: random.fork("changes"),
    onError: onInternalError,
  });
  const counters = (): SimulatorCounters => ({
    ...log.counters(),
    longestStallMs: place.longestStallMs(),
    internalErrors,
    push: push.counters(),
    changes: changes.made(),
  });
  const resetCounters = (): void => {
    log.reset();
    place.resetStall();
  };
  const save = createSave(options.stateFile, { world, channels });
  const parts = { world, changes, faults, quota, log, channels, push };
  const handle = createHandler(options, {
    ...parts,
    onInternalError,
    control: createControl({ ...parts, counters, resetCounters, save }),
  });
  return { ...parts, handle, counters, resetCounters, save };
}

type Handling = Pick<SimulatorParts, "world" | "faults" | "quota" | "log" | "channels"> & {
  readonly onInternalError: (error: unknown) => void;
  readonly control: (exchange: Exchange) => void;
};

function createHandler(options: SimulatorOptions, deps: Handling): SimulatorParts["handle"] {
  const { world, log, faults } = deps;
  const tokens = createAccessTokens(
    { lifetimeSeconds: options.accessTokenLifetimeSeconds ?? 3599 },
    { world },
  );
  const context = { world, syncTokenLifetimeMs: options.syncTokenLifetimeMs ?? MONTH_MS };
  const api = createApiHandler(
    { project: PROJECT },
    { ...deps, tokens, run: createOperations(context, deps) },
  );
  const consent = createConsent({ world });
  const answerToken = createTokenEndpoint(
    {
      clients: options.clients,
      serviceAccounts: options.serviceAccounts ?? [],
      project: PROJECT,
    },
    { world, tokens, codes: consent },
  );
  const answerRevoke = createRevokeEndpoint({ world, tokens, codes: consent });
  const oauth = createOAuthHandlers(
    { project: PROJECT },
    { world, answerToken, answerRevoke, consent, faults, log },
  );
  return (request, response) => {
    const exchange = openExchange(request, response);
    response.on("error", ignoreBrokenConnection);
    if (exchange.path.startsWith("/_control/")) deps.control(exchange);
    else if (exchange.path === "/token" && request.method === "POST") oauth.token(exchange);
    else if (exchange.path === "/revoke" && request.method === "POST") oauth.revoke(exchange);
    else if (exchange.path === "/o/oauth2/v2/auth") oauth.consent(exchange);
    else api(exchange);
  };
}

/** One save after the other: two at once would write into the same file. */
function createSave(
  stateFile: string | undefined,
  { world, channels }: Pick<SimulatorParts, "world" | "channels">,
): () => Promise<void> {
  let saved = Promise.resolve();
  return () => {
    if (stateFile === undefined) return saved;
    const next = saved.then(() => writeState(stateFile, world, channels.all));
    saved = next.catch(ignoreFailedSave);
    return next;
  };
}

/** Whoever asked for the save is told; the next one is tried all the same. */
function ignoreFailedSave(): void {
  // Nothing to do.
}

/** A client that hangs up is its own business. */
function ignoreBrokenConnection(): void {
  // Nothing to do: the log already holds what became of the request.
}

function seedWorld(world: World, options: SimulatorOptions, random: Random): void {
  if (options.calendars) {
    seedFromCalendars(world, options.calendars.calendars, options.calendars);
  }
  if (options.generate) seedGenerated(world, options.generate, random.fork("seed"));
}

function notifyOfChanges(world: World, channels: Channels, push: PushDelivery): void {
  world.onChange((calendar, event) => {
    // Access alone is no change of events; a calendar that is gone is.
    if (event === undefined && !calendar.isDeleted) return;
    for (const channel of channels.of(calendar.id)) {
      if (channel.expirationMs > world.nowMs())
        push.notify(channel, event ? "exists" : "not_exists");
      else channels.all.delete(channel.id);
    }
  });
}

function deliveryOf(channel: Channel, world: World): FaultTarget {
  return {
    operation: "push.deliver",
    account: channel.accountEmail,
    calendar: channel.calendarId,
    project: PROJECT,
    quotaUser: "",
    atMs: world.nowMs(),
    hasSyncToken: false,
  };
}
