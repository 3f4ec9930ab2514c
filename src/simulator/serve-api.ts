import type { AccessTokens, Caller } from "./access-tokens.ts";
import { answerFault } from "./answer-fault.ts";
import type { FaultOutcome } from "./answer-fault.ts";
import type { ApiAnswer, ApiCall } from "./api-call.ts";
import { readText, send } from "./exchange.ts";
import type { Exchange } from "./exchange.ts";
import type { FaultAnswer } from "./fault-script.ts";
import type { Faults } from "./faults.ts";
import { GoogleError, errorBody, invalidCredentials } from "./google-error.ts";
import type { ErrorDetail } from "./google-error.ts";
import { matchRoute } from "./match-route.ts";
import type { Route } from "./match-route.ts";
import { quotaRefusal } from "./quota.ts";
import type { Quota } from "./quota.ts";
import type { RequestLog, RequestOutcome } from "./request-log.ts";
import type { RunOperation } from "./run-operation.ts";
import type { World } from "./world.ts";

/** What serving the Calendar API needs. */
export interface ApiDeps {
  readonly world: World;
  readonly tokens: AccessTokens;
  readonly quota: Quota;
  readonly faults: Faults;
  readonly log: RequestLog;
  readonly run: RunOperation;
  /** Told of errors that are this simulator's own. */
  readonly onInternalError: (error: unknown) => void;
}

interface Incoming {
  readonly exchange: Exchange;
  readonly route: Route;
  readonly caller: Caller;
  readonly quotaUser: string;
  readonly atMs: number;
}

const NO_ROUTE = { operation: "unknown", calendarId: "", eventId: "" } as const;
const NOT_FOUND: ErrorDetail = { status: 404, reason: "notFound", message: "Not Found" };

/** Create the handler of the Calendar API: who asks, quota, faults, then the operation; every arrival is logged. */
export function createApiHandler(
  options: { readonly project: string },
  deps: ApiDeps,
): (exchange: Exchange) => void {
  return (exchange) => {
    const atMs = deps.world.nowMs();
    const { request, response } = exchange;
    const caller = deps.tokens.check(bearerOf(exchange), atMs);
    const route = resolvePrimary(matchRoute(request.method ?? "", exchange.path), caller);
    const quotaUser = caller ? quotaUserOf(caller, exchange.query) : "";
    const project = caller?.project ?? options.project;
    deps.log.arrive({ atMs, project, quotaUser });
    if (!caller || !route) {
      const detail = caller ? NOT_FOUND : invalidCredentials;
      // The body is read to its end so that the connection can be used again.
      request.resume();
      send(response, { status: detail.status, body: errorBody(detail) });
      const account = caller?.account.email ?? "";
      const { operation, calendarId: calendar } = route ?? NO_ROUTE;
      const { status, reason } = detail;
      deps.log.finish({
        atMs,
        operation,
        account,
        project,
        calendar,
        status,
        reason,
        outcome: "refused",
      });
      return;
    }
    const incoming = { exchange, route, caller, quotaUser, atMs };
    const refusedBy = deps.quota.admit({ project, quotaUser, operation: route.operation, atMs });
    if (refusedBy !== undefined) {
      deps.log.rejectedBy(refusedBy);
      request.resume();
      refuse(incoming, quotaRefusal(refusedBy, deps.quota.limits(), project), {
        deps,
        outcome: "rejected",
      });
      return;
    }
    readText(request, (body) => {
      guard(incoming, deps, () => serve(incoming, body, deps));
    });
  };
}

function serve(incoming: Incoming, body: string | undefined, deps: ApiDeps): void {
  if (body === undefined) {
    const message = "The request body is too large.";
    refuse(
      incoming,
      { status: 413, reason: "uploadTooLarge", message },
      { deps, outcome: "refused" },
    );
    return;
  }
  const { route, caller, quotaUser, atMs, exchange } = incoming;
  const plan = deps.faults.plan({
    operation: route.operation,
    account: caller.account.email,
    calendar: route.calendarId,
    project: caller.project,
    quotaUser,
    atMs,
    hasSyncToken: exchange.query.has("syncToken"),
  });
  if (plan.delayMs === 0) {
    answer(incoming, body, { deps, fault: plan.answer });
    return;
  }
  let isAnswered = false;
  const timer = setTimeout(() => {
    isAnswered = true;
    guard(incoming, deps, () => answer(incoming, body, { deps, fault: plan.answer }));
  }, plan.delayMs);
  exchange.response.on("close", () => {
    clearTimeout(timer);
    if (isAnswered) return;
    finish(incoming, { status: 0, reason: "latency" }, { deps, outcome: "aborted" });
  });
}

