import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import type { z } from "zod";
import { readEnvironment, type RawEnvironment } from "./read-environment.ts";
import { showValue } from "./redact.ts";
import {
  environmentSchema,
  VARIABLES,
  type ApiTokenEntry,
  type DatabaseTarget,
  type EncryptionKey,
} from "./variables.ts";

/** Everything the environment decides, checked; the rest of the program never reads the environment. */
export interface Config {
  /** Undefined: nobody named a Redis; `start` runs a private one, other commands ask for it. */
  readonly redisUrl: string | undefined;
  readonly database: DatabaseTarget;
  readonly google: {
    /** Undefined: no Google credentials, so `start` runs the simulator. */
    readonly client: { readonly id: string; readonly secret: string } | undefined;
    readonly apiRootUrl: string;
    readonly oauthTokenUrl: string;
    readonly oauthAuthUrl: string;
  };
  readonly http: {
    readonly host: string;
    readonly port: number;
    readonly publicUrl: string | undefined;
    /** Requests a minute, for each scope, in this process. */
    readonly limits: { readonly token: number; readonly tenant: number; readonly consumer: number };
  };
  /** How long a notified calendar's refresh waits for more notifications, and at most. */
  readonly push: { readonly quietMs: number; readonly mostMs: number };
  /** The first encrypts, all decrypt; undefined: none were given. */
  readonly encryptionKeys: readonly EncryptionKey[] | undefined;
  readonly apiTokens: readonly ApiTokenEntry[];
  readonly dataDirectory: string;
  readonly quota: {
    readonly projectPerMinute: number;
    readonly userPerMinute: number;
    readonly perDay: number;
    readonly windowMs: number;
  };
  readonly mirror: "full" | "busy";
  /** How long the feed of changes is kept. */
  readonly changesKeptDays: number;
  /** Whether webhooks may use http and loopback or private addresses. */
  readonly allowPrivateWebhooks: boolean;
  readonly worker: { readonly concurrency: number };
  readonly pollIntervalMs: number;
  /** Of a calendar whose push channel tells. */
  readonly safetyPollMs: number;
  readonly shutdownMs: number;
  readonly consumer: string;
  readonly logLevel: z.output<typeof environmentSchema>["BALLAST_LOG_LEVEL"];
  /** PATH: where programs such as redis-server are looked for. */
  readonly searchPath: string;
  /** Odd but allowed, such as an unknown variable: to be said once at start. */
  readonly warnings: readonly string[];
}

/** The environment cannot be used; the message lists every problem and what each value should be. */
export class ConfigError extends Error {
  override readonly name = "ConfigError";
  readonly problems: readonly string[];

  constructor(problems: readonly string[]) {
    super(
      `The configuration has ${String(problems.length)} problem${problems.length === 1 ? "" : "s"}:\n` +
        problems.map((problem) => `  ${problem}`).join("\n"),
    );
    this.problems = problems;
  }
}

/** Read and check the environment once, at start. Throws {@link ConfigError} with every problem at once. */
export function loadConfig(
  env: Readonly<Record<string, string | undefined>>,
  deps: { readonly readFile: (path: string) => string } = { readFile: readTextFile },
): Config {
  const raw = readEnvironment(env, deps);
  const texts = Object.fromEntries([...raw.values].map(([name, { text }]) => [name, text]));
  const parsed = environmentSchema.safeParse(texts);
  const problems = [
    ...raw.problems.map(({ message }) => message),
    ...(parsed.success ? [] : describeIssues(parsed.error, raw)),
    ...checkTogether(raw),
  ];
  if (!parsed.success || problems.length > 0) throw new ConfigError(problems);
  return {
    ...shapeConfig(parsed.data),
    searchPath: env["PATH"] ?? "",
    warnings: raw.warnings,
  };
}

/** Read a secret's file; kept apart so that tests need no files. */
export function readTextFile(path: string): string {
  return readFileSync(path, "utf8");
}

function describeIssues(error: z.ZodError, raw: RawEnvironment): string[] {
  const names = new Set(error.issues.map(({ path }) => String(path[0])));
  return VARIABLES.filter(({ name }) => names.has(name)).map((variable) => {
    const text = raw.values.get(variable.name)?.text ?? "";
    const shown = JSON.stringify(showValue(variable, text));
    return `${variable.name} should be ${variable.expects}; it is ${shown}`;
  });
}

function checkTogether(raw: RawEnvironment): string[] {
  const id = "GOOGLE_CLIENT_ID";
  const secret = "GOOGLE_CLIENT_SECRET";
  const hasFailed = raw.problems.some(({ name }) => name === secret);
  if (hasFailed || raw.values.has(id) === raw.values.has(secret)) return [];
  const missing = raw.values.has(id) ? secret : id;
  return [`${id} and ${secret} belong together; ${missing} is missing`];
}

function shapeConfig(
  env: z.output<typeof environmentSchema>,
): Omit<Config, "searchPath" | "warnings"> {
  const dataDirectory = resolve(env.BALLAST_DATA_DIR);
  const { GOOGLE_CLIENT_ID: id, GOOGLE_CLIENT_SECRET: secret } = env;
  return {
    redisUrl: env.REDIS_URL,
    database: env.DATABASE_URL ?? { kind: "sqlite", path: join(dataDirectory, "ballast.db") },
    google: {
      client: id === undefined || secret === undefined ? undefined : { id, secret },
      apiRootUrl: env.GOOGLE_API_ROOT_URL.replace(/\/*$/, "/"),
      oauthTokenUrl: env.GOOGLE_OAUTH_TOKEN_URL,
      oauthAuthUrl: env.GOOGLE_OAUTH_AUTH_URL,
    },
    http: {
      host: env.BALLAST_HTTP_HOST,
      port: env.BALLAST_HTTP_PORT,
      publicUrl: env.BALLAST_PUBLIC_URL?.replace(/\/+$/, ""),
      limits: {
        token: env.BALLAST_HTTP_TOKEN_PER_MINUTE,
        tenant: env.BALLAST_HTTP_TENANT_PER_MINUTE,
        consumer: env.BALLAST_HTTP_CONSUMER_PER_MINUTE,
      },
    },
    push: { quietMs: env.BALLAST_PUSH_QUIET_MS, mostMs: env.BALLAST_PUSH_MOST_MS },
    encryptionKeys: env.BALLAST_ENCRYPTION_KEYS,
    apiTokens: env.BALLAST_API_TOKENS ?? [],
    dataDirectory,
    quota: {
      projectPerMinute: env.BALLAST_QUOTA_PROJECT_PER_MINUTE,
      userPerMinute: env.BALLAST_QUOTA_USER_PER_MINUTE,
      perDay: env.BALLAST_QUOTA_PER_DAY,
      windowMs: env.BALLAST_QUOTA_WINDOW_SECONDS * 1_000,
    },
    mirror: env.BALLAST_MIRROR,
    changesKeptDays: env.BALLAST_CHANGES_DAYS,
    allowPrivateWebhooks: env.BALLAST_WEBHOOK_PRIVATE === "allow",
    worker: { concurrency: env.BALLAST_WORKER_CONCURRENCY },
    pollIntervalMs: env.BALLAST_POLL_SECONDS * 1_000,
    safetyPollMs: env.BALLAST_SAFETY_POLL_SECONDS * 1_000,
    shutdownMs: env.BALLAST_SHUTDOWN_SECONDS * 1_000,
    consumer: env.BALLAST_CONSUMER,
    logLevel: env.BALLAST_LOG_LEVEL,
  };
}
