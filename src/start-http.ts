import { PUSH_TIMING, tellTrouble, type Parts, type Starting } from "./app-parts.ts";
import { createPushTokens } from "./google/push-token.ts";
import { createHttpServer } from "./http/create-http-server.ts";
import { createKnownChannels } from "./http/known-channels.ts";
import type { NotificationRouteDeps } from "./http/notification-route.ts";
import { createNotificationRecorder } from "./http/record-notifications.ts";
import { createRequestRecorder } from "./http/record-requests.ts";
import { PUSH_TOKEN_PURPOSE } from "./open-google.ts";
import type { Status } from "./operate/status.ts";
import type { WorkQueue } from "./queue/work-queue.ts";
import type { Store } from "./store/open-store.ts";

/** For each scope. A person's clicks are far below; what a programme asks too often is one refresh anyway. */
const LIMITS_PER_MINUTE = { token: 3_000, tenant: 1_200, consumer: 600 } as const;
const NOTIFICATIONS = { gatherMs: 20, keepWithinMs: 1_000, batchLimit: 1_000 } as const;
/** A few megabytes. */
const KNOWN_CHANNELS = { keptForMs: 60_000, limit: 20_000 } as const;

/** The part of a process that answers HTTP. Resolves with its address. */
export async function startHttp(
  starting: Starting,
  parts: Pick<Parts, "store" | "metrics" | "queue"> & { readonly status: () => Promise<Status> },
): Promise<string> {
  const { config, deps, started } = starting;
  const { store, metrics, status, queue } = parts;
  const recorder = createRequestRecorder({ calendars: store.calendars, clock: deps.clock });
  started.push({ name: "refresh requests", run: () => recorder.close() });
  const server = await createHttpServer(
    {
      ...config.http,
      tokens: config.apiTokens,
      limits: LIMITS_PER_MINUTE,
      closeWithinMs: 2_000,
    },
    {
      clock: deps.clock,
      logger: deps.logger,
      status,
      metrics: {
        contentType: metrics.contentType,
        render: async () => {
          const { calendars, accounts, backlog } = await status();
          if (calendars !== undefined) metrics.setCalendars(calendars);
          if (accounts !== undefined) metrics.setAccounts(accounts);
          if (backlog !== undefined) metrics.setBacklog(backlog);
          // A database that cannot be read is told by the status above.
          if (calendars !== undefined) {
            metrics.setPushHealth(await store.channels.health(deps.clock.now()));
          }
          return metrics.render();
        },
      },
      notifications: createNotifications(starting, parts),
      accounts: store.accounts,
      calendars: store.calendars,
      tokens: store.tokens,
      recorder,
      readiness: () => readReadiness(store, queue),
    },
  );
  started.push({ name: "http", run: () => server.close() });
  return server.url;
}

/** Notifications of Google's, from the token to the row. */
function createNotifications(
  { options, deps, started }: Starting,
  { store, metrics }: Pick<Parts, "store" | "metrics">,
): Omit<NotificationRouteDeps, "clock"> {
  const { channels } = store;
  const { quietMs, mostMs } = { ...PUSH_TIMING, ...options.push };
  const recorder = createNotificationRecorder(
    { ...NOTIFICATIONS, debounce: { quietMs, mostMs } },
    { channels, clock: deps.clock, onError: tellTrouble(deps, "Notifications could not be kept") },
  );
  started.push({ name: "notifications", run: () => recorder.close() });
  const tokens = createPushTokens(store.vault.deriveKeys(PUSH_TOKEN_PURPOSE));
  return {
    isOurs: (channelId, token) => tokens.isOurs(channelId, token),
    channels: createKnownChannels(KNOWN_CHANNELS, { channels, clock: deps.clock }),
    recorder,
    onNotification: (outcome) => {
      metrics.notificationReceived(outcome);
    },
  };
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
