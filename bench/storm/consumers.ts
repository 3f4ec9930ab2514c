import {
  createGuardedClient,
  Refused,
  type GuardedAccount,
} from "../../packages/client/src/index.ts";
import { systemClock } from "../../src/core/clock.ts";
import type { RequestClass } from "../../src/core/request.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";

/** Programs beside Ballast's workers that call Google by the guarded client. */
export interface StormConsumers {
  /** One listing for a person who waits; given up when it fails. */
  readonly book: (account: number, calendarId: string) => Promise<void>;
  /** One poll: when the budget says "later", it is made later. */
  readonly poll: (account: number, calendarId: string) => Promise<void>;
  readonly close: () => Promise<void>;
}

/** The consumer of `book`, which the settings allow to be interactive. */
export const BOOKING_CONSUMER = "booking-api";
const DEADLINE_MS = 15_000;

/** Open both on a fleet's Redis. */
export function openConsumers(redis: string, simulator: Simulator): StormConsumers {
  const closing = new AbortController();
  const booking = openConsumer({ redis, simulator, consumer: BOOKING_CONSUMER, of: "interactive" });
  const atoms = openConsumer({ redis, simulator, consumer: "atoms", of: "poll" });
  const poll = async (account: GuardedAccount, calendarId: string): Promise<void> => {
    while (!closing.signal.aborted) {
      try {
        await list(account, calendarId);
        return;
      } catch (error) {
        if (!(error instanceof Refused) || error.retryAfterMs === undefined) throw error;
        await systemClock.sleep(error.retryAfterMs, closing.signal);
      }
    }
  };
  return {
    book: (account, calendarId) => list(booking.accountOf(account), calendarId),
    poll: (account, calendarId) => poll(atoms.accountOf(account), calendarId),
    close: async () => {
      closing.abort(new Error("the run is over"));
      await Promise.all([booking.close(), atoms.close()]);
    },
  };
}

async function list(account: GuardedAccount, calendarId: string): Promise<void> {
  await account.calendar.events.list({ calendarId, maxResults: 2_500 });
}

function openConsumer(options: {
  readonly redis: string;
  readonly simulator: Simulator;
  readonly consumer: string;
  readonly of: RequestClass;
}): { readonly accountOf: (index: number) => GuardedAccount; readonly close: () => Promise<void> } {
  const { redis, simulator, consumer } = options;
  const client = createGuardedClient({
    redis,
    project: "default",
    consumer,
    google: { apiRootUrl: simulator.url, tokenUrl: simulator.tokenUrl },
    deadlineMs: DEADLINE_MS,
  });
  const accounts = simulator.accounts().map(({ sub, refreshToken }, index) =>
    client.forAccount({
      tenant: `tenant-${String(index)}`,
      account: `account-${String(index)}`,
      quotaUser: sub,
      class: options.of,
      credentials: { clientId: "storm-client", clientSecret: "storm-secret", refreshToken },
    }),
  );
  return {
    accountOf: (index) => {
      const account = accounts[index];
      if (account === undefined) throw new Error(`There is no account ${String(index)}`);
      return account;
    },
    close: () => client.close(),
  };
}
