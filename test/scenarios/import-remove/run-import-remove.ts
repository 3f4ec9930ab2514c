import { readFile } from "node:fs/promises";
import { Redis } from "ioredis";
import { z } from "zod";
import { systemClock } from "../../../src/core/clock.ts";
import { tenantId } from "../../../src/core/ids.ts";
import { dumpRedis } from "../../support/canary-search.ts";
import { findLeftovers, readStoredRows } from "../../support/stored-rows.ts";
import { createBounds, type Scenario } from "../scenario.ts";
import { importEntryOf } from "./import-entry.ts";
import {
  lineOf,
  openImportWorld,
  WITH_MORE,
  type ImportWorld,
  type Person,
} from "./import-world.ts";

const VICTIM = "tenant-1";
const BAD_LINES = [
  "not JSON, and no token of anybody's: 1//sim-secret",
  JSON.stringify({ tenant: "tenant-0", account: "twice", refreshToken: "1//x y" }),
  JSON.stringify({ tenant: "tenant-0", refreshToken: "1//x" }),
];
/** Accounts stored before the import is cut off: a few portions of it. */
const CUT_OFF_AFTER = 120;
const LOOK_EVERY_MS = 250;
const never = new AbortController().signal;

const importShape = z.object({
  imported: z.number(),
  unchanged: z.number().optional(),
  changed: z.number().optional(),
  refused: z.number(),
  problems: z.array(z.object({ line: z.number(), problem: z.string() })).optional(),
});

/**
 * Thousands of accounts come, are mirrored, and one tenant goes: the file is checked whole, the import is cut off in
 * the middle and goes on, a tenant that is leaving is not let in, and afterwards nothing of it is found anywhere.
 */
export const runImportRemove: Scenario = async ({ short, seed, say }) => {
  const size = short
    ? { accounts: 200, tenants: 4, settleMs: 500, withinMs: 120_000 }
    : { accounts: 10_000, tenants: 10, settleMs: 15_000, withinMs: 420_000 };
  const world = await openImportWorld({ ...size, seed });
  const bounds = createBounds();
  try {
    const refusedLines = await importBadFile(world, bounds);
    const { imported, resumed } = await importInTwo(world, bounds);
    say(`${String(imported)} accounts imported, ${String(resumed)} of them before it was cut off`);
    await untilMirrored(world, size);
    say("all mirrored");
    const victims = world.people.filter(({ tenant }) => tenant === VICTIM);
    const needles = needlesOf(victims);
    bounds.atLeast(
      "what the search sees before",
      (await search(world, needles, victims)).length,
      3,
    );
    const removed = await removeTenant(world, victims, size);
    bounds.atMost("requests for the tenant once its rows go", removed.requests, 0);
    bounds.atMost("consents of the tenant that were not ended", removed.consentsLeft, 0);
    bounds.atMost("consents of others that were ended", removed.othersEnded, 0);
    const leftovers = await search(world, needles, victims);
    for (const one of leftovers.slice(0, 20)) say(`left: ${one}`);
    bounds.atMost("leftovers", leftovers.length, 0);
    await othersStay(world, victims, bounds);
    bounds.atLeast("erased rows", removed.erasedRows, victims.length * 3);
    const refused = refusedLines + removed.refused;
    return {
      figures: {
        imported,
        refused,
        resumed,
        erasedRows: removed.erasedRows,
        leftovers: leftovers.length,
        revoked: victims.length - removed.consentsLeft,
      },
      missed: bounds.missed,
    };
  } finally {
    await world.close();
  }
};

type Bounds = ReturnType<typeof createBounds>;

/** Every problem is told with its line; nothing is stored, and no token is told. */
async function importBadFile(world: ImportWorld, bounds: Bounds): Promise<number> {
  const good = world.people.slice(0, 5).map(lineOf);
  const [first = "", second = "", third = ""] = BAD_LINES;
  const lines = [first, ...good, second, third, good[0] ?? ""];
  const path = await world.file("bad.ndjson", lines);
  const ended = await world.ballast(["import", "accounts", path, "--yes", "--json"]);
  const told = importShape.parse(JSON.parse(ended.stdout));
  bounds.atLeast("exit code of a bad file", ended.code ?? 0, 1);
  const at = told.problems?.map(({ line }) => line).join(" ");
  if (at !== "1 7 8 9") bounds.atMost(`lines told as bad (${String(at)})`, 1, 0);
  const isTokenTold = `${ended.stdout}${ended.stderr}`.includes("1//");
  bounds.atMost("tokens told", isTokenTold ? 1 : 0, 0);
  bounds.atMost("stored of a bad file", countAccounts(world), 0);
  return told.refused;
}

