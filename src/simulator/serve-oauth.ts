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
  readonly consent: ConsentCodes;
  readonly faults: Faults;
  readonly log: RequestLog;
}

/** Create the handlers of `/token` and of the consent page. */
export function createOAuthHandlers(
  options: { readonly project: string },
  deps: OAuthServing,
): {
  readonly token: (exchange: Exchange) => void;
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
  const answerToken = (exchange: Exchange, form: URLSearchParams): void => {
    const account = deps.world.refreshTokens.get(form.get("refresh_token") ?? "") ?? "";
    const plan = deps.faults.plan({
      operation: "oauth.token",
      account,
      calendar: "",
      project: options.project,
      quotaUser: deps.world.accounts.get(account)?.sub ?? "",
      atMs: deps.world.nowMs(),
      hasSyncToken: false,
    });
    const work = (): void => {
      if (!plan.answer) {
        answer(exchange, deps.answerToken(form), "oauth.token");
        return;
      }
      const outcome = answerFault(plan.answer, {
        response: exchange.response,
        projectNumber: options.project,
        isTokenRequest: true,
        honest: () => deps.answerToken(form),
      });
      log({ ...outcome, account }, "injected", "oauth.token");
    };
    if (plan.delayMs === 0) {
      work();
      return;
    }
    const timer = setTimeout(work, plan.delayMs);
    exchange.response.on("close", () => clearTimeout(timer));
  };
  return {
    token(exchange) {
      // Google's answers tell its time; here that is the world's, which may differ from this machine's.
      exchange.response.setHeader("Date", new Date(deps.world.nowMs()).toUTCString());
      readText(exchange.request, (body) => answerToken(exchange, new URLSearchParams(body ?? "")));
    },
    consent(exchange) {
      answer(exchange, deps.consent.answer(exchange.query), "oauth.consent");
    },
  };
}
