import { readFileSync } from "node:fs";
import type { calendar_v3 } from "@googleapis/calendar";
import { createSimulator } from "../../../src/simulator/simulator.ts";
import type { ScenarioOptions } from "../scenario.ts";
import { createCalendarWriter, createPlainClient, type CalendarWriter } from "./calendar-writer.ts";

/** The Google that a mirror is tried against: our simulator, or a server that is not ours. */
export interface GoogleWorld {
  readonly apiRootUrl: string;
  readonly tokenUrl: string;
  readonly refreshTokens: readonly string[];
  /** Kill this many sync tokens, by age or by changed access rules; undefined where there is no such control. */
  readonly killTokens: ((count: number) => void) | undefined;
  close(): Promise<void>;
}

const ACCOUNTS = 8;
const SHARED_CALENDARS = new URL("../../../../shared/data/public-calendars.json", import.meta.url);

/** Start a simulator with real public calendars when they are there, else with made-up ones. */
export async function openGoogleWorld(options: ScenarioOptions): Promise<GoogleWorld> {
  if (options.foreign !== undefined) {
    return { ...options.foreign, killTokens: undefined, close: () => Promise.resolve() };
  }
  const calendars = readSharedCalendars();
  const simulator = await createSimulator({
    seed: options.seed,
    ...(calendars === undefined
      ? { generate: { accounts: ACCOUNTS, calendars: 8, events: 25 } }
      : { calendars: { accounts: ACCOUNTS, calendars } }),
  });
  options.say(
    calendars === undefined
      ? "simulator with made-up calendars"
      : `simulator with ${String(calendars.length)} real public calendars`,
  );
  return {
    apiRootUrl: simulator.url,
    tokenUrl: simulator.tokenUrl,
    refreshTokens: simulator.accounts().map(({ refreshToken }) => refreshToken),
    killTokens: (count) => {
      simulator.changes.apply(count, { mix: { "token-death": 1, "acl-change": 1 } });
    },
    close: () => simulator.close(),
  };
}

type SeedCalendars = NonNullable<
  NonNullable<Parameters<typeof createSimulator>[0]>["calendars"]
>["calendars"];

function readSharedCalendars(): SeedCalendars | undefined {
  try {
    return JSON.parse(readFileSync(SHARED_CALENDARS, "utf8")) as SeedCalendars;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  }
}

/** One account, its plain client, and the calendars that it sees. */
export interface AccountClient {
  readonly refreshToken: string;
  readonly client: calendar_v3.Calendar;
  readonly listed: readonly { readonly googleId: string; readonly canWrite: boolean }[];
}

export async function openAccountClients(world: GoogleWorld): Promise<readonly AccountClient[]> {
  return Promise.all(
    world.refreshTokens.map(async (refreshToken) => {
      const client = createPlainClient(world, refreshToken);
      const listed: { googleId: string; canWrite: boolean }[] = [];
      let pageToken: string | undefined;
      do {
        const { data } = await client.calendarList.list({
          maxResults: 250,
          ...(pageToken === undefined ? {} : { pageToken }),
        });
        for (const { id, accessRole } of data.items ?? []) {
          if (id != null) {
            listed.push({
              googleId: id,
              canWrite: accessRole === "owner" || accessRole === "writer",
            });
          }
        }
        pageToken = data.nextPageToken ?? undefined;
      } while (pageToken !== undefined);
      return { refreshToken, client, listed };
    }),
  );
}

/** A writer, and the account that it writes as. */
export interface OwnedWriter extends CalendarWriter {
  readonly account: AccountClient;
}

/** One writer per Google calendar that some account may write, however many accounts see it. */
export async function openWriters(
  accounts: readonly AccountClient[],
): Promise<ReadonlyMap<string, OwnedWriter>> {
  const writers = new Map<string, OwnedWriter>();
  for (const account of accounts) {
    for (const { googleId, canWrite } of account.listed) {
      if (!canWrite || writers.has(googleId)) continue;
      const writer = await createCalendarWriter(account.client, googleId, () => Date.now());
      writers.set(googleId, { ...writer, account });
    }
  }
  return writers;
}
