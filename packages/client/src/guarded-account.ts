/**
 * The usual Calendar client of one account, each of whose requests is a logical call of the guard: named,
 * attributed, paid for, tried again by its rules; and after a write, Ballast is asked for the refresh.
 *
 * State: the account's access token and the refresh of it under way (google-auth.ts or guard-auth.ts), the id
 * of its primary calendar once a write has needed it, and the asks under way that nobody waits for.
 */
import { calendar_v3 } from "@googleapis/calendar";
import { OAuth2Client } from "google-auth-library";
import type { Clock } from "../../../src/core/clock.ts";
import { CallFailed } from "../../../src/core/failure.ts";
import { FAILURE_POLICY } from "../../../src/core/failure-policy.ts";
import { accountName, budgetAccount, quotaUser, tenantId } from "../../../src/core/ids.ts";
import { BudgetSpent, LedgerUnavailable, Unattributed } from "../../../src/core/refusal.ts";
import type { Attribution, CallOptions, Guard, RequestClass } from "../../../src/core/request.ts";
import { createGoogleCall } from "../../../src/google/google-call.ts";
import { SEND_ONCE, WITHOUT_LOGGING } from "../../../src/google/google-client.ts";
import type { TokenExchange } from "../../../src/core/token-exchange.ts";
import { checkAccountOptions, type GuardedAccountOptions } from "./account-options.ts";
import { createAccountTokens, type AccountTokens } from "./account-tokens.ts";
import { keyOfCall, type FailedCalls } from "./failed-calls.ts";
import { guardSurface } from "./guard-surface.ts";
import { nameRequest } from "./operation-of.ts";
import type { RefreshTarget } from "./request-refresh.ts";

/** Requests and answers as the auth library knows them: it brings the transport's types along. */
type Transporter = OAuth2Client["transporter"];
type GaxiosOptions = Transporter["defaults"];
type GaxiosResponse = Awaited<ReturnType<Transporter["request"]>>;

/** One account's way to its calendars. */
export interface GuardedAccount {
  /** The usual client; every method of it. Throws a Refused for what was not sent, a CallFailed for Google's no. */
  readonly calendar: calendar_v3.Calendar;
  /** The same account, asking in another class. */
  readonly withClass: (requestClass: RequestClass) => calendar_v3.Calendar;
  /** Ask Ballast to refresh one calendar; writes do so by themselves. Rejects with RefreshNotRequested. */
  readonly requestRefresh: (googleCalendarId: string) => Promise<void>;
}

/** The rest of an account, for the client that holds it. */
export interface OpenAccount extends GuardedAccount {
  /** Ends when Ballast was asked, or could not be, for all that was written. */
  settled(): Promise<void>;
  /** Gives the adopter's auth back. */
  release(): void;
}

export interface GuardedAccountDeps {
  readonly guard: Guard;
  readonly clock: Clock;
  readonly identity: Pick<Attribution, "projectId" | "consumer">;
  readonly google: { readonly apiRootUrl: string; readonly tokenUrl: string };
  readonly deadlineMs: number;
  /** Where the fleet shares access tokens. */
  readonly exchange: TokenExchange;
  /** Undefined: nobody is asked for refreshes. */
  readonly askForRefresh: ((target: RefreshTarget) => Promise<void>) | undefined;
  readonly failedCalls: FailedCalls;
  readonly onError: (error: unknown) => void;
}

