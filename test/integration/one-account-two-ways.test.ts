import { join } from "node:path";
import { expect } from "vitest";
import { BudgetSpent, Paused } from "../../packages/client/src/index.ts";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, consumer, quotaUser, tenantId } from "../../src/core/ids.ts";
import type { CallOptions } from "../../src/core/request.ts";
import type { SettingsStore } from "../../src/core/settings-store.ts";
import { createAccessTokens } from "../../src/google/google-auth.ts";
import { createGoogleCall } from "../../src/google/google-call.ts";
import { createCalendarClient } from "../../src/google/google-client.ts";
import { createPermitBroker } from "../../src/quota/permit-broker.ts";
import { openTestStore } from "../conformance/store-fixture.ts";
import { openClientWorld, type ClientWorld } from "../support/client-world.ts";
import { TEST_PROJECT } from "../support/ledger-parts.ts";
import { test as base } from "../support/redis-test.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";
import { createTestGuard } from "../support/test-guard.ts";

const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );

interface WorkerPath {
  read(): Promise<unknown>;
  write(): Promise<unknown>;
  /** An operator's pause of the account, as it is written in the database. */
  pause(reason: string | undefined): Promise<void>;
  readonly settings: Pick<SettingsStore, "list">;
  close(): Promise<void>;
}

/** A worker's way to Google for the account that the guarded client calls acme/ada, by its id in the database. */
async function openWorkerPath(world: ClientWorld): Promise<WorkerPath> {
  const store = await openTestStore(`sqlite:${join(await temporaryDirectory(), "store.db")}`);
  const { id } = await store.accounts.connect({
    projectId: TEST_PROJECT,
    tenantId: tenantId("acme"),
    name: accountName("ada"),
    quotaUser: quotaUser("someone-else-to-the-windows"),
    refreshToken: world.options.credentials.refreshToken,
    scopes: [],
    now: store.now(),
  });
  const ledger = world.parts.join();
  const broker = createPermitBroker({}, { ledgerOf: () => ledger, clock: systemClock });
  const { apiRootUrl, tokenUrl } = world.options.google;
  const guard = createTestGuard({ broker, apiRootUrl, tokenUrl });
  const oauthClientOf = (): { clientId: string; clientSecret: string } => world.options.credentials;
  const tokens = createAccessTokens(
    { tokenUrl, oauthClientOf, eagerRefreshMs: 300_000, maxAccounts: 10 },
    { guard, credentials: store.credentials, clock: systemClock },
  );
  const callGoogle = createGoogleCall({ guard, tokens, clock: systemClock });
  const client = createCalendarClient({ rootUrl: apiRootUrl }, { fetch: guard.fetch });
  const options: CallOptions = {
    consumer: consumer("ballast-worker"),
    class: "interactive",
    earlierAttempt: "none",
    deadlineMs: 5_000,
    signal: new AbortController().signal,
  };
  const calendarId = world.calendarId;
  return {
    settings: store.settings,
    pause: async (reason) => {
      const pause = reason === undefined ? undefined : { reason };
      await store.accounts.setOperatorPause(id, pause, { actor: "olga", now: store.now() });
    },
    close: async () => {
      await guard.close();
      await broker.close();
    },
    read: () =>
      callGoogle({ accountId: id, operation: "events.list" }, options, {
        attempt: ({ auth }, how) => client.events.list({ calendarId, auth }, how),
        read: () => undefined,
      }),
    write: () =>
      callGoogle({ accountId: id, operation: "events.insert" }, options, {
        attempt: ({ auth }, how) =>
          client.events.insert({ calendarId, auth, requestBody: {} }, how),
        read: () => undefined,
      }),
  };
}

const test = base.extend<{ readonly world: ClientWorld; readonly worker: WorkerPath }>({
  world: async ({ redisConnection }, use) => {
    const world = await openClientWorld(redisConnection);
    try {
      await use(world);
    } finally {
      await world.close();
    }
  },
  worker: async ({ world }, use) => {
    const worker = await openWorkerPath(world);
    try {
      await use(worker);
    } finally {
      await worker.close();
    }
  },
});

test("I12: a pause of an account holds it for workers and guarded clients alike", async ({
  world,
  worker,
}) => {
  const { calendar } = world.open();
  const list = (): Promise<unknown> => calendar.events.list({ calendarId: world.calendarId });
  expect(await caught(worker.read())).toBeUndefined();
  expect(await caught(list())).toBeUndefined();

  const { settings, opener } = world.parts;
  const { list: rows } = settings;
  Object.assign(settings, {
    list: async (prefix: string) => [
      ...(await rows(prefix)),
      ...(await worker.settings.list(prefix)),
    ],
  });
  await worker.pause("their audit");
  await opener.applySettings();
  expect(await caught(worker.read())).toBeInstanceOf(Paused);
  expect(await caught(list())).toBeInstanceOf(Paused);

  await worker.pause(undefined);
  await opener.applySettings();
  expect(await caught(worker.read())).toBeUndefined();
  expect(await caught(list())).toBeUndefined();
});

test("writes that Google parked for one of the two ways are parked for the other", async ({
  world,
  worker,
}) => {
  const { calendar } = world.open();
  expect(await caught(worker.read())).toBeUndefined();
  // What a guarded client tells of the account's writes once Google answered quotaExceeded.
  const parkedBy = world.parts.join();
  const broker = createPermitBroker({}, { ledgerOf: () => parkedBy, clock: systemClock });
  const { calendarId } = world;
  expect(await caught(calendar.events.list({ calendarId }))).toBeUndefined();
  const [seen] = world.records;
  if (!seen) throw new Error("The client sent nothing");
  const permit = await broker.acquire({
    attribution: seen.attribution,
    operation: "events.insert",
    upstream: "calendar",
    attempt: "first",
    maxWaitMs: 5_000,
    signal: new AbortController().signal,
  });
  broker.report(permit, { kind: "writes-parked", forMs: 3_600_000 });
  await broker.close();
  expect(await caught(worker.write())).toBeInstanceOf(BudgetSpent);
  expect(await caught(calendar.events.insert({ calendarId, requestBody: {} }))).toBeInstanceOf(
    BudgetSpent,
  );
  expect(await caught(worker.read())).toBeUndefined();
});
