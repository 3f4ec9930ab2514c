import type { FastifyInstance, FastifyRequest } from "fastify";
import { HttpProblem } from "./http-problem.ts";
import type { RateLimits } from "./rate-limits.ts";
import type { Caller, TokenVerifier } from "./verify-token.ts";

/** Who may call a route: `tenants`: a tenant's token for what is its own, and operators; `operators`: they alone. */
export interface Access {
  readonly scope: "read" | "refresh" | "operate";
  readonly for: "tenants" | "operators";
}

declare module "fastify" {
  interface FastifyContextConfig {
    access?: Access;
  }
}

/** A route under `/v1`, as it was declared. */
export interface DeclaredRoute extends Access {
  readonly method: string;
  readonly url: string;
}

/** Who sent a request to a route that declares its access. */
export type CallerOf = (request: FastifyRequest) => Caller;

/**
 * Have every route under `/v1` that is added from here on check its caller before anything of the request
 * is read; one that does not declare `config.access` is refused when the server is built.
 */
export function addAccess(
  server: FastifyInstance,
  deps: { readonly verifier: TokenVerifier; readonly limits: RateLimits },
): { readonly callerOf: CallerOf; readonly routes: readonly DeclaredRoute[] } {
  const routes: DeclaredRoute[] = [];
  const callers = new WeakMap<FastifyRequest, Caller>();
  server.addHook("onRoute", (route) => {
    if (!/^\/v1(?:\/|$)/.test(route.url)) return;
    const access = route.config?.access;
    if (access === undefined) {
      throw new Error(
        `The route ${String(route.method)} ${route.url} does not say who may call it`,
      );
    }
    for (const method of [route.method].flat()) routes.push({ method, url: route.url, ...access });
    const check = async (request: FastifyRequest): Promise<void> => {
      const caller = await deps.verifier.verify(request.headers.authorization);
      allow(caller, access);
      deps.limits.charge(caller, access.scope);
      callers.set(request, caller);
    };
    const { onRequest = [] } = route;
    route.onRequest = [check, ...(Array.isArray(onRequest) ? onRequest : [onRequest])];
  });
  const callerOf: CallerOf = (request) => {
    const caller = callers.get(request);
    if (caller === undefined) throw new Error("This route does not declare its access");
    return caller;
  };
  return { callerOf, routes };
}

function allow(caller: Caller, access: Access): void {
  if (access.for === "operators" && caller.tenantId !== undefined) {
    throw new HttpProblem("operators-only", {
      detail: `The token ${caller.name} is a tenant's; this needs one of BALLAST_API_TOKENS.`,
    });
  }
  if (!caller.scopes.includes(access.scope)) {
    throw new HttpProblem("scope-missing", {
      detail: `The token ${caller.name} lacks the scope ${access.scope}.`,
    });
  }
}