/** Opens nothing by itself. */
export function openAccount(options: GuardedAccountOptions, deps: GuardedAccountDeps): OpenAccount {
  checkAccountOptions(options);
  const attribution = {
    ...deps.identity,
    tenantId: tenantId(options.tenant),
    accountId: budgetAccount(tenantId(options.tenant), accountName(options.account)),
    quotaUser: quotaUser(options.quotaUser),
  };
  const tokens = createAccountTokens(options, attribution, deps);
  const writes = createWriteFollower(options, deps, (): calendar_v3.Calendar => own);
  const calendarIn = (requestClass: RequestClass): calendar_v3.Calendar =>
    guardSurface(
      // Not by the package's `calendar()`, which freezes it: a frozen part cannot be stood in for.
      new calendar_v3.Calendar({
        rootUrl: deps.google.apiRootUrl,
        auth: createCallingAuth({ attribution, requestClass, tokens, writes }, deps),
        // For what does not come through that auth: it is refused there.
        fetchImplementation: deps.guard.fetch,
        ...SEND_ONCE,
      }),
    );
  const own = calendarIn(options.class);
  return {
    calendar: own,
    withClass: calendarIn,
    requestRefresh: (googleCalendarId) => writes.request(googleCalendarId),
    settled: () => writes.settled(),
    release: () => {
      tokens.release();
    },
  };
}

interface CallingAuthOptions {
  readonly attribution: Omit<Attribution, "class">;
  readonly requestClass: RequestClass;
  readonly tokens: AccountTokens;
  readonly writes: Pick<WriteFollower, "follow">;
}

/** An auth client in form: the generated client hands it every request, whole, to send. */
function createCallingAuth(options: CallingAuthOptions, deps: GuardedAccountDeps): OAuth2Client {
  const { attribution, requestClass, tokens, writes } = options;
  const { guard, clock, failedCalls } = deps;
  const callGoogle = createGoogleCall({ guard, tokens, clock });

  async function request(asked: GaxiosOptions): Promise<GaxiosResponse> {
    const method = asked.method ?? "GET";
    const url = String(asked.url);
    const params = paramsOf(asked);
    const destination = params["destination"];
    const { operation, changedCalendars } = nameRequest({
      method,
      url: new URL(url),
      destination: typeof destination === "string" ? destination : undefined,
    });
    const account = attribution.accountId;
    const key = keyOfCall({ account, method, url, params, body: asked.data });
    const mark = { wasSent: false };
    const call: CallOptions = {
      consumer: attribution.consumer,
      class: requestClass,
      earlierAttempt: failedCalls.earlierAttemptOf(key),
      onSent: () => {
        mark.wasSent = true;
      },
      deadlineMs:
        asked.timeout !== undefined && asked.timeout > 0 ? asked.timeout : deps.deadlineMs,
      signal: asked.signal ?? new AbortController().signal,
    };
    const target = { accountId: attribution.accountId, operation };
    try {
      const response = await callGoogle(target, call, {
        attempt: async ({ auth, quotaUser: payer }, { signal }) => {
          const answer = await auth.request<unknown>(once(asked, { signal, payer, guard }));
          checkRead(answer, { asked, operation });
          return { data: answer };
        },
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- what `attempt` returned just above
        read: (answer) => answer as GaxiosResponse,
      });
      failedCalls.noteSucceeded(key);
      writes.follow(changedCalendars);
      return response;
    } catch (error) {
      if (mark.wasSent && !isLastWord(error)) failedCalls.noteFailed(key);
      throw sayForHowLong(error);
    }
  }

  return Object.assign(new OAuth2Client(WITHOUT_LOGGING), {
    request,
    getRequestHeaders: (): never => {
      throw new Unattributed({ message: "A guarded calendar hands out no credentials" });
    },
  });
}

/** A copy; the transport's types know nothing of them. */
function paramsOf(asked: GaxiosOptions): Record<string, unknown> {
  const params: unknown = asked.params;
  return typeof params === "object" && params !== null
    ? Object.fromEntries(Object.entries(params))
    : {};
}

