import {
  createGuardedCalendar,
  type GuardedAccountOptions,
  type GuardedCalendar,
  type GuardedClientOptions,
  type RefreshEndpoint,
} from "../../packages/client/src/index.ts";
import type { RequestRecord } from "../../src/quota/request-observer.ts";
import { collectUsage } from "../../src/quota/collect-usage.ts";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import type { SimulatorOptions } from "../../src/simulator/assemble-simulator.ts";
import type { LoggedRequest } from "../../src/simulator/request-log.ts";
import { openLedger, TEST_PROJECT, type LedgerParts } from "./ledger-parts.ts";
import type { RedisConnection } from "./redis-test.ts";
import { startScriptedServer, type Answer, type ScriptedServer } from "./scripted-server.ts";

/** A guarded calendar, the simulator that it asks, the ledger that grants, and a Ballast that is asked for refreshes. */
export interface ClientWorld {
  readonly simulator: Simulator;
  readonly parts: LedgerParts;
  readonly ballast: ScriptedServer;
  readonly records: RequestRecord[];
  readonly errors: unknown[];
  /** The id of the account's only calendar. */
  readonly calendarId: string;
  readonly options: GuardedClientOptions &
    GuardedAccountOptions & {
      readonly credentials: { clientId: string; clientSecret: string; refreshToken: string };
      readonly google: { apiRootUrl: string; tokenUrl: string };
      readonly refresh: RefreshEndpoint;
    };
  /** Opens one; all are closed with the world. */
  readonly open: (over?: Partial<GuardedClientOptions & GuardedAccountOptions>) => GuardedCalendar;
  /** What reached the simulator, token requests included. */
  arrivals(): readonly LoggedRequest[];
  /** How many requests the ledger has counted. */
  counted(): Promise<number>;
  close(): Promise<void>;
}

/** `answer` is Ballast's, to each request for a refresh; `settings` are the ledger's. */
export async function openClientWorld(
  connection: RedisConnection,
  over: {
    readonly answer?: (count: number) => Answer;
    readonly settings?: Readonly<Record<string, unknown>>;
    readonly serviceAccounts?: SimulatorOptions["serviceAccounts"];
  } = {},
): Promise<ClientWorld> {
  const simulator = await createSimulator({
    seed: "client",
    ...(over.serviceAccounts ? { serviceAccounts: over.serviceAccounts } : {}),
    generate: { accounts: 1, calendars: 1, events: 3 },
  });
  const marked: Answer = { status: 202, body: JSON.stringify({ outcome: "marked" }) };
  const { answer = () => marked } = over;
  const ballast = await startScriptedServer((_arrival, count) => answer(count));
  const parts = await openLedger(connection, {
    settings: { projectPerMinute: 5_000, userPerMinute: 5_000, ...over.settings },
  });
  const [account] = simulator.accounts();
  const [calendarId] = simulator.world.calendars.keys();
  if (!account || calendarId === undefined) throw new Error("The simulator is empty");
  const records: RequestRecord[] = [];
  const errors: unknown[] = [];
  const opened: GuardedCalendar[] = [];
  const options = {
    redis: connection,
    project: TEST_PROJECT,
    tenant: "acme",
    account: "ada",
    quotaUser: account.sub,
    consumer: "booking-api",
    class: "interactive",
    credentials: { clientId: "id", clientSecret: "secret", refreshToken: account.refreshToken },
    refresh: { url: ballast.url, token: "refresh-token" },
    google: { apiRootUrl: simulator.url, tokenUrl: simulator.tokenUrl },
    onRequest: (record: RequestRecord) => {
      records.push(record);
    },
    onError: (error: unknown) => {
      errors.push(error);
    },
  } as const;
  return {
    simulator,
    parts,
    ballast,
    records,
    errors,
    calendarId,
    options,
    open: (changed = {}) => {
      const calendar = createGuardedCalendar({ ...options, ...changed });
      opened.push(calendar);
      return calendar;
    },
    arrivals: () => simulator.log.after(0, 10_000),
    counted: async () => {
      const usage = await collectUsage(parts.ledger);
      await usage?.confirm();
      return (usage?.rows ?? []).reduce((sum, row) => sum + row.requests, 0);
    },
    close: async () => {
      await Promise.all(opened.map((calendar) => calendar.close()));
      await parts.close();
      await ballast.close();
      await simulator.close();
    },
  };
}