/** Cut off by the database itself, in the middle of a portion: which rows are there then is certain. */
async function importInTwo(
  world: ImportWorld,
  bounds: Bounds,
): Promise<{ readonly imported: number; readonly resumed: number }> {
  const path = await world.file("accounts.ndjson", world.people.map(lineOf));
  const command = ["import", "accounts", path, "--yes", "--json"];
  world.onDatabase((database) =>
    database.exec(`create trigger cut_off before insert on accounts
      when (select count(*) from accounts) >= ${String(CUT_OFF_AFTER)}
      begin select raise(abort, 'cut off'); end`),
  );
  const cutOff = await world.ballast(command);
  world.onDatabase((database) => database.exec("drop trigger cut_off"));
  bounds.atLeast("exit code of the import that was cut off", cutOff.code ?? 0, 1);
  const before = countAccounts(world);
  bounds.atLeast("accounts before it was cut off", before, 1);
  bounds.atMost("accounts before it was cut off", before, CUT_OFF_AFTER);

  const second = await world.ballast(command);
  const told = importShape.parse(JSON.parse(second.stdout));
  bounds.atMost("exit code of the second import", second.code ?? 1, 0);
  const resumed = told.unchanged ?? 0;
  if (resumed !== before || told.imported + resumed !== world.people.length) {
    bounds.atMost(`accounts imported twice (${second.stdout})`, 1, 0);
  }
  const third = await world.ballast(command);
  const again = importShape.parse(JSON.parse(third.stdout));
  bounds.atMost("what a third run changes", again.imported + (again.changed ?? 0), 0);
  return { imported: countAccounts(world), resumed };
}

function countAccounts(world: ImportWorld): number {
  return world.onDatabase((database) => {
    const row = database.prepare("select count(*) as n from accounts").get();
    return Number(row?.["n"]);
  });
}

/** Each has its own, some have one more; every fifth of those is seen by two. */
function calendarsOf(size: { readonly accounts: number; readonly tenants: number }): number {
  const more = (size.accounts / size.tenants) * WITH_MORE;
  return size.accounts + more + more / 5;
}

async function untilMirrored(
  world: ImportWorld,
  size: { readonly accounts: number; readonly tenants: number; readonly withinMs: number },
): Promise<void> {
  const endsAtMs = systemClock.monotonicMs() + size.withinMs;
  for (;;) {
    const { total, never: waiting } = await world.home.store.calendars.counts();
    if (total >= calendarsOf(size) && waiting === 0) return;
    if (systemClock.monotonicMs() > endsAtMs) {
      throw new Error(`Not mirrored: ${String(waiting)} of ${String(total)} calendars wait`);
    }
    await systemClock.sleep(LOOK_EVERY_MS, never);
  }
}

interface Removed {
  readonly refused: number;
  readonly requests: number;
  readonly consentsLeft: number;
  readonly othersEnded: number;
  readonly erasedRows: number;
}

