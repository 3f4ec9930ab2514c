import type { FastifyInstance } from "fastify";
import type { StatusView } from "./status-view.ts";

/** Why this process cannot do its work now. */
export interface ReadinessProblem {
  /** What is not as it should be: `database`, `redis`, `schema`. */
  readonly name: string;
  readonly reason: string;
}

/** What the health routes show. */
export interface HealthDeps {
  readonly readiness: () => Promise<readonly ReadinessProblem[]>;
  readonly status: () => Promise<StatusView>;
  readonly metrics: { readonly contentType: string; render(): Promise<string> };
}

/** `/livez` (the process answers), `/readyz` (it can do its work), `/metrics`, `/status.json`. */
export function addHealthRoutes(server: FastifyInstance, deps: HealthDeps): void {
  server.get("/livez", (_request, reply) => reply.send({ status: "alive" }));

  server.get("/readyz", async (_request, reply) => {
    const problems = await deps.readiness();
    const isReady = problems.length === 0;
    return reply
      .code(isReady ? 200 : 503)
      .send({ status: isReady ? "ready" : "not ready", problems });
  });

  server.get("/metrics", async (_request, reply) => {
    const text = await deps.metrics.render();
    return reply.header("content-type", deps.metrics.contentType).send(text);
  });

  server.get("/status.json", async (_request, reply) => {
    const status = await deps.status();
    return reply.send(publicPart(status));
  });
}

/** Named one by one: what a status holds besides (pauses name tenants) is not public by accident. */
function publicPart(status: StatusView): Readonly<Record<string, unknown>> {
  const { schemaVersion, at, verdict, sentence, breakers } = status;
  // What is not known is said as null: a key that is missing reads as a release that does not have it.
  return {
    schemaVersion,
    at,
    verdict,
    sentence,
    calendars: status.calendars ?? null,
    quota: status.quota ?? null,
    retryShare: status.retryShare ?? null,
    breakers,
    backlog: status.backlog ?? null,
    push: status.push ?? null,
    deadLetters: status.deadLetters ?? null,
  };
}
