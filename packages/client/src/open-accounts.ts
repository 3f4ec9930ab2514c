/**
 * The accounts of one client. An account that is asked for again by the same credentials is the same, and its access
 * token with it: a program may ask per request of its own without a token refresh for each.
 *
 * State: accounts by what identifies them, the longest unused forgotten first; those of an auth object, which is the
 * adopter's to keep, until the client closes.
 */
import { createHash } from "node:crypto";
import type { GuardedAccountOptions } from "./account-options.ts";
import type { OpenAccount } from "./guarded-account.ts";

export interface OpenAccounts {
  open(options: GuardedAccountOptions): OpenAccount;
  all(): readonly OpenAccount[];
}

const MOST_KEPT = 10_000;

export function createOpenAccounts(
  openNew: (options: GuardedAccountOptions) => OpenAccount,
): OpenAccounts {
  const known = new Map<string, OpenAccount>();
  const withAuth = new Set<OpenAccount>();
  return {
    open: (options) => {
      if (options.auth !== undefined) {
        const account = openNew(options);
        withAuth.add(account);
        return account;
      }
      const key = keyOf(options);
      const account = known.get(key) ?? openNew(options);
      // To the end of the line: the map's first is the longest unused.
      known.delete(key);
      known.set(key, account);
      const [longestUnused] = known.keys();
      if (known.size > MOST_KEPT && longestUnused !== undefined) known.delete(longestUnused);
      return account;
    },
    all: () => [...known.values(), ...withAuth],
  };
}

function keyOf(options: GuardedAccountOptions): string {
  const { tenant, account, quotaUser, credentials, class: requestClass } = options;
  const text = JSON.stringify([tenant, account, quotaUser, requestClass, credentials]);
  return createHash("sha256").update(text).digest("base64");
}
