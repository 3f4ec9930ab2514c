import { z } from "zod";

/** What people are told about a variable, in README's table and in error messages. */
export interface VariableNotes {
  /** Completes the sentence "NAME should be …". */
  readonly expects: string;
  readonly meaning: string;
  /** Holds a secret, as a whole or inside an address: never printed, and also readable from NAME_FILE. */
  readonly secret?: "whole" | "in-address";
  /** Shown as the default where it is not a plain value. */
  readonly defaultNote?: string;
}

const notes = z.registry<VariableNotes>();

function wholeNumber(
  min: number,
  max: number,
): z.ZodPipe<z.ZodString, z.ZodTransform<number, string>> {
  return z.string().transform((text, context) => {
    const value = Number(text);
    // Number("") and Number("1e3") are numbers to JavaScript, and typing errors in an environment.
    if (!/^\d+$/.test(text) || value < min || value > max) {
      context.addIssue({ code: "custom", message: "out of range" });
      return z.NEVER;
    }
    return value;
  });
}

function webAddress(isAllowed: (url: URL) => boolean): z.ZodType<string, string> {
  return z.string().refine((text) => {
    const url = URL.parse(text);
    return url !== null && ["http:", "https:"].includes(url.protocol) && isAllowed(url);
  });
}

const LOOPBACK_HOSTS = new Set(["localhost", "127.0.0.1", "[::1]"]);

const databaseUrl = z.string().transform((text, context): DatabaseTarget => {
  if (/^sqlite:./.test(text)) return { kind: "sqlite", path: text.slice("sqlite:".length) };
  const url = URL.parse(text);
  if (url !== null && ["postgres:", "postgresql:"].includes(url.protocol)) {
    return { kind: "postgres", url: text };
  }
  context.addIssue({ code: "custom", message: "unknown kind of database" });
  return z.NEVER;
});

const encryptionKeys = z.string().transform((text, context): readonly EncryptionKey[] => {
  const keys = text.split(",").map((entry): EncryptionKey | undefined => {
    const [, id, encoded] = /^([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/]{43}=)$/.exec(entry.trim()) ?? [];
    if (id === undefined || encoded === undefined) return undefined;
    return { id, key: Buffer.from(encoded, "base64") };
  });
  const good = keys.filter((key) => key !== undefined);
  if (good.length < keys.length || new Set(good.map(({ id }) => id)).size < keys.length) {
    context.addIssue({ code: "custom", message: "malformed or repeated" });
    return z.NEVER;
  }
  return good;
});

const apiTokens = z.string().transform((text, context): readonly ApiTokenEntry[] => {
  const tokens = text.split(",").map((entry): ApiTokenEntry | undefined => {
    const form = /^([a-z0-9][a-z0-9._-]{0,63}):([a-z][a-z.-]*(?:\+[a-z][a-z.-]*)*):([0-9a-f]{64})$/;
    const [, name, scopes, sha256] = form.exec(entry.trim()) ?? [];
    if (name === undefined || scopes === undefined || sha256 === undefined) return undefined;
    return { name, scopes: scopes.split("+"), sha256 };
  });
  const good = tokens.filter((token) => token !== undefined);
  if (good.length < tokens.length || new Set(good.map(({ name }) => name)).size < tokens.length) {
    context.addIssue({ code: "custom", message: "malformed or repeated" });
    return z.NEVER;
  }
  return good;
});

/** Which database, as `DATABASE_URL` names it. */
export type DatabaseTarget =
  | { readonly kind: "sqlite"; readonly path: string }
  | { readonly kind: "postgres"; readonly url: string };

/** A key that stored credentials are encrypted with; the first of a list encrypts, all of them decrypt. */
export interface EncryptionKey {
  readonly id: string;
  readonly key: Buffer;
}

/** A caller of the HTTP API: only the hash of its token is known here. */
export interface ApiTokenEntry {
  readonly name: string;
  readonly scopes: readonly string[];
  readonly sha256: string;
}

