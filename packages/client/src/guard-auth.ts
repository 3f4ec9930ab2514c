/**
 * Access tokens from an auth object of the adopter's own, with its token requests led through the choke point.
 *
 * States of such an object: untouched → guarded (its transporter sends through the guard, once per request, each
 * refresh a logical call of its own) → released, as it was. State kept here: whether the latest refresh reached
 * Google and failed, which makes the next one a retry (I3), and the token that Google rejected last.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import type { Clock } from "../../../src/core/clock.ts";
import { CallFailed } from "../../../src/core/failure.ts";
import type { AccountId } from "../../../src/core/ids.ts";
import { Refused, Unattributed } from "../../../src/core/refusal.ts";
import type { Attribution, CallOptions, Guard, LogicalCall } from "../../../src/core/request.ts";
import type { SharedToken, TokenExchange } from "../../../src/core/token-exchange.ts";
import type { AccessTokens } from "../../../src/google/google-auth.ts";
import { SEND_ONCE } from "../../../src/google/google-client.ts";
import { createSharedRefresh, type FreshToken } from "../../../src/google/shared-refresh.ts";
import { causesOf, withoutSecrets } from "../../../src/quota/without-secrets.ts";

/** The least of google-auth-library's OAuth2Client that is used, so that any copy of that library will do. */
export interface GuardableAuth {
  readonly transporter: { readonly defaults: object };
  readonly credentials: object;
  getAccessToken(): Promise<{ token?: string | null | undefined }>;
  setCredentials(credentials: object): void;
}

/** A guarded auth as a source of tokens; `release` gives the adopter's object back as it was. */
export interface GuardedAuth extends AccessTokens {
  release(): void;
}

export interface GuardAuthOptions {
  readonly attribution: Omit<Attribution, "class">;
  /** For a refresh that the adopter's own code starts. */
  readonly usualCall: Omit<CallOptions, "consumer" | "earlierAttempt" | "signal">;
  readonly tokenUrl: string;
}

/** Kinds whose every token request goes through the transporter. */
const GUARDABLE: ReadonlySet<string> = new Set(["OAuth2Client", "JWT", "UserRefreshClient"]);
/** Kinds derived from those that fetch tokens elsewhere: a metadata server, another service. */
const NOT_GUARDABLE: ReadonlySet<string> = new Set(["Compute", "IdTokenClient", "Impersonated"]);

/** Throws a TypeError for an auth whose token requests cannot be led through the choke point. */
export function guardAuth(
  auth: GuardableAuth,
  options: GuardAuthOptions,
  deps: { readonly guard: Guard; readonly clock: Clock; readonly exchange: TokenExchange },
): GuardedAuth {
  const kind = checkGuardable(auth);
  const currentCall = new AsyncLocalStorage<CallOptions>();
  const { projectId, tenantId, quotaUser } = options.attribution;
  let rejectedToken: string | undefined;
  const fetchToken = createFetchToken(options, { guard: deps.guard, currentCall });
  const share = createSharedRefresh({ ...deps, random: Math.random });
  const release = takeOver(auth.transporter.defaults, {
    fetchImplementation: fetchToken,
    ...SEND_ONCE,
  });

  async function getToken({ signal }: CallOptions): Promise<string> {
    try {
      const { refreshToken } = credentialsOf(auth);
      if (refreshToken !== undefined && isExpiring(auth, deps.clock)) {
        const isGood = (shared: SharedToken): boolean =>
          shared.accessToken !== rejectedToken &&
          shared.expiresAt - deps.clock.now() > EAGER_REFRESH_MS;
        const grant = { kind: "refresh-token", refreshToken } as const;
        const shared = await share({
          grant,
          signal,
          isGood,
          refresh: () => refreshWith(auth, deps.clock),
        });
        const { accessToken, expiresAt } = shared;
        auth.setCredentials({
          ...auth.credentials,
          access_token: accessToken,
          expiry_date: expiresAt,
        });
      }
      const { token } = await auth.getAccessToken();
      if (typeof token === "string" && token !== "" && token !== rejectedToken) return token;
    } catch (error) {
      throw ours(error);
    }
    throw rejected();
  }

  return {
    release,
    get: async (_accountId: AccountId, call) => {
      const accessToken = await orAborted(
        currentCall.run(call, () => getToken(call)),
        call.signal,
      );
      const mustNameQuotaUser = kind === "JWT";
      return { projectId, tenantId, quotaUser, accessToken, mustNameQuotaUser };
    },
    reject: (_accountId, accessToken) => {
      rejectedToken = accessToken;
      const { credentials } = auth;
      if (!("access_token" in credentials) || credentials.access_token !== accessToken) return;
      // In the past: whoever asks for it next refreshes it.
      auth.setCredentials({ ...credentials, expiry_date: 1 });
    },
    isOutdated: () => Promise.resolve(false),
    forget: () => undefined,
  };
}

/** As google-auth-library has it: from then on it refreshes by itself. */
const EAGER_REFRESH_MS = 5 * 60_000;

