import { z } from "zod";
import { epochMs, type EpochMs } from "../core/clock.ts";
import { projectId } from "../core/ids.ts";
import type { ProjectTrouble, ProjectTroubles } from "../core/project-troubles.ts";
import type { Database, Reader } from "./database.ts";
import { fromStoredText, toStoredText } from "./stored-text.ts";

/*
 * States of a project and code: absent → lasting (seen within minutes) → over (not seen for longer) → lasting, told anew.
 * A row of settings: it outlives restarts, and no two processes tell the same trouble.
 */

const PREFIX = "accounts.trouble.";
/** "/" comes after ".". */
const AFTER = "accounts.trouble/";
/** It is asked about again every three minutes: not seen for this long, it is over. */
const OVER_AFTER_MS = 10 * 60_000;
/** Thousands of accounts run into it; one mark a minute is enough. */
const MARK_EVERY_MS = 60_000;

const troubleSchema = z.object({
  project: z.string(),
  code: z.string(),
  detail: z.string(),
  since: z.number(),
  lastAt: z.number(),
});
type StoredTrouble = z.output<typeof troubleSchema>;

/** Troubles of projects, in the database. */
export function createProjectTroubles({
  database,
}: {
  readonly database: Database;
}): ProjectTroubles {
  return {
    async report(accountId, { code, detail, now }) {
      const project = await database.read((db) => projectOf(db, accountId));
      if (project === undefined) return "known";
      const name = `${PREFIX}${project}.${code}`;
      const seen = await database.read((db) => readTrouble(db, name));
      if (isMarked(seen, now)) return "known";
      return database.write(async (trx) => {
        await database.dialect.excludeOthers(trx, "grants");
        const known = await readTrouble(trx, name);
        if (isMarked(known, now)) return "known";
        const lasting = known !== undefined && now - known.lastAt <= OVER_AFTER_MS;
        const since = lasting ? known.since : now;
        const trouble: StoredTrouble = { project, code, detail, since, lastAt: now };
        const row = { value: JSON.stringify(trouble), updated_at: now };
        await trx
          .insertInto("settings")
          .values({ name, ...row })
          .onConflict((conflict) => conflict.column("name").doUpdateSet(row))
          .execute();
        return lasting ? "known" : "began";
      });
    },
    async list(now) {
      const rows = await database.read((db) =>
        db
          .selectFrom("settings")
          .select("value")
          .where("name", ">=", PREFIX)
          .where("name", "<", AFTER)
          .orderBy("name")
          .execute(),
      );
      return rows
        .map(({ value }) => troubleSchema.parse(JSON.parse(value)))
        .filter(({ lastAt }) => now - lastAt <= OVER_AFTER_MS)
        .map(toTrouble);
    },
  };
}

function isMarked(trouble: StoredTrouble | undefined, now: EpochMs): boolean {
  return trouble !== undefined && now - trouble.lastAt < MARK_EVERY_MS;
}

async function projectOf(db: Reader, accountId: string): Promise<string | undefined> {
  const row = await db
    .selectFrom("accounts")
    .select("project_id")
    .where("id", "=", toStoredText(accountId))
    .executeTakeFirst();
  return row?.project_id;
}

async function readTrouble(db: Reader, name: string): Promise<StoredTrouble | undefined> {
  const row = await db
    .selectFrom("settings")
    .select("value")
    .where("name", "=", name)
    .executeTakeFirst();
  return row === undefined ? undefined : troubleSchema.parse(JSON.parse(row.value));
}

function toTrouble({ project, since, lastAt, ...facts }: StoredTrouble): ProjectTrouble {
  return {
    ...facts,
    projectId: projectId(fromStoredText(project)),
    since: epochMs(since),
    lastAt: epochMs(lastAt),
  };
}