/** Every variable that Ballast reads: the one place where a name, its form and its default are written. */
export const environmentSchema = z.object({
  REDIS_URL: z
    .string()
    .refine((text) => /^rediss?:\/\/./.test(text) || text.startsWith("/"))
    .optional()
    .register(notes, {
      expects: "redis://HOST:PORT, rediss://… or the path of a unix socket",
      meaning: "Redis, for the queue and the quota ledger. It must not evict keys.",
      secret: "in-address",
      defaultNote: "`start`: a private one",
    }),
  DATABASE_URL: databaseUrl.optional().register(notes, {
    expects: "sqlite:PATH or postgres://USER:PASSWORD@HOST/DATABASE",
    meaning: "The database: the truth about calendars, settings and operators' decisions.",
    secret: "in-address",
    defaultNote: "`sqlite:` in `BALLAST_DATA_DIR`",
  }),
  GOOGLE_CLIENT_ID: z.string().min(1).optional().register(notes, {
    expects: "an OAuth client id of your Google Cloud project",
    meaning: "The OAuth client. Without it `start` syncs the built-in simulator.",
  }),
  GOOGLE_CLIENT_SECRET: z.string().min(1).optional().register(notes, {
    expects: "that client's secret",
    meaning: "Set together with `GOOGLE_CLIENT_ID`.",
    secret: "whole",
  }),
  GOOGLE_API_ROOT_URL: webAddress(() => true)
    .default("https://www.googleapis.com/")
    .register(notes, {
      expects: "an http(s) address",
      meaning: "Where the Calendar API is: a simulator's address in a demo or test.",
    }),
  GOOGLE_OAUTH_TOKEN_URL: webAddress(() => true)
    .default("https://oauth2.googleapis.com/token")
    .register(notes, {
      expects: "an http(s) address",
      meaning: "Where refresh tokens are exchanged for access tokens.",
    }),
  GOOGLE_OAUTH_AUTH_URL: webAddress(() => true)
    .default("https://accounts.google.com/o/oauth2/v2/auth")
    .register(notes, {
      expects: "an http(s) address",
      meaning: "Google's consent page, opened by `ballast connect`.",
    }),
  BALLAST_PUBLIC_URL: webAddress(
    (url) => url.protocol === "https:" || LOOPBACK_HOSTS.has(url.hostname),
  )
    .optional()
    .register(notes, {
      expects: "an https address (http only on loopback)",
      meaning:
        "Where Google reaches this service with notifications. Without it calendars are polled.",
    }),
  BALLAST_HTTP_HOST: z.string().min(1).default("127.0.0.1").register(notes, {
    expects: "a host name or address to listen on",
    meaning: "Where the HTTP server listens; `0.0.0.0` in a container.",
  }),
  BALLAST_HTTP_PORT: wholeNumber(0, 65_535).prefault("8080").register(notes, {
    expects: "a port, 0 to 65535 (0: any free one)",
    meaning: "The HTTP server's port.",
  }),
  BALLAST_HTTP_TOKEN_PER_MINUTE: wholeNumber(1, 10_000_000).prefault("3000").register(notes, {
    expects: "a whole number from 1",
    meaning:
      "Requests a minute of one API token, in each process, by scope; a hundred times as many reads.",
  }),
  BALLAST_HTTP_TENANT_PER_MINUTE: wholeNumber(1, 10_000_000).prefault("1200").register(notes, {
    expects: "a whole number from 1",
    meaning: "As above, for one tenant, whoever asks for it.",
  }),
  BALLAST_HTTP_CONSUMER_PER_MINUTE: wholeNumber(1, 10_000_000).prefault("600").register(notes, {
    expects: "a whole number from 1",
    meaning: "As above, for one of a tenant's consumers: its tokens of one name.",
  }),
  BALLAST_PUSH_QUIET_MS: wholeNumber(0, 60_000).prefault("2000").register(notes, {
    expects: "a whole number of milliseconds, 0 to 60000",
    meaning: "A notified calendar is refreshed about so long after its last notification …",
  }),
  BALLAST_PUSH_MOST_MS: wholeNumber(0, 600_000).prefault("10000").register(notes, {
    expects: "a whole number of milliseconds, 0 to 600000",
    meaning: "… and no later than so long after its first.",
  }),
  BALLAST_ENCRYPTION_KEYS: encryptionKeys.optional().register(notes, {
    expects: "ID:KEY, comma-separated, each KEY 32 bytes in base64, the first one current",
    meaning:
      "Keys that stored credentials are encrypted with. `openssl rand -base64 32` makes one.",
    secret: "whole",
    defaultNote: "`start`: one made in `BALLAST_DATA_DIR`",
  }),
  BALLAST_API_TOKENS: apiTokens.optional().register(notes, {
    expects: "NAME:SCOPE+SCOPE:SHA256, comma-separated, each SHA256 64 hexadecimal digits",
    meaning: "Who may call the HTTP API, by the hash of each token.",
    secret: "whole",
    defaultNote: "those in the database",
  }),
  BALLAST_DATA_DIR: z.string().min(1).default(".ballast").register(notes, {
    expects: "the path of a directory",
    meaning: "What `start` keeps: database, Redis file, the demo simulator's state.",
  }),
  BALLAST_QUOTA_PROJECT_PER_MINUTE: wholeNumber(1, 100_000_000).prefault("10000").register(notes, {
    expects: "a whole number from 1",
    meaning: "Requests a minute for the whole Google project. Seeds an empty database.",
  }),
  BALLAST_QUOTA_USER_PER_MINUTE: wholeNumber(1, 100_000_000).prefault("600").register(notes, {
    expects: "a whole number from 1",
    meaning: "Requests a minute for each quota user. Seeds an empty database.",
  }),
  BALLAST_QUOTA_PER_DAY: wholeNumber(1, 10_000_000_000).prefault("1000000").register(notes, {
    expects: "a whole number from 1",
    meaning: "Requests a day for the whole Google project. Seeds an empty database.",
  }),
  BALLAST_QUOTA_WINDOW_SECONDS: wholeNumber(1, 60).prefault("60").register(notes, {
    expects: "a whole number of seconds, 1 to 60",
    meaning: "Length of the sliding window; shorter than 60 only in tests and benches.",
  }),
  BALLAST_MIRROR: z.enum(["full", "busy"]).default("full").register(notes, {
    expects: "full or busy",
    meaning: "`busy` keeps no titles and attendees.",
  }),
  BALLAST_CHANGES_DAYS: wholeNumber(1, 365).prefault("7").register(notes, {
    expects: "a whole number of days, 1 to 365",
    meaning: "How long changes are kept for those who follow them.",
  }),
  BALLAST_WEBHOOK_PRIVATE: z.enum(["refuse", "allow"]).default("refuse").register(notes, {
    expects: "refuse or allow",
    meaning: "Whether webhooks may use http and loopback or private addresses.",
  }),
  BALLAST_WORKER_CONCURRENCY: wholeNumber(1, 200).prefault("10").register(notes, {
    expects: "a whole number, 1 to 200",
    meaning: "Jobs that one worker process runs at once.",
  }),
  BALLAST_POLL_SECONDS: wholeNumber(1, 604_800).prefault("900").register(notes, {
    expects: "a whole number of seconds, 1 to 604800",
    meaning:
      "How often a calendar is polled that Google does not notify of, give or take a quarter.",
  }),
  BALLAST_SAFETY_POLL_SECONDS: wholeNumber(1, 604_800).prefault("86400").register(notes, {
    expects: "a whole number of seconds, 1 to 604800",
    meaning: "How often one is polled whose notifications arrive: a few get lost.",
  }),
  BALLAST_SHUTDOWN_SECONDS: wholeNumber(1, 600).prefault("20").register(notes, {
    expects: "a whole number of seconds, 1 to 600",
    meaning: "How long a process may take to drain before it ends all the same.",
  }),
  BALLAST_CONSUMER: z
    .string()
    .regex(/^[a-z0-9][a-z0-9._-]{0,63}$/)
    .default("ballast-worker")
    .register(notes, {
      expects: "lower-case letters, digits, dots, dashes (at most 64)",
      meaning: "The name under which this process spends quota.",
    }),
  BALLAST_LOG_LEVEL: z
    .enum(["trace", "debug", "info", "warn", "error", "fatal", "silent"])
    .default("info")
    .register(notes, {
      expects: "trace, debug, info, warn, error, fatal or silent",
      meaning: "The least severe lines that are logged.",
    }),
});

/** One variable as documentation and messages see it. */
export interface Variable extends VariableNotes {
  readonly name: string;
  readonly default: string | undefined;
}

/** All variables, in the order in which people should read them. */
export const VARIABLES: readonly Variable[] = Object.entries(environmentSchema.shape).map(
  ([name, schema]) => describeVariable(name, schema),
);

function describeVariable(name: string, schema: z.ZodType): Variable {
  const about = notes.get(schema);
  if (about === undefined) throw new Error(`${name} has no notes`);
  return { name, ...about, default: findDefault(schema) };
}

function findDefault(schema: z.ZodType): string | undefined {
  if (!(schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault)) return undefined;
  return String(schema.def.defaultValue);
}