/** The request as it was asked for, but sent by the guard, once, and charged to whom it is attributed to. */
function once(
  asked: GaxiosOptions,
  by: { readonly signal: AbortSignal; readonly payer: string | undefined; readonly guard: Guard },
): GaxiosOptions {
  const params = paramsOf(asked);
  delete params["quotaUser"];
  if (by.payer !== undefined) params["quotaUser"] = by.payer;
  const request: GaxiosOptions = {
    ...asked,
    ...SEND_ONCE,
    params,
    headers: new Headers(asked.headers),
    signal: by.signal,
    fetchImplementation: by.guard.fetch,
  };
  // The guard keeps the time, of all tries together.
  delete request.timeout;
  return request;
}

/** The client takes a body that does not parse for a text, and hands it on as if it were the answer. */
function checkRead(
  answer: GaxiosResponse,
  { asked, operation }: { readonly asked: GaxiosOptions; readonly operation: string },
): void {
  const isBodiless = answer.status === 204 || answer.status === 304;
  const wantsJson = asked.responseType === undefined || asked.responseType === "json";
  const data: unknown = answer.data;
  if (isBodiless || !wantsJson || (typeof data === "object" && !(data instanceof Blob))) return;
  throw new CallFailed(
    { kind: "malformed-response", detail: "the body is not JSON" },
    { operation },
  );
}

/** Asked anew, it is a new question: whether the event is there by now, say. */
function isLastWord(error: unknown): boolean {
  return error instanceof CallFailed && FAILURE_POLICY[error.failure.kind].isPermanent;
}

/** The ledger looks again after a moment, and so may the caller. */
const LOOK_AGAIN_MS = 1_000;

function sayForHowLong(error: unknown): unknown {
  const isOpen = error instanceof LedgerUnavailable || error instanceof BudgetSpent;
  if (!isOpen || error.retryAfterMs !== undefined) return error;
  const details = { message: error.message, retryAfterMs: LOOK_AGAIN_MS, cause: error.cause };
  return error instanceof BudgetSpent ? new BudgetSpent(details) : new LedgerUnavailable(details);
}

interface WriteFollower {
  /** Asks for the refreshes that a write calls for; how that goes is told to `onError` alone. */
  follow(changedCalendars: readonly string[]): void;
  request(googleCalendarId: string): Promise<void>;
  settled(): Promise<void>;
}

function createWriteFollower(
  { tenant, account }: GuardedAccountOptions,
  { askForRefresh, onError }: GuardedAccountDeps,
  calendarOf: () => calendar_v3.Calendar,
): WriteFollower {
  const underWay = new Set<Promise<void>>();
  let primaryId: Promise<string> | undefined;

  /** Ballast knows calendars by their ids, and `primary` is none. */
  function resolveId(googleCalendarId: string): Promise<string> {
    if (googleCalendarId !== "primary") return Promise.resolve(googleCalendarId);
    primaryId ??= readPrimaryId(calendarOf()).catch((error: unknown) => {
      primaryId = undefined;
      throw error;
    });
    return primaryId;
  }

  async function ask(googleCalendarId: string): Promise<void> {
    if (askForRefresh === undefined) {
      throw new TypeError("Give the client `refresh: { url, token }` to request refreshes with");
    }
    await askForRefresh({ tenant, account, googleCalendarId: await resolveId(googleCalendarId) });
  }

  function request(googleCalendarId: string): Promise<void> {
    const asked = ask(googleCalendarId);
    // For `close`, which waits for an end and not for a success; the caller has `asked` and its error.
    const settled = asked
      .catch(() => undefined)
      .finally(() => {
        underWay.delete(settled);
      });
    underWay.add(settled);
    return asked;
  }

  return {
    request,
    follow: (changedCalendars) => {
      if (askForRefresh === undefined) return;
      for (const id of new Set(changedCalendars)) request(id).catch(onError);
    },
    settled: async () => {
      while (underWay.size > 0) await Promise.all(underWay);
    },
  };
}

async function readPrimaryId(client: calendar_v3.Calendar): Promise<string> {
  const { data } = await client.calendars.get({ calendarId: "primary" });
  if (typeof data.id !== "string") throw new Error("Google named no primary calendar");
  return data.id;
}
