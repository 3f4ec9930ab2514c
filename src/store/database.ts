import type { Kysely, RawBuilder, Transaction } from "kysely";
import type { ScrubOutcome } from "../core/removal-store.ts";
import type { Tables } from "./tables.ts";

/** A handle inside a transaction: nothing else may be awaited there. */
export type Trx = Transaction<Tables>;
/** A handle that reads. */
export type Reader = Kysely<Tables>;

/** What the two databases do not have in common. */
export interface Dialect {
  readonly name: "sqlite" | "postgres";
  /** Locks the rows a SELECT returns until the transaction ends; nothing where one writer is the rule. */
  readonly forUpdate: RawBuilder<unknown>;
  /** As `forUpdate`, without the rows that somebody else holds this moment. */
  readonly forUpdateOfFree: RawBuilder<unknown>;
  /** At most one transaction at a time gets past this, fleet-wide, for one `name`. */
  excludeOthers(trx: Trx, name: "migrate" | "claim" | "usage" | "grants"): Promise<void>;
  /** As above, of one tenant's `what` only. */
  excludeOthersOf(trx: Trx, lock: { readonly what: "changes"; readonly of: string }): Promise<void>;
  /** A table expression `r` over a JSON array of objects, one parameter however many rows. */
  rowsFrom(
    rows: readonly object[],
    columns: Readonly<Record<string, "text" | "bigint">>,
  ): RawBuilder<unknown>;
  /** For each tenant of `asks`, its claimable calendars longest due in one class, about `take` of each. */
  dueCalendars(
    asks: readonly { readonly tenant: string; readonly take: number }[],
    due: { readonly classRank: number; readonly now: number },
  ): RawBuilder<{ number: number; id: string; tenant_id: string; due_at: number }>;
  /** Claimable calendars of one class, of the tenants that have to be looked at; at most so many. */
  allDueCalendars(
    due: { readonly classRank: number; readonly now: number },
    most: number,
  ): RawBuilder<unknown>;
  /** From here on what this transaction deletes is overwritten in the files, where the database can do that. */
  overwriteDeleted(trx: Trx): Promise<void>;
  /** The type of a self-numbering primary key. */
  readonly serialKey: RawBuilder<unknown>;
  /** Rows of a table, roughly, without reading it where that is possible. */
  estimateRows(db: Reader, table: string): Promise<number>;
  /** True when nobody has made a table yet. */
  isEmpty(db: Reader): Promise<boolean>;
  hasTable(db: Reader, table: string): Promise<boolean>;
}

/**
 * One database, written and read. Every error that leaves it is `StoreUnavailable` (asking again
 * later helps) or `StoreFailed` (it does not); drivers' errors stay inside.
 */
export interface Database {
  readonly dialect: Dialect;
  /** One transaction; tried again from its start while another writer is in the way, so `run` must be repeatable. */
  write<T>(run: (trx: Trx) => Promise<T>): Promise<T>;
  /** One statement, on connections that writers do not hold up (I13). */
  read<T>(run: (db: Reader) => Promise<T>): Promise<T>;
  /** Several statements that see one state. */
  snapshot<T>(run: (trx: Trx) => Promise<T>): Promise<T>;
  /** Overwrite what deleted rows left in the files, where that is ours to do. */
  scrub(): Promise<ScrubOutcome>;
  close(): Promise<void>;
}
