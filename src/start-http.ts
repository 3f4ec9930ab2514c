import type { Parts, Starting } from "./app-parts.ts";
import { createHttpServer } from "./http/create-http-server.ts";
import type { Status } from "./operate/status.ts";
import type { WorkQueue } from "./queue/work-queue.ts";
import type { Store } from "./store/open-store.ts";

const REFRESHES_PER_MINUTE = 600;

/** The part of a process that answers HTTP. Resolves with its address. */
export async function startHttp(
  { config, deps, started }: Starting,
  parts: Pick<Parts, "store" | "metrics" | "queue"> & { readonly status: () => Promise<Status> },
): Promise<string> {
  const { store, metrics, status, queue } = parts;
  const server = await createHttpServer(
    {
      ...config.http,
      tokens: config.apiTokens,
      refreshesPerMinute: REFRESHES_PER_MINUTE,
      closeWithinMs: 2_000,
    },
    {
      clock: deps.clock,
      logger: deps.logger,
      status,
      metrics: {
        contentType: metrics.contentType,
        render: async () => {
          const { calendars, backlog } = await status();
          if (calendars !== undefined) metrics.setCalendars(calendars);
          if (backlog !== undefined) metrics.setBacklog(backlog);
          return metrics.render();
        },
      },
      accounts: store.accounts,
      calendars: store.calendars,
      readiness: () => readReadiness(store, queue),
    },
  );
  started.push({ name: "http", run: () => server.close() });
  return server.url;
}

/** What a load balancer should know: can this process do its work now? */
async function readReadiness(
  store: Store,
  queue: WorkQueue,
): Promise<readonly { readonly name: string; readonly reason: string }[]> {
  const checks: readonly (readonly [name: string, check: () => Promise<unknown>])[] = [
    ["database", () => store.migrations.status()],
    ["redis", () => queue.waiting("background")],
  ];
  const results = await Promise.allSettled(checks.map(([, check]) => check()));
  return results.flatMap((result, index) =>
    result.status === "fulfilled"
      ? []
      : [{ name: checks[index]?.[0] ?? "", reason: reasonOf(result.reason) }],
  );
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
