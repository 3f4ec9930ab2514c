import { sql } from "kysely";
import { z } from "zod";
import { epochMs, type EpochMs } from "../core/clock.ts";
import type { DeadGrants, WaveLimits } from "../core/dead-grants.ts";
import { projectId } from "../core/ids.ts";
import type { Database, Reader, Trx } from "./database.ts";
import { accountChange, noteAccount, stateOfAccount } from "./note-account.ts";
import { noteChanges } from "./note-changes.ts";
import { appendEntry } from "./operator-log.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";

/*
 * States of a project: usual → (more accounts refused within minutes than can be chance) held → (an operator)
 * resumed, for a while without counting → usual. The state is a row of settings: it outlives restarts.
 */

const HOLD_PREFIX = "accounts.hold.";
/** "/" comes after ".". */
const AFTER_HOLDS = "accounts.hold/";
/** An account that is held asks every few minutes: refused within this, it is failing still. */
const FAILING_WITHIN_MS = 15 * 60_000;

const stateSchema = z.discriminatedUnion("kind", [
  z.object({ kind: z.literal("held"), since: z.number() }),
  z.object({ kind: z.literal("resumed"), until: z.number() }),
]);
type HoldState = z.output<typeof stateSchema>;

interface Report {
  readonly database: Database;
  readonly id: string;
  readonly project: string;
  readonly reason: string;
  readonly now: EpochMs;
  readonly limits: WaveLimits;
}

/** Accounts that Google refuses, in the database. */
export function createDeadGrants(deps: { readonly database: Database }): DeadGrants {
  const { database } = deps;
  return {
    report: (id, { reason, now, limits }) =>
      database.write(async (trx) => {
        // Counted one after the other: two that each see the last place below the limit would both disconnect.
        await database.dialect.excludeOthers(trx, "grants");
        const row = await trx
          .updateTable("accounts")
          .set({ grant_failed_at: now })
          .where("id", "=", toStoredText(id))
          .where("connection", "=", "connected")
          .returning("project_id")
          .executeTakeFirst();
        if (row === undefined) return "known";
        const project = row.project_id;
        const report = { database, id: toStoredText(id), project, reason, now, limits };
        const state = await readState(trx, project);
        if (state?.kind === "held") {
          await waitInTurn(trx, report);
          return "held";
        }
        const isCounting = state === undefined || now >= state.until;
        if (isCounting && (await isWave(trx, report))) {
          await beginHold(trx, report);
          return "hold-began";
        }
        await disconnect(trx, report);
        return "disconnected";
      }),
    async holds(now) {
      const rows = await database.read((db) =>
        db
          .selectFrom("settings")
          .select(["name", "value"])
          .where("name", ">=", HOLD_PREFIX)
          .where("name", "<", AFTER_HOLDS)
          .execute(),
      );
      const holds = rows.map(async ({ name, value }) => {
        const state = stateSchema.parse(JSON.parse(value));
        if (state.kind !== "held") return [];
        const project = name.slice(HOLD_PREFIX.length);
        const failing = await database.read((db) =>
          countRefused(db, { project, since: now - FAILING_WITHIN_MS }),
        );
        const since = epochMs(state.since);
        return [{ projectId: projectId(fromStoredText(project)), since, failing }];
      });
      return (await Promise.all(holds)).flat();
    },
    resume: (project, by) =>
      database.write(async (trx) => {
        const state = await readState(trx, toStoredText(project));
        if (state?.kind !== "held") return false;
        await writeState(trx, toStoredText(project), {
          state: { kind: "resumed", until: by.until },
          now: by.now,
        });
        await appendEntry(trx, {
          at: by.now,
          actor: by.actor,
          action: "disconnects.resumed",
          subject: project,
          reason: by.reason,
          details: { uncountedUntil: by.until },
        });
        return true;
      }),
  };
}

async function readState(trx: Trx, project: string): Promise<HoldState | undefined> {
  const row = await trx
    .selectFrom("settings")
    .select("value")
    .where("name", "=", HOLD_PREFIX + project)
    .executeTakeFirst();
  return row === undefined ? undefined : stateSchema.parse(JSON.parse(row.value));
}

async function writeState(
  trx: Trx,
  project: string,
  { state, now }: { readonly state: HoldState; readonly now: EpochMs },
): Promise<void> {
  const row = { value: JSON.stringify(state), updated_at: now };
  await trx
    .insertInto("settings")
    .values({ name: HOLD_PREFIX + project, ...row })
    .onConflict((conflict) => conflict.column("name").doUpdateSet(row))
    .execute();
}

