/**
 * Composition root of the commands that work beside a running service: they open the database, ask
 * and write, and close it. They start no worker, no server and no timer.
 */
import { randomBytes } from "node:crypto";
import { access, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { loadConfig, ConfigError, type Config } from "./config/config.ts";
import type { CalendarReader } from "./core/calendar-reads.ts";
import type { Clock } from "./core/clock.ts";
import type { QuotaStatus } from "./core/quota-status.ts";
import { makeDirectory } from "./embedded/make-directory.ts";
import { runChecks, type CheckPorts, type CheckResult } from "./operate/checks.ts";
import { createStatus, type Status } from "./operate/status.ts";
import { openRedis } from "./queue/redis-connection.ts";
import { createCalendarReader } from "./read/calendar-reader.ts";
import { createReadRecorder } from "./read/record-reads.ts";
import { addKey, loadOrCreateKeyFile, readKeysNow } from "./store/key-file.ts";
import type { Migrations } from "./store/migrations.ts";
import { openMigrations, openStore, type Store } from "./store/open-store.ts";
import { createVault, type Vault } from "./store/vault.ts";

const REDIS_TIMEOUT_MS = 4_000;

/** Open the database that the configuration names. Only `start` makes the schema of an empty one. */
export async function openAppStore(
  config: Config,
  deps: { readonly clock: Clock },
  options: { readonly migrateWhenEmpty: boolean } = { migrateWhenEmpty: false },
): Promise<Store> {
  if (options.migrateWhenEmpty && config.database.kind === "sqlite") {
    await makeDirectory(dirname(config.database.path));
  }
  return openStore(
    { url: databaseUrl(config), mirror: config.mirror, ...options },
    { clock: deps.clock, vault: await openVault(config) },
  );
}

async function openVault({ encryptionKeys, dataDirectory }: Config): Promise<Vault> {
  if (encryptionKeys !== undefined) return createVault(encryptionKeys);
  await makeDirectory(dataDirectory);
  const file = keyFileOf(dataDirectory);
  // `keys rotate` adds a key to the file while this process runs.
  return createVault(await loadOrCreateKeyFile(file), { reload: () => readKeysNow(file) });
}

function keyFileOf(dataDirectory: string): string {
  return join(dataDirectory, "keys");
}

/** A new key before those of the embedded mode's file; undefined where the environment says which keys there are. */
export async function addOwnKey({
  encryptionKeys,
  dataDirectory,
}: Config): Promise<string | undefined> {
  if (encryptionKeys !== undefined) return undefined;
  const { id } = await addKey(keyFileOf(dataDirectory));
  return id;
}

/**
 * Reads of the mirror over ranges of time; what is too old for a question is asked of a running worker. Which
 * calendars were read is noted, by `close` at the latest.
 */
export function createAppReader(
  store: Store,
  deps: { readonly clock: Clock; readonly onError?: (error: unknown) => void },
): CalendarReader & { close(): Promise<void> } {
  const { clock } = deps;
  const reads = createReadRecorder({
    polls: store.polls,
    clock,
    random: Math.random,
    // Not noted, a calendar is polled like one that nobody reads.
    onError: deps.onError ?? (() => undefined),
  });
  const reader = createCalendarReader({
    events: store.events,
    clock,
    requestRefresh: (id) =>
      store.calendars.request(id, { class: "interactive", dueAt: clock.now() }),
    noteReads: reads.note,
  });
  return { ...reader, close: () => reads.close() };
}

/** What `ballast migrate` works on: a database whatever its schema is. */
export function openAppMigrations(
  config: Config,
  deps: { readonly clock: Clock },
): Migrations & { close(): Promise<void> } {
  return openMigrations(databaseUrl(config), deps);
}

/** How the service is doing, as far as the database and `readQuota` (a running process) can say. */
export function readOperatorStatus(
  store: Store,
  deps: { readonly clock: Clock; readonly readQuota: () => Promise<QuotaStatus | undefined> },
): Promise<Status> {
  return createStatus({
    ...store,
    clock: deps.clock,
    readQuota: async () => (await deps.readQuota()) ?? "not-asked",
  })();
}

/** What `ballast doctor` runs, on the environment it is given. */
export function runDoctor(
  env: Readonly<Record<string, string | undefined>>,
  deps: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<readonly CheckResult[]> {
  const nodeVersion = process.version;
  try {
    const config = loadConfig(env);
    const configuration = { kind: "usable", warnings: config.warnings } as const;
    return runChecks({ nodeVersion, configuration, ...portsOf(config, deps.clock) }, deps);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const configuration = { kind: "unusable", problems: error.problems } as const;
    return runChecks({ nodeVersion, configuration, ...UNREACHABLE }, deps);
  }
}

type AskingPorts = Omit<CheckPorts, "nodeVersion" | "configuration">;

const cannotBeAsked = (): Promise<never> =>
  Promise.reject(new Error("the configuration does not say where it is"));
const UNREACHABLE: AskingPorts = {
  readSchema: cannotBeAsked,
  readRedis: cannotBeAsked,
  askTokenEndpoint: cannotBeAsked,
  tryDataDirectory: cannotBeAsked,
  readKeys: cannotBeAsked,
};

function portsOf(config: Config, clock: Clock): AskingPorts {
  return {
    readSchema: () => readSchema(config, clock),
    readRedis: async (signal) =>
      config.redisUrl === undefined ? "none" : askRedis(config.redisUrl, signal),
    askTokenEndpoint: async (signal) =>
      config.google.client === undefined
        ? "none"
        : askTokenEndpoint(config.google.oauthTokenUrl, { clock, signal }),
    tryDataDirectory: () => tryDataDirectory(config.dataDirectory),
    readKeys: () => readKeys(config, clock),
  };
}

async function readSchema(
  config: Config,
  clock: Clock,
): Promise<Awaited<ReturnType<CheckPorts["readSchema"]>>> {
  if (config.database.kind === "sqlite" && !(await exists(config.database.path))) return "absent";
  const migrations = openMigrations(databaseUrl(config), { clock });
  try {
    return await migrations.status();
  } finally {
    await migrations.close();
  }
}

async function readKeys(
  config: Config,
  clock: Clock,
): Promise<Awaited<ReturnType<CheckPorts["readKeys"]>>> {
  const schema = await readSchema(config, clock);
  if (schema === "absent" || schema.version < schema.supported.from) return "none";
  const store = await openAppStore(config, { clock });
  try {
    const usage = await store.keyRotation.usage();
    return { current: store.vault.currentKeyId, configured: store.vault.keyIds, usage };
  } finally {
    await store.close();
  }
}

/** Which Redis answers under an address; rejects with the reason when none does. */
export async function askRedis(
  address: string,
  signal: AbortSignal,
): Promise<{ readonly version: string; readonly evictionPolicy: string }> {
  let trouble: Error | undefined;
  const redis = openRedis(address, { maxRetriesPerRequest: 0 }, (error) => {
    trouble = error;
  });
  const patience = AbortSignal.any([signal, AbortSignal.timeout(REDIS_TIMEOUT_MS)]);
  const hangUp = (): void => redis.disconnect();
  patience.addEventListener("abort", hangUp, { once: true });
  try {
    const info = await redis.info();
    return {
      version: /^redis_version:(\S+)/m.exec(info)?.[1] ?? "0",
      evictionPolicy: /^maxmemory_policy:(\S+)/m.exec(info)?.[1] ?? "unknown",
    };
  } catch (error) {
    // ioredis rejects with "max retries"; why the connection failed went to the listener.
    throw trouble ?? error;
  } finally {
    patience.removeEventListener("abort", hangUp);
    redis.disconnect();
  }
}

/** A GET, which the endpoint refuses: it answers with its time, and no token or quota is spent. */
async function askTokenEndpoint(
  url: string,
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<{ readonly status: number; readonly skewMs: number | undefined }> {
  const askedAt = clock.now();
  const response = await fetch(url, { signal, redirect: "manual" });
  const middle = (askedAt + clock.now()) / 2;
  await response.body?.cancel();
  const theirs = Date.parse(response.headers.get("date") ?? "");
  // Their header has whole seconds: it is half a second behind on average.
  const skewMs = Number.isNaN(theirs) ? undefined : middle - (theirs + 500);
  return { status: response.status, skewMs };
}

async function tryDataDirectory(directory: string): Promise<string> {
  await makeDirectory(directory);
  const file = join(directory, `doctor-${randomBytes(6).toString("hex")}`);
  await writeFile(file, "");
  await rm(file);
  return `${directory} can be written`;
}

async function exists(path: string): Promise<boolean> {
  try {
    await access(path);
    return true;
  } catch {
    return false;
  }
}

function databaseUrl({ database }: Config): string {
  return database.kind === "sqlite" ? `sqlite:${database.path}` : database.url;
}
