import Bottleneck from "bottleneck";
import { Redis } from "ioredis";
import pRetry from "p-retry";
import {
  createGuardedClient,
  Refused,
  type GuardedAccount,
} from "../../packages/client/src/index.ts";
import { systemClock } from "../../src/core/clock.ts";
import { TEST_PROJECT } from "../../test/support/ledger-parts.ts";
import { createPlainClients } from "./google-calls.ts";
import type { Stack, StackName, StackOrders } from "./orders.ts";
import { createQueueStack } from "./queue-stack.ts";

const CALL_WITHIN_MS = 120_000;
const FIVE_ATTEMPTS = { attempts: 5, backoff: { type: "exponential", delay: 1_000 } } as const;

/** Each stack as its own documentation has it. */
export const CREATE_STACK: Readonly<
  Record<StackName, (orders: StackOrders) => Promise<Stack> | Stack>
> = {
  ballast: createBallast,
  today: (orders) => {
    const list = createPlainClients(orders);
    return createQueueStack(orders, {
      run: (account) => pRetry(() => list(account)),
      job: FIVE_ATTEMPTS,
    });
  },
  "bullmq-limiter": (orders) =>
    createQueueStack(orders, {
      run: createPlainClients(orders),
      job: FIVE_ATTEMPTS,
      worker: { limiter: { max: orders.limit, duration: orders.windowMs } },
    }),
  "bottleneck-cluster": createBottleneckCluster,
};

function createBallast(orders: StackOrders): Stack {
  const sentAtEpochMs: number[] = [];
  const pool = new Bottleneck({ maxConcurrent: orders.sharedSlots ?? null });
  let rejected = 0;
  let tokenRequests = 0;
  const client = createGuardedClient({
    redis: orders.redis,
    project: TEST_PROJECT,
    consumer: "bench",
    google: orders.google,
    deadlineMs: CALL_WITHIN_MS,
    concurrency: 160,
    onRequest: (record) => {
      if (record.outcome === "refused") return;
      // Noted at the end of the answer: the request line was written so long before.
      if (record.upstream === "calendar") sentAtEpochMs.push(Date.now() - record.durationMs);
      else tokenRequests += 1;
      if (record.reason === "rate-limited") rejected += 1;
    },
  });
  const accounts = new Map<string, GuardedAccount>(
    orders.accounts.map((account) => [
      account.name,
      client.forAccount({
        tenant: orders.isOneTenant === true ? "everyone" : account.tenant,
        account: account.name,
        quotaUser: account.quotaUser,
        class: orders.class,
        credentials: {
          clientId: "bench-client",
          clientSecret: "bench-secret",
          refreshToken: account.refreshToken,
        },
      }),
    ]),
  );
  return {
    sentAtEpochMs,
    rejected: () => rejected,
    tokenRequests: () => tokenRequests,
    settle: () => client.close(),
    perform: ({ name, calendarId }, requestClass = orders.class) => {
      const calendar = accounts.get(name)?.withClass(requestClass);
      if (!calendar) throw new Error(`no account ${name}`);
      return pool.schedule(() =>
        untilSent(() => calendar.events.list({ calendarId, maxResults: 2_500 })),
      );
    },
    close: () => client.close(),
  };
}

/** Background work is told when to come again; the worker does so by the row's due time, this by a sleep. */
async function untilSent(call: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await call();
      return;
    } catch (error) {
      if (!(error instanceof Refused) || error.retryAfterMs === undefined) throw error;
      await systemClock.sleep(error.retryAfterMs, new AbortController().signal);
    }
  }
}

function createBottleneckCluster(orders: StackOrders): Stack {
  const list = createPlainClients(orders);
  const connection = new Bottleneck.IORedisConnection({ client: new Redis(orders.redis) });
  const limiter = new Bottleneck({
    id: "google",
    connection,
    maxConcurrent: 50,
    reservoir: orders.limit,
    reservoirRefreshAmount: orders.limit,
    reservoirRefreshInterval: orders.windowMs,
  });
  limiter.on("error", () => undefined);
  connection.on("error", () => undefined);
  return {
    perform: (account) => limiter.schedule(() => list(account)),
    close: async () => {
      await limiter.disconnect(false);
      await connection.disconnect(false);
    },
  };
}
