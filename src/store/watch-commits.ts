import type { ChangeNews } from "../core/change-store.ts";
import { tenantId, type TenantId } from "../core/ids.ts";
import type { Database, Dialect, Trx } from "./database.ts";
import { fromStoredText } from "./stored-text.ts";

/**
 * Watches the transactions of a database and says, after each commit, whose feed it went on with. Whoever
 * numbers changes takes their tenant's lock, so the lock tells. Others' commits are not seen: news shortens
 * a wait, and nothing relies on it.
 */
export function watchCommits(database: Database): {
  readonly database: Database;
  readonly news: ChangeNews;
} {
  const listeners = new Set<(tenants: readonly TenantId[]) => void>();
  const noted = new WeakMap<Trx, Set<string>>();

  const excludeOthersOf: Dialect["excludeOthersOf"] = async (trx, lock) => {
    await database.dialect.excludeOthersOf(trx, lock);
    noted.get(trx)?.add(lock.of);
  };

  const write: Database["write"] = async (run) => {
    let tenants = new Set<string>();
    const result = await database.write((trx) => {
      // It may be run again from its start: only what its last run noted was committed.
      tenants = new Set();
      noted.set(trx, tenants);
      return run(trx);
    });
    if (tenants.size > 0) {
      const told = [...tenants].map((tenant) => tenantId(fromStoredText(tenant)));
      for (const listener of listeners) listener(told);
    }
    return result;
  };

  return {
    database: { ...database, write, dialect: { ...database.dialect, excludeOthersOf } },
    news: {
      subscribe(listener) {
        listeners.add(listener);
        return () => {
          listeners.delete(listener);
        };
      },
    },
  };
}
