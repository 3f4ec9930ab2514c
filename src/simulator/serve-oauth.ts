import { answerFault } from "./answer-fault.ts";
import type { ConsentCodes } from "./consent.ts";
import { readText, send } from "./exchange.ts";
import type { Exchange } from "./exchange.ts";
import type { Faults } from "./faults.ts";
import type { OAuthAnswer } from "./oauth-answer.ts";
import type { RequestLog, RequestOutcome } from "./request-log.ts";
import type { World } from "./world.ts";

/** What serving the OAuth endpoints needs. */
export interface OAuthServing {
  readonly world: World;
  readonly answerToken: (form: URLSearchParams) => OAuthAnswer;
  readonly answerRevoke: (form: URLSearchParams) => OAuthAnswer;
  readonly consent: ConsentCodes;
  readonly faults: Faults;
  readonly log: RequestLog;
}

interface FormEndpoint {
  readonly operation: "oauth.token" | "oauth.revoke";
  /** Where a form has the refresh token, which says whose request it is. */
  readonly tokenField: string;
  readonly answer: (form: URLSearchParams) => OAuthAnswer;
}

/** Create the handlers of `/token`, of `/revoke` and of the consent page. */
export function createOAuthHandlers(
  options: { readonly project: string },
  deps: OAuthServing,
): {
  readonly token: (exchange: Exchange) => void;
  readonly revoke: (exchange: Exchange) => void;
  readonly consent: (exchange: Exchange) => void;
} {
  const log = (
    result: { readonly status: number; readonly account: string; readonly reason: string },
    outcome: RequestOutcome,
    operation: string,
  ): void => {
    const { status, account, reason } = result;
    const { project } = options;
    const atMs = deps.world.nowMs();
    deps.log.finish({ atMs, operation, account, project, calendar: "", status, reason, outcome });
  };
  const answer = (exchange: Exchange, result: OAuthAnswer, operation: string): void => {
    send(exchange.response, result);
    log(result, result.status < 400 ? "ok" : "refused", operation);
  };
  const answerForm = (exchange: Exchange, form: URLSearchParams, endpoint: FormEndpoint): void => {
    const { operation } = endpoint;
    const account = deps.world.refreshTokens.get(form.get(endpoint.tokenField) ?? "") ?? "";
    const plan = deps.faults.plan({
      operation,
      account,
      calendar: "",
      project: options.project,
      quotaUser: deps.world.accounts.get(account)?.sub ?? "",
      atMs: deps.world.nowMs(),
      hasSyncToken: false,
    });
    const work = (): void => {
      if (!plan.answer) {
        answer(exchange, endpoint.answer(form), operation);
        return;
      }
      const outcome = answerFault(plan.answer, {
        response: exchange.response,
        projectNumber: options.project,
        isTokenRequest: true,
        honest: () => endpoint.answer(form),
      });
      log({ ...outcome, account }, "injected", operation);
    };
    afterDelay(plan.delayMs, exchange, work);
  };
  const serveForm = (endpoint: FormEndpoint) => (exchange: Exchange) =>
    readForm(exchange, deps.world, (form) => answerForm(exchange, form, endpoint));
  return {
    token: serveForm({
      operation: "oauth.token",
      tokenField: "refresh_token",
      answer: deps.answerToken,
    }),
    revoke: serveForm({
      operation: "oauth.revoke",
      tokenField: "token",
      answer: deps.answerRevoke,
    }),
    consent(exchange) {
      answer(exchange, deps.consent.answer(exchange.query), "oauth.consent");
    },
  };
}

function readForm(
  { request, response, query }: Exchange,
  world: World,
  use: (form: URLSearchParams) => void,
): void {
  // Google's answers tell its time; here that is the world's, which may differ from this machine's.
  response.setHeader("Date", new Date(world.nowMs()).toUTCString());
  readText(request, (body) => {
    const form = new URLSearchParams(body ?? "");
    // Google takes a revocation's token from the address as well.
    const token = query.get("token");
    if (token !== null && !form.has("token")) form.set("token", token);
    use(form);
  });
}

function afterDelay(delayMs: number, { response }: Exchange, work: () => void): void {
  if (delayMs === 0) {
    work();
    return;
  }
  const timer = setTimeout(work, delayMs);
  response.on("close", () => clearTimeout(timer));
}
