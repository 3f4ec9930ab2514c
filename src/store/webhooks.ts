import { sql, type RawBuilder, type Selectable } from "kysely";
import { epochMs, type EpochMs } from "../core/clock.ts";
import { tenantId, type TenantId } from "../core/ids.ts";
import type {
  WebhookClaim,
  WebhookHealth,
  WebhookRow,
  WebhookState,
  WebhookStore,
} from "../core/webhook-store.ts";
import { momentOf } from "./calendar-rows.ts";
import { readHead } from "./changes.ts";
import type { Database, Trx } from "./database.ts";
import { appendEntry } from "./operator-log.ts";
import { fromStoredText, fromStoredTextOrUndefined, toStoredText } from "./stored-text.ts";
import type { WebhooksTable } from "./tables.ts";
import { VaultKeyError, type Vault } from "./vault.ts";

/*
 * States of a row: due → claimed (fence + 1, until `lease_until`) → due (delivered; or failing, later each
 * time) | disabled → due (an operator). A claim ends by its mark, or by its time when its process died.
 */

const MAX_LIST = 1_000;

type StoredWebhook = Selectable<WebhooksTable>;

interface WebhookDeps {
  readonly database: Database;
  readonly vault: Vault;
}

/** Webhooks, in the database. */
export function createWebhookStore(deps: WebhookDeps): WebhookStore {
  const { database } = deps;
  return {
    set: (tenant, webhook, by) =>
      database.write((trx) => setWebhook(deps, trx, { tenant, ...webhook, ...by })),
    resume: (tenant, by) =>
      database.write(async (trx) => {
        const row = await trx
          .updateTable("webhooks")
          .set({ ...USUAL, due_at: by.now })
          .where("tenant_id", "=", toStoredText(tenant))
          .returning("tenant_id")
          .executeTakeFirst();
        if (row === undefined) return "unknown-webhook";
        await record(trx, { ...by, tenant, action: "webhook.resumed" });
        return "resumed";
      }),
    remove: (tenant, by) =>
      database.write(async (trx) => {
        const row = await trx
          .deleteFrom("webhooks")
          .where("tenant_id", "=", toStoredText(tenant))
          .returning("url")
          .executeTakeFirst();
        if (row === undefined) return "unknown-webhook";
        await record(trx, { ...by, tenant, action: "webhook.removed", host: hostOf(row.url) });
        return "removed";
      }),
    async get(tenant) {
      const row = await database.read((db) =>
        db
          .selectFrom("webhooks")
          .selectAll()
          .where("tenant_id", "=", toStoredText(tenant))
          .executeTakeFirst(),
      );
      return row === undefined ? undefined : toRow(row);
    },
    async list({ after, limit }) {
      const rows = await database.read((db) =>
        db
          .selectFrom("webhooks")
          .selectAll()
          .where("tenant_id", ">", toStoredText(after ?? ""))
          .orderBy("tenant_id")
          .limit(Math.min(Math.max(limit, 1), MAX_LIST))
          .execute(),
      );
      return rows.map(toRow);
    },
    claimDue: (claim) => claimDue(deps, claim),
    ...marks(database),
    health: () => readHealth(database),
  };
}

/** Names the row and column that a seal belongs to. */
export function webhookContext(storedTenantId: string): string {
  return `webhooks:${storedTenantId}:secret`;
}

const USUAL = {
  lease_until: null,
  failures: 0,
  failing_since: null,
  last_failure: null,
  disabled_reason: null,
} as const;

async function setWebhook(
  { vault }: WebhookDeps,
  trx: Trx,
  of: {
    readonly tenant: TenantId;
    readonly url: string;
    readonly secret: string;
    readonly actor: string;
    readonly now: EpochMs;
  },
): Promise<"created" | "replaced" | "unknown-tenant"> {
  const { tenant, now } = of;
  const id = toStoredText(tenant);
  const known = await trx
    .selectFrom("tenants")
    .select("id")
    .where("id", "=", id)
    .executeTakeFirst();
  if (known === undefined) return "unknown-tenant";
  const { sealed, keyId } = vault.seal(of.secret, webhookContext(id));
  const fresh = {
    ...USUAL,
    url: toStoredText(of.url),
    secret_sealed: sealed,
    secret_key: keyId,
    due_at: now,
  };
  const written = await trx
    .insertInto("webhooks")
    .values({
      ...fresh,
      tenant_id: id,
      position: await readHead(trx, tenant),
      created_at: now,
      created_by: toStoredText(of.actor),
    })
    // Whoever sends by the old address is fenced out: what it sent is sent again.
    .onConflict((conflict) =>
      conflict.column("tenant_id").doUpdateSet({ ...fresh, fence: sql`webhooks.fence + 1` }),
    )
    .returning("fence")
    .executeTakeFirstOrThrow();
  await record(trx, { ...of, action: "webhook.set", host: hostOf(of.url) });
  return written.fence === 0 ? "created" : "replaced";
}

/** Of the address its host alone: the rest may hold somebody's secret. */
function hostOf(url: string): string {
  return URL.parse(fromStoredText(url))?.host ?? "";
}

async function record(
  trx: Trx,
  entry: {
    readonly tenant: TenantId;
    readonly action: string;
    readonly actor: string;
    readonly now: EpochMs;
    readonly host?: string;
    readonly reason?: string;
  },
): Promise<void> {
  await appendEntry(trx, {
    at: entry.now,
    actor: entry.actor,
    action: entry.action,
    subject: entry.tenant,
    reason: entry.reason,
    details: entry.host === undefined ? {} : { host: entry.host },
  });
}