function answer(
  incoming: Incoming,
  body: string,
  { deps, fault }: { readonly deps: ApiDeps; readonly fault: FaultAnswer | undefined },
): void {
  const call = callOf(incoming, body, fault?.kind === "empty-page");
  if (fault?.kind === "token-death") killTokens(call, deps.world);
  if (!fault || fault.kind === "token-death" || fault.kind === "empty-page") {
    const honest = deps.run(call);
    send(incoming.exchange.response, honest);
    finish(incoming, { status: honest.status, reason: "" }, { deps, outcome: "ok" });
    return;
  }
  const outcome = answerFault(fault, {
    response: incoming.exchange.response,
    projectNumber: incoming.caller.project,
    isTokenRequest: false,
    honest: (): ApiAnswer => deps.run(call),
  });
  finish(incoming, outcome, { deps, outcome: "injected" });
}

/** Nothing a client sends may bring the simulator down: refusals become Google's, the rest a 500 that is reported. */
function guard(incoming: Incoming, deps: ApiDeps, work: () => void): void {
  try {
    work();
  } catch (error) {
    if (error instanceof GoogleError) {
      refuse(incoming, error.detail, { deps, outcome: "refused" });
      return;
    }
    deps.onInternalError(error);
    const detail = { status: 500, reason: "backendError", message: "Backend Error" };
    refuse(incoming, detail, { deps, outcome: "refused" });
  }
}

interface Finishing {
  readonly deps: ApiDeps;
  readonly outcome: RequestOutcome;
}

function refuse(incoming: Incoming, detail: ErrorDetail, finishing: Finishing): void {
  send(incoming.exchange.response, {
    status: detail.status,
    body: errorBody(detail),
    retryAfterSeconds: detail.retryAfterSeconds,
  });
  finish(incoming, detail, finishing);
}

function finish(incoming: Incoming, result: FaultOutcome, { deps, outcome }: Finishing): void {
  deps.log.finish({
    atMs: incoming.atMs,
    operation: incoming.route.operation,
    account: incoming.caller.account.email,
    project: incoming.caller.project,
    calendar: incoming.route.calendarId,
    status: result.status,
    outcome: incoming.exchange.response.destroyed && result.status !== 0 ? "aborted" : outcome,
    reason: result.reason,
  });
}

function callOf(incoming: Incoming, body: string, wantsEmptyPage: boolean): ApiCall {
  const { headers } = incoming.exchange.request;
  return {
    ...incoming.route,
    query: incoming.exchange.query,
    queryText: incoming.exchange.queryText,
    ifMatch: headers["if-match"],
    ifNoneMatch: headers["if-none-match"],
    body,
    account: incoming.caller.account,
    wantsEmptyPage,
  };
}

function bearerOf({ request, query }: Exchange): string {
  const header = request.headers.authorization;
  if (header?.startsWith("Bearer ")) return header.slice(7);
  return query.get("access_token") ?? query.get("oauth_token") ?? "";
}

function resolvePrimary(route: Route | undefined, caller: Caller | undefined): Route | undefined {
  if (route?.calendarId !== "primary" || !caller) return route;
  return { ...route, calendarId: caller.account.email };
}

/** Only a service account's requests are charged to the `quotaUser` they name. */
function quotaUserOf(caller: Caller, query: URLSearchParams): string {
  const isServiceAccount = caller.chargedUser !== caller.account.sub;
  return isServiceAccount ? (query.get("quotaUser") ?? caller.chargedUser) : caller.chargedUser;
}

function killTokens(call: ApiCall, world: World): void {
  if (call.operation === "calendarList.list") {
    call.account.listTokenEpoch += 1;
    return;
  }
  const calendar = world.calendars.get(call.calendarId);
  if (calendar) calendar.tokenEpoch += 1;
}