async function removeTenant(
  world: ImportWorld,
  victims: readonly Person[],
  { withinMs }: { readonly withinMs: number },
): Promise<Removed> {
  const { home, simulator } = world;
  const now = systemClock.now();
  const asked = await home.store.removals.ask(
    { kind: "tenant", tenantId: tenantId(VICTIM) },
    { actor: "scenario", reason: "contract ended", isRevoking: true, now },
  );
  if (asked.kind !== "asked") throw new Error(`Not asked for: ${asked.kind}`);
  // At once, before a worker can be done: it is not let in again.
  const [someone] = victims;
  const verdicts = await importDirectly(world, someone);
  const emails = new Set(victims.map(({ email }) => email));
  let erasingSince: number | undefined;
  const endsAtMs = systemClock.monotonicMs() + withinMs;
  for (;;) {
    const row = await home.store.removals.get(asked.removal.id);
    if (row === undefined) break;
    if (row.stage === "erasing") erasingSince ??= lastSequence(world);
    if (systemClock.monotonicMs() > endsAtMs) throw new Error(`Not removed: ${row.stage}`);
    await systemClock.sleep(20, never);
  }
  const since = simulator.log.after(erasingSince ?? lastSequence(world), 500_000);
  const [entry] = await home.store.operatorLog.list({ limit: 1 });
  const ended = [...simulator.accounts()].filter(({ isRevoked }) => isRevoked);
  return {
    refused: verdicts.filter(({ kind }) => kind === "refused").length,
    requests: since.filter(({ account }) => emails.has(account)).length,
    consentsLeft: victims.length - ended.filter(({ email }) => emails.has(email)).length,
    othersEnded: ended.filter(({ email }) => !emails.has(email)).length,
    erasedRows: Number(entry?.details["erasedRows"] ?? 0),
  };
}

async function importDirectly(
  { home }: ImportWorld,
  person: Person | undefined,
): ReturnType<ImportWorld["home"]["store"]["imports"]["judge"]> {
  if (person === undefined) return [];
  return home.store.imports.judge([importEntryOf(person)], { isShadow: false });
}

function lastSequence({ simulator }: ImportWorld): number {
  return simulator.log.after(0, 500_000).at(-1)?.sequence ?? 0;
}

interface Needles {
  readonly texts: readonly string[];
}

/** What only this tenant's data holds; addresses and tokens of some of its people. */
function needlesOf(victims: readonly Person[]): Needles {
  const some = victims.filter((_, index) => index % Math.ceil(victims.length / 25) === 0);
  return {
    texts: [
      `canary of ${VICTIM}:`,
      `${VICTIM}-calendar-`,
      ...some.flatMap(({ email, refreshToken }) => [`"${email}"`, refreshToken]),
    ],
  };
}

/** Rows, the database's file and its WAL byte by byte, and Redis. The record of what was done names the tenant. */
async function search(
  world: ImportWorld,
  { texts }: Needles,
  victims: readonly Person[],
): Promise<readonly string[]> {
  const { home } = world;
  const { database } = home.config;
  if (database.kind !== "sqlite") throw new Error("This scenario searches a file");
  const found: string[] = [];
  for (const suffix of ["", "-wal"]) {
    const bytes = await readFile(`${database.path}${suffix}`).catch(() => Buffer.alloc(0));
    for (const text of texts) {
      if (bytes.includes(text.replaceAll('"', ""))) found.push(`${text} in the file${suffix}`);
    }
  }
  const rows = await readStoredRows(`sqlite:${database.path}`);
  const named = rows.filter(({ table }) => table !== "operator_log");
  // Its name in quotes, as a value: a needle for rows that hold nothing else of it.
  found.push(...findLeftovers(named, { texts: [...texts, `"${VICTIM}"`], numbers: [] }));
  const redis = new Redis({ path: home.redis.url, maxRetriesPerRequest: null });
  try {
    const dump = await dumpRedis(redis);
    for (const text of texts) if (dump.includes(text)) found.push(`${text} in Redis`);
  } finally {
    redis.disconnect();
  }
  const emails = new Set(victims.map(({ email }) => email));
  for (const channel of world.simulator.channels.all.values()) {
    if (emails.has(channel.accountEmail)) found.push(`the channel ${channel.id} at Google`);
  }
  return found;
}

async function othersStay(
  { home, people }: ImportWorld,
  victims: readonly Person[],
  bounds: Bounds,
): Promise<void> {
  const { total, never: waiting } = await home.store.calendars.counts();
  const stay = people.length - victims.length;
  const more = victims.length * (WITH_MORE - 1);
  bounds.atLeast("calendars of others", total, stay + more + more / 5);
  bounds.atMost("calendars of others without a copy", waiting, 0);
  const { connected } = await home.store.accounts.countsByState();
  bounds.atLeast("accounts of others", connected, stay);
  bounds.atMost("accounts of others", connected, stay);
}