/** Forgotten changes are something to send, too: that they are gone. */
const HAS_NEWS = sql<boolean>`(
  exists (select 1 from changes as c
    where c.tenant_id = webhooks.tenant_id and c.sequence > webhooks.position)
  or webhooks.position < (select t.changes_forgotten from tenants as t where t.id = webhooks.tenant_id))`;

function isAmong(newsAfter: number | undefined): RawBuilder<unknown> {
  return newsAfter === undefined
    ? sql`true`
    : sql`tenant_id in (select n.tenant_id from changes as n where n.sequence > ${newsAfter})`;
}

async function claimDue(
  { database, vault }: WebhookDeps,
  { now, limit, leaseMs, newsAfter }: Parameters<WebhookStore["claimDue"]>[0],
): Promise<readonly WebhookClaim[]> {
  const isDue = sql<boolean>`(disabled_reason is null and due_at <= ${now}
    and (lease_until is null or lease_until <= ${now}) and ${isAmong(newsAfter)} and ${HAS_NEWS})`;
  // Mostly there is nothing to send, and then nothing is written.
  const first = await database.read((db) =>
    db.selectFrom("webhooks").select("tenant_id").where(isDue).limit(1).executeTakeFirst(),
  );
  if (first === undefined) return [];
  const rows = await database.write(async (trx) => {
    const due = await trx
      .selectFrom("webhooks")
      .select("tenant_id")
      .where(isDue)
      .orderBy("due_at")
      .limit(limit)
      .modifyEnd(database.dialect.forUpdateOfFree)
      .execute();
    if (due.length === 0) return [];
    return trx
      .updateTable("webhooks")
      .set({ lease_until: now + leaseMs, fence: sql`fence + 1` })
      .where(
        "tenant_id",
        "in",
        due.map((row) => row.tenant_id),
      )
      .returningAll()
      .execute();
  });
  return rows.map((row) => {
    const { tenantId: tenant, url, position, failures, failingSince } = toRow(row);
    const secret = openSecret(vault, row);
    return { tenantId: tenant, url, position, failures, failingSince, fence: row.fence, secret };
  });
}

/** One that cannot be opened fails alone (I8). */
function openSecret(vault: Vault, row: StoredWebhook): string | undefined {
  try {
    return vault.open(row.secret_sealed, webhookContext(row.tenant_id));
  } catch (error) {
    if (error instanceof VaultKeyError) return undefined;
    throw error;
  }
}

function marks(database: Database): Pick<WebhookStore, "markDelivered" | "markFailed" | "release"> {
  type Changes = Partial<Omit<StoredWebhook, "tenant_id">>;
  const end = async (trx: Trx, claim: WebhookClaim, changes: Changes): Promise<boolean> => {
    const row = await trx
      .updateTable("webhooks")
      .set({ ...changes, lease_until: null })
      .where("tenant_id", "=", toStoredText(claim.tenantId))
      .where("fence", "=", claim.fence)
      .returning("tenant_id")
      .executeTakeFirst();
    return row !== undefined;
  };
  return {
    markDelivered: (claim, { position, now }) =>
      database.write(async (trx) => {
        const delivered = { ...USUAL, position, due_at: now, delivered_at: now };
        return (await end(trx, claim, delivered)) ? "marked" : "fenced-out";
      }),
    markFailed: (claim, { reason, dueAt, now, disable }) =>
      database.write(async (trx) => {
        const isMarked = await end(trx, claim, {
          due_at: dueAt,
          failures: claim.failures + 1,
          failing_since: claim.failingSince ?? now,
          last_failure: reason,
          ...(disable ? { disabled_reason: reason } : {}),
        });
        if (!isMarked) return "fenced-out";
        if (disable) {
          const { tenantId: tenant } = claim;
          await record(trx, { tenant, action: "webhook.disabled", actor: "ballast", now, reason });
        }
        return "marked";
      }),
    release: async (claim) => {
      await database.write((trx) => end(trx, claim, {}));
    },
  };
}

async function readHealth(database: Database): Promise<WebhookHealth> {
  const rows = await database.read((db) =>
    db
      .selectFrom("webhooks")
      .select([
        STATE_SQL.as("state"),
        sql<number>`count(*)`.as("count"),
        sql<number | null>`min((select c.at from changes as c
          where c.tenant_id = webhooks.tenant_id and c.sequence > webhooks.position
          order by c.sequence limit 1))`.as("oldest"),
      ])
      .groupBy(STATE_SQL)
      .execute(),
  );
  const byState = { active: 0, failing: 0, disabled: 0 };
  const waiting: number[] = [];
  for (const { state, count, oldest } of rows) {
    byState[state] = count;
    if (state !== "disabled" && oldest !== null) waiting.push(oldest);
  }
  return {
    byState,
    oldestWaitingAt: waiting.length === 0 ? undefined : epochMs(Math.min(...waiting)),
  };
}

const STATE_SQL = sql<WebhookState>`case when disabled_reason is not null then 'disabled'
  when failures > 0 then 'failing' else 'active' end`;

function toRow(row: StoredWebhook): WebhookRow {
  const isDisabled = row.disabled_reason !== null;
  return {
    tenantId: tenantId(fromStoredText(row.tenant_id)),
    url: fromStoredText(row.url),
    state: isDisabled ? "disabled" : row.failures > 0 ? "failing" : "active",
    reason: fromStoredTextOrUndefined(row.disabled_reason ?? row.last_failure),
    position: row.position,
    dueAt: epochMs(row.due_at),
    failures: row.failures,
    failingSince: momentOf(row.failing_since),
    deliveredAt: momentOf(row.delivered_at),
    createdAt: epochMs(row.created_at),
    createdBy: fromStoredText(row.created_by),
  };
}