function credentialsOf({ credentials }: GuardableAuth): {
  readonly refreshToken: string | undefined;
  readonly accessToken: string | undefined;
  readonly expiresAt: number;
} {
  const read = (name: string): unknown =>
    Object.entries(credentials).find(([key]) => key === name)?.[1];
  const [refreshToken, accessToken, expiry] = [
    read("refresh_token"),
    read("access_token"),
    read("expiry_date"),
  ];
  return {
    refreshToken:
      typeof refreshToken === "string" && refreshToken !== "" ? refreshToken : undefined,
    accessToken: typeof accessToken === "string" && accessToken !== "" ? accessToken : undefined,
    expiresAt: typeof expiry === "number" ? expiry : 0,
  };
}

function isExpiring(auth: GuardableAuth, clock: Clock): boolean {
  const { accessToken, expiresAt } = credentialsOf(auth);
  return accessToken === undefined || expiresAt - clock.now() <= EAGER_REFRESH_MS;
}

/** By the adopter's own object: it refreshes since its token is expiring, and keeps what it got. */
async function refreshWith(auth: GuardableAuth, clock: Clock): Promise<FreshToken> {
  const before = credentialsOf(auth).refreshToken;
  await auth.getAccessToken();
  const { accessToken, expiresAt, refreshToken } = credentialsOf(auth);
  if (accessToken === undefined) throw rejected();
  const hasNew = refreshToken !== undefined && refreshToken !== before;
  return {
    accessToken,
    grantId: "",
    lifetimeMs: expiresAt - clock.now(),
    ...(hasNew ? { newGrant: { kind: "refresh-token", refreshToken } as const } : {}),
  };
}

/** Where google-auth-library sends a service account's assertion, whatever it is told. */
const LIBRARY_TOKEN_URL = "https://oauth2.googleapis.com/token";

const NEVER = new AbortController().signal;

function createFetchToken(
  { attribution, usualCall, tokenUrl }: GuardAuthOptions,
  deps: { readonly guard: Guard; readonly currentCall: AsyncLocalStorage<CallOptions> },
): typeof fetch {
  const { guard, currentCall } = deps;
  const known = new Set([tokenUrl, LIBRARY_TOKEN_URL]);
  let hasFailed = false;

  return async (input, init) => {
    const href = input instanceof Request ? input.url : String(input);
    if (!known.has(href)) {
      throw new Unattributed({
        message: `An auth given to a guarded calendar asks for tokens and nothing else; it tried ${new URL(href).origin}. Give other clients one of their own`,
      });
    }
    const { class: requestClass, deadlineMs } = currentCall.getStore() ?? usualCall;
    let wasSent = false;
    const call: LogicalCall = {
      attribution: { ...attribution, class: requestClass },
      operation: "oauth.token",
      earlierAttempt: hasFailed ? "reached-google" : "none",
      deadlineMs,
      // Others may wait for this very refresh: whoever gives up leaves it to them.
      signal: NEVER,
      onSent: () => {
        wasSent = true;
      },
    };
    try {
      const answer = await guard.call(call, async (signal) => {
        const response = await guard.fetch(tokenUrl, { ...init, signal });
        if (!response.ok) throw new Error(`The token endpoint answered ${response.status}`);
        return response;
      });
      hasFailed = false;
      return answer;
    } catch (error) {
      hasFailed ||= wasSent;
      throw error;
    }
  };
}

function checkGuardable(auth: GuardableAuth): string {
  const names = kindsOf(auth);
  const kind = names.find((name) => GUARDABLE.has(name) || NOT_GUARDABLE.has(name));
  const what = names[0] ?? "This auth";
  if (kind === undefined || NOT_GUARDABLE.has(kind)) {
    throw new TypeError(
      `${what} cannot be guarded: it fetches tokens past its transporter, or is no auth client. Pass an OAuth2Client or a JWT of google-auth-library, or credentials`,
    );
  }
  if ("refreshHandler" in auth && auth.refreshHandler !== undefined) {
    throw new TypeError(
      `${what} has a refreshHandler, whose requests cannot be guarded. Pass credentials instead`,
    );
  }
  const { defaults } = auth.transporter;
  if ("fetchImplementation" in defaults || "adapter" in defaults) {
    throw new TypeError(
      `${what} has a transport of its own, or belongs to another guarded calendar. Pass one that has none, or credentials`,
    );
  }
  return kind;
}

/** The names of the object's class and those it extends, its own first. */
function kindsOf(auth: object): string[] {
  const names: string[] = [];
  let current: unknown = Object.getPrototypeOf(auth);
  while (typeof current === "object" && current !== null) {
    if (typeof current.constructor === "function") names.push(current.constructor.name);
    current = Object.getPrototypeOf(current);
  }
  return names;
}

function takeOver(defaults: object, added: object): () => void {
  const before = { ...defaults };
  Object.assign(defaults, added);
  return () => {
    for (const name of Object.keys(added)) Reflect.deleteProperty(defaults, name);
    Object.assign(defaults, before);
  };
}

/** What the library threw, in our words: it wraps refusals and answers alike, and quotes secrets. */
function ours(error: unknown): unknown {
  for (const cause of causesOf(error)) {
    if (cause instanceof Refused || cause instanceof CallFailed) return cause;
  }
  return withoutSecrets(error);
}

function rejected(): CallFailed {
  return new CallFailed({ kind: "access-token-rejected" }, { operation: "oauth.token" });
}

async function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => {
    reject(signal.reason instanceof Error ? signal.reason : new Error("Aborted"));
  };
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
