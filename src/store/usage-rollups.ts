import { sql } from "kysely";
import { epochMs, type EpochMs } from "../core/clock.ts";
import type { UsageBatch, UsageFigure, UsageQuery, UsageStore } from "../core/usage-store.ts";
import type { Database, Trx } from "./database.ts";
import { foldUsage, inOrder, type UsageKey } from "./fold-usage.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";

/*
 * Each figure is added to its minute and to its quarter of an hour at once. Going from fine to coarse is then
 * only forgetting: a period is deleted whole when it is too old, and nothing is lost by a crash in between.
 */

const MINUTE_MS = 60_000;
const QUARTER_MS = 15 * MINUTE_MS;
const HOUR_MS = 60 * MINUTE_MS;
const KEPT: readonly { readonly spanMs: number; readonly keptMs: number }[] = [
  { spanMs: MINUTE_MS, keptMs: 48 * HOUR_MS },
  { spanMs: QUARTER_MS, keptMs: 14 * 24 * HOUR_MS },
];
/** A batch handed in later than this would be counted twice; its sender has given up long before. */
const BATCHES_KEPT_MS = 48 * HOUR_MS;
const BATCHES_AT_ONCE = 500;
/** Each is two rows. Keeps a transaction short: a SQLite file has one writer. */
const FIGURES_AT_ONCE = 250;
const NOT_SENT = ["refused", "unused"];

const DIMENSIONS = [
  "tenant_id",
  "consumer",
  "class",
  "operation",
  "attempt",
  "outcome",
  "reason",
] as const;
const COLUMNS = sql.join(DIMENSIONS.map((name) => sql.ref(name)));
const ROW_TYPES = {
  tenant_id: "text",
  consumer: "text",
  class: "text",
  operation: "text",
  attempt: "text",
  outcome: "text",
  reason: "text",
  requests: "bigint",
} as const;

/** Who spent the quota, in the database. */
export function createUsageStore(deps: { readonly database: Database }): UsageStore {
  const { database } = deps;
  return {
    async add(batch) {
      const figures = inOrder(batch.figures);
      for (let from = 0; from < figures.length; from += FIGURES_AT_ONCE) {
        const portion = figures.slice(from, from + FIGURES_AT_ONCE);
        const id = `${batch.id}/${String(from)}`;
        await database.write((trx) => addOnce(database, trx, { ...batch, id, figures: portion }));
      }
    },
    totals: async ({ projectId, since, by, limit }) => {
      const spanMs = by === "minute" ? MINUTE_MS : QUARTER_MS;
      const rows = await database.read((db) =>
        db
          .selectFrom("usage_rollups")
          .select(["tenant_id", "consumer", "class", "attempt", sumOfRequests()])
          .where("span_ms", "=", spanMs)
          .where("starts_at", ">=", startOf(since, spanMs))
          .where("project_id", "=", toStoredText(projectId))
          .where("outcome", "not in", NOT_SENT)
          .groupBy(["tenant_id", "consumer", "class", "attempt"])
          .orderBy("requests", "desc")
          .orderBy("tenant_id")
          .limit(limit)
          .execute(),
      );
      return rows.map((row) => ({
        tenantId: fromStoredText(row.tenant_id),
        consumer: fromStoredText(row.consumer),
        class: fromStoredText(row.class),
        attempt: fromStoredText(row.attempt),
        requests: row.requests,
      }));
    },
    unsuccessful: (query) => readUnsuccessful(database, query),
    async attempts(since) {
      const rows = await database.read((db) =>
        db
          .selectFrom("usage_rollups")
          .select(["attempt", sumOfRequests()])
          .where("span_ms", "=", MINUTE_MS)
          .where("starts_at", ">=", startOf(since, MINUTE_MS))
          .where("outcome", "not in", NOT_SENT)
          .groupBy("attempt")
          .execute(),
      );
      const of = (attempt: string): number =>
        rows.find((row) => row.attempt === attempt)?.requests ?? 0;
      return { first: of("first"), retry: of("retry") };
    },
    prune: (now) => database.write((trx) => pruneOne(trx, now)),
  };
}