async function countRefused(
  db: Reader,
  { project, since }: { readonly project: string; readonly since: number },
): Promise<number> {
  const { count } = await db
    .selectFrom("accounts")
    .select(sql<number>`count(*)`.as("count"))
    .where("project_id", "=", project)
    .where("grant_failed_at", ">", since)
    .where("connection", "<>", "removed")
    .executeTakeFirstOrThrow();
  return count;
}

async function isWave(trx: Trx, { project, now, limits }: Report): Promise<boolean> {
  const refused = await countRefused(trx, { project, since: now - limits.windowMs });
  if (refused <= limits.accounts) return false;
  const { connected } = await trx
    .selectFrom("accounts")
    .select(sql<number>`count(*)`.as("connected"))
    .where("project_id", "=", project)
    .where("connection", "=", "connected")
    .executeTakeFirstOrThrow();
  // Of those that were connected when it began: all refused but this one may be disconnected by now.
  return refused > limits.share * (connected + refused - 1);
}

async function beginHold(trx: Trx, report: Report): Promise<void> {
  const { project, reason, now, limits } = report;
  await writeState(trx, project, { state: { kind: "held", since: now }, now });
  // The first ones were disconnected before it could be seen that they were the first of many.
  const restored = await trx
    .updateTable("accounts")
    .set({ connection: "connected", connection_reason: null, connection_since: now })
    .where("project_id", "=", project)
    .where("connection", "=", "needs-reconnect")
    .where("connection_reason", "=", reason)
    .where("grant_failed_at", ">", now - limits.windowMs)
    .returning(["id", "tenant_id", "connection", "connection_reason", "paused_reason"])
    .execute();
  for (const { id, paused_reason: paused } of restored) {
    await setState(trx, { id, state: paused === null ? "connected" : "paused" });
    await waitInTurn(trx, { ...report, id });
  }
  await waitInTurn(trx, report);
  await appendEntry(trx, {
    at: now,
    actor: "ballast",
    action: "disconnects.held",
    subject: fromStoredText(project),
    reason,
    details: { refused: restored.length + 1, connectedAgain: restored.length },
  });
  const change = { kind: "account-connected", at: now } as const;
  await noteChanges(
    report.database,
    trx,
    restored.map((account) => accountChange(account, change)),
  );
}

async function disconnect(trx: Trx, { database, id, reason, now }: Report): Promise<void> {
  const account = await trx
    .updateTable("accounts")
    .set({ connection: "needs-reconnect", connection_reason: reason, connection_since: now })
    .where("id", "=", id)
    .returning(["id", "tenant_id", "connection", "connection_reason", "paused_reason"])
    .executeTakeFirstOrThrow();
  await setState(trx, { id, state: stateOfAccount(account) });
  await noteAccount({ database, trx }, account, { kind: "account-needs-reconnect", at: now });
}

/** Its calendars carry a copy, so that a claim needs no join. */
async function setState(
  trx: Trx,
  { id, state }: { readonly id: string; readonly state: string },
): Promise<void> {
  await trx
    .updateTable("calendars")
    .set({ account_state: state })
    .where("account_id", "=", id)
    .where("account_state", "<>", "removed")
    .execute();
}

/**
 * One calendar of the account asks again soon; the others come after it, and are put off again when it is refused:
 * an account costs one token request a round, however many calendars it has. None is set aside for it.
 */
async function waitInTurn(trx: Trx, { id, reason, now, limits }: Report): Promise<void> {
  const soon = now + limits.probeEveryMs;
  const later = soon + limits.probeEveryMs;
  await sql`
    update calendars set
      due_at = case when number = (
        select min(c.number) from calendars as c
        where c.account_id = ${id} and c.due_at is not null and c.lost_reason is null
      ) then cast(${soon} as bigint) else cast(${later} as bigint) end,
      due_reason = 'backoff',
      consecutive_failures = 0,
      slowed_reason = case when slowed_reason = ${reason} then null else slowed_reason end
    where account_id = ${id} and due_at is not null and lost_reason is null`.execute(trx);
  await trx
    .updateTable("accounts")
    .set({ discovery_due_at: later })
    .where("id", "=", id)
    .where("discovery_due_at", "<", later)
    .execute();
}
