import { checkAccountOptions, type GuardedAccountOptions } from "./account-options.ts";
import type { GuardedAccount } from "./guarded-account.ts";
import { createGuardedClient, type GuardedClientOptions } from "./guarded-client.ts";

/** One account's calendar with a connection of its own. */
export interface GuardedCalendar extends GuardedAccount {
  /** As the client's `close`. */
  readonly close: () => Promise<void>;
}

/**
 * A client and its only account in one: for a program that acts for one account. One that acts for many makes one
 * client and asks it for each (`createGuardedClient`), since each client is a connection to Redis.
 */
export function createGuardedCalendar(
  options: GuardedClientOptions & GuardedAccountOptions,
): GuardedCalendar {
  checkAccountOptions(options);
  const client = createGuardedClient(options);
  try {
    return { ...client.forAccount(options), close: () => client.close() };
  } catch (error) {
    // Nobody else can close it; and nothing is under way that closing could fail.
    client.close().catch(() => undefined);
    throw error;
  }
}