async function readUnsuccessful(
  database: Database,
  { projectId, since, by, limit }: UsageQuery,
): ReturnType<UsageStore["unsuccessful"]> {
  const spanMs = by === "minute" ? MINUTE_MS : QUARTER_MS;
  const names = ["tenant_id", "consumer", "class", "attempt", "outcome", "reason"] as const;
  const rows = await database.read((db) =>
    db
      .selectFrom("usage_rollups")
      .select([...names, sumOfRequests()])
      .where("span_ms", "=", spanMs)
      .where("starts_at", ">=", startOf(since, spanMs))
      .where("project_id", "=", toStoredText(projectId))
      .where("outcome", "not in", ["succeeded", "unused"])
      .groupBy(names)
      .orderBy("requests", "desc")
      .orderBy("tenant_id")
      .limit(limit)
      .execute(),
  );
  return rows.map((row) => ({
    tenantId: fromStoredText(row.tenant_id),
    consumer: fromStoredText(row.consumer),
    class: fromStoredText(row.class),
    attempt: fromStoredText(row.attempt),
    outcome: fromStoredText(row.outcome),
    reason: fromStoredText(row.reason),
    requests: row.requests,
  }));
}

function sumOfRequests() {
  // Postgres sums bigints to numeric, which its driver gives as text.
  return sql<number>`cast(sum(requests) as bigint)`.as("requests");
}

function startOf(at: EpochMs, spanMs: number): EpochMs {
  return epochMs(Math.floor(at / spanMs) * spanMs);
}

async function addOnce(database: Database, trx: Trx, batch: UsageBatch): Promise<void> {
  // Two that add at once would each see room for what together is too much.
  await database.dialect.excludeOthers(trx, "usage");
  const isNew = await trx
    .insertInto("usage_batches")
    .values({ id: batch.id, at: batch.at })
    .onConflict((conflict) => conflict.column("id").doNothing())
    .returning("id")
    .executeTakeFirst();
  if (isNew === undefined) return;
  for (const { spanMs } of KEPT) {
    const period = {
      project_id: toStoredText(batch.projectId),
      span_ms: spanMs,
      starts_at: startOf(batch.at, spanMs),
    };
    const figures = foldUsage(await readKeys(trx, period), batch.figures);
    const rows = database.dialect.rowsFrom(figures.map(toRow), ROW_TYPES);
    await sql`
      insert into usage_rollups (span_ms, starts_at, project_id, ${COLUMNS}, requests)
      select ${sql.lit(spanMs)}, cast(${period.starts_at} as bigint), ${period.project_id}, ${COLUMNS}, requests
      from ${rows} where true
      on conflict (span_ms, starts_at, project_id, ${COLUMNS})
      do update set requests = usage_rollups.requests + excluded.requests`.execute(trx);
  }
}

async function readKeys(
  trx: Trx,
  period: { readonly project_id: string; readonly span_ms: number; readonly starts_at: number },
): Promise<readonly UsageKey[]> {
  const rows = await trx
    .selectFrom("usage_rollups")
    .select(DIMENSIONS)
    .where("span_ms", "=", period.span_ms)
    .where("starts_at", "=", period.starts_at)
    .where("project_id", "=", period.project_id)
    .execute();
  return rows.map((row) => ({
    tenantId: fromStoredText(row.tenant_id),
    consumer: fromStoredText(row.consumer),
    class: fromStoredText(row.class),
    operation: fromStoredText(row.operation),
    attempt: fromStoredText(row.attempt),
    outcome: fromStoredText(row.outcome),
    reason: fromStoredText(row.reason),
  }));
}

/** Names come from other programs' settings: any of them may hold what Postgres refuses. */
function toRow(figure: UsageFigure): object {
  return {
    tenant_id: toStoredText(figure.tenantId),
    consumer: toStoredText(figure.consumer),
    class: toStoredText(figure.class),
    operation: toStoredText(figure.operation),
    attempt: toStoredText(figure.attempt),
    outcome: toStoredText(figure.outcome),
    reason: toStoredText(figure.reason),
    requests: figure.requests,
  };
}

/** One period at a time: its rows are bounded, so the transaction is. */
async function pruneOne(trx: Trx, now: EpochMs): Promise<boolean> {
  for (const { spanMs, keptMs } of KEPT) {
    const oldest = await trx
      .selectFrom("usage_rollups")
      .select("starts_at")
      .where("span_ms", "=", spanMs)
      .where("starts_at", "<", now - keptMs)
      .orderBy("starts_at")
      .limit(1)
      .executeTakeFirst();
    if (oldest !== undefined) {
      await trx
        .deleteFrom("usage_rollups")
        .where("span_ms", "=", spanMs)
        .where("starts_at", "=", oldest.starts_at)
        .execute();
      return true;
    }
  }
  const { numDeletedRows } = await trx
    .deleteFrom("usage_batches")
    .where("id", "in", (query) =>
      query
        .selectFrom("usage_batches")
        .select("id")
        .where("at", "<", now - BATCHES_KEPT_MS)
        .limit(BATCHES_AT_ONCE),
    )
    .executeTakeFirstOrThrow();
  return numDeletedRows > 0n;
}
