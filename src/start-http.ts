import { PROJECT, pushTimingOf, tellTrouble, type Parts, type Starting } from "./app-parts.ts";
import type { Clock } from "./core/clock.ts";
import type { QuotaStatus } from "./core/quota-status.ts";
import { LedgerUnavailable } from "./core/refusal.ts";
import { createPushTokens } from "./google/push-token.ts";
import type { ApiDeps } from "./http/api-routes.ts";
import { createHttpServer } from "./http/create-http-server.ts";
import { createKnownChannels } from "./http/known-channels.ts";
import type { NotificationRouteDeps } from "./http/notification-route.ts";
import { createNotificationRecorder } from "./http/record-notifications.ts";
import { createRequestRecorder } from "./http/record-requests.ts";
import { PUSH_TOKEN_PURPOSE } from "./open-google.ts";
import type { Status } from "./operate/status.ts";
import { createAppReader } from "./operator-app.ts";
import { readQuotaReport } from "./operator-quota.ts";
import { readQuotaStatus } from "./quota/quota-status.ts";
import type { WorkQueue } from "./queue/work-queue.ts";
import type { Store } from "./store/open-store.ts";
import { startListening } from "./sync/keep-listening.ts";

const NOTIFICATIONS = {
  gatherMs: 20,
  keepWithinMs: 1_000,
  batchLimit: 5_000,
  putOffEveryMs: 250,
} as const;
/** A few megabytes. */
const KNOWN_CHANNELS = { keptForMs: 60_000, limit: 20_000 } as const;

/** The part of a process that answers HTTP. Resolves with its address. */
export async function startHttp(
  starting: Starting,
  parts: Pick<Parts, "store" | "metrics" | "queue" | "budget"> & {
    readonly status: () => Promise<Status>;
  },
): Promise<string> {
  const { config, deps, started } = starting;
  const { store, metrics, status, queue } = parts;
  const recorder = createRequestRecorder({ calendars: store.calendars, clock: deps.clock });
  started.push({ name: "refresh requests", run: () => recorder.close() });
  const server = await createHttpServer(
    {
      ...config.http,
      tokens: config.apiTokens,
      closeWithinMs: 2_000,
    },
    {
      clock: deps.clock,
      logger: deps.logger,
      status,
      metrics: {
        contentType: metrics.contentType,
        render: async () => {
          const { calendars, accounts, backlog, push } = await status();
          if (calendars !== undefined) metrics.setCalendars(calendars);
          if (accounts !== undefined) metrics.setAccounts(accounts);
          if (backlog !== undefined) metrics.setBacklog(backlog);
          if (push !== undefined) metrics.setPushHealth(push);
          // A database that cannot be read is told by the status above.
          if (calendars !== undefined) {
            metrics.setWebhooks(await store.webhooks.health(), deps.clock.now());
          }
          return metrics.render();
        },
      },
      notifications: createNotifications(starting, parts),
      ...createApiDeps(starting, parts),
      changeNews: store.changeNews,
      onChangeWaits: (waiting) => {
        metrics.setChangeWaits(waiting);
      },
      tokens: store.tokens,
      recorder,
      readiness: () => readReadiness(store, queue),
    },
  );
  started.push({ name: "http", run: () => server.close() });
  if (config.http.publicUrl !== undefined) {
    const onError = tellTrouble(deps, "That notifications are heard could not be noted");
    const listening = startListening(PROJECT, { polls: store.polls, clock: deps.clock, onError });
    started.push({ name: "listening", run: () => listening.stop() });
  }
  return server.url;
}

/** What the routes under `/v1` read and write. */
function createApiDeps(
  { config, deps, started }: Starting,
  { store, budget }: Pick<Parts, "store" | "budget">,
): Omit<ApiDeps, "targets" | "recorder" | "changeWaits" | "clock"> & Pick<Store, "changes"> {
  const { clock } = deps;
  const { client, oauthAuthUrl: authUrl } = config.google;
  const onError = tellTrouble(deps, "Reads could not be noted");
  const reader = createAppReader(store, { clock, onError });
  started.push({ name: "reads", run: () => reader.close() });
  return {
    tenants: store.tenants,
    accounts: store.accounts,
    calendars: store.calendars,
    changes: store.changes,
    webhooks: store.webhooks,
    removals: store.removals,
    allowPrivateWebhooks: config.allowPrivateWebhooks,
    events: store.events,
    reader,
    projectId: PROJECT,
    consent: client === undefined ? undefined : { authUrl, clientId: client.id },
    readQuota: (asked) =>
      readQuotaReport(asked, { store, clock, readQuota: () => readLedger({ budget }, clock) }),
  };
}

/** Undefined: the ledger cannot be asked now, or is not open yet. */
async function readLedger(
  { budget }: Pick<Parts, "budget">,
  clock: Clock,
): Promise<QuotaStatus | undefined> {
  try {
    const status = await readQuotaStatus(budget.ledger, clock);
    return status === "opening" ? undefined : status;
  } catch (error) {
    if (error instanceof LedgerUnavailable) return undefined;
    throw error;
  }
}

/** Notifications of Google's, from the token to the row. */
function createNotifications(
  starting: Starting,
  { store, metrics }: Pick<Parts, "store" | "metrics">,
): Omit<NotificationRouteDeps, "clock"> {
  const { deps, started } = starting;
  const { channels } = store;
  const { quietMs, mostMs } = pushTimingOf(starting);
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
