import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { dirname } from "node:path";
import { text } from "node:stream/consumers";
import { Redis } from "ioredis";
import { bytesUnder, dumpRedis, type CanarySearch } from "../../support/canary-search.ts";
import { TOKENS_TENANT, type AccountsWorld } from "./accounts-world.ts";

const CRASH = new URL("crash-process.ts", import.meta.url).pathname;

/** Longer than any canary, so that none is missed where two chunks meet. */
const OVERLAP = 2_048;

/** Sees every command that reaches Redis, job data included, from now until it is closed. */
export async function watchRedis(
  path: string,
  search: CanarySearch,
): Promise<{ readonly close: () => void }> {
  const socket = connect(path);
  await once(socket, "connect");
  let tail = "";
  // Every job of a calendar carries its id.
  socket.setEncoding("latin1").on("data", (chunk: string) => {
    search.look("commands to Redis", tail + chunk, "cal_");
    tail = (tail + chunk).slice(-OVERLAP);
  });
  // By hand: the client library loses count when commands come before its MONITOR is answered.
  socket.write("MONITOR\r\n");
  return {
    close: () => {
      socket.destroy();
    },
  };
}

/** Look everywhere that outlives a request. The database's key table is no place: its file is searched as bytes. */
export async function searchPlaces(world: AccountsWorld, search: CanarySearch): Promise<void> {
  await searchRedis(world, search);
  await searchHttp(world, search);
  const log = await world.home.store.operatorLog.list({ limit: 1_000 });
  search.look("operator log", JSON.stringify(log), "account.needs-reconnect");
  await searchFiles(world, search);
}

async function searchRedis({ home }: AccountsWorld, search: CanarySearch): Promise<void> {
  const redis = new Redis({ path: home.redis.url, maxRetriesPerRequest: null });
  try {
    search.look("Redis", await dumpRedis(redis), "ballast-token");
  } finally {
    redis.disconnect();
  }
}

/** With the token in the request, as who asks has it. */
async function searchHttp({ home, secrets }: AccountsWorld, search: CanarySearch): Promise<void> {
  const base = home.app.httpUrl ?? "";
  const authorization = `Bearer ${secrets.apiToken}`;
  const pages = [
    ["/metrics", "ballast_account_disconnects_total"],
    ["/status.json", "verdict"],
    ["/", "calendars"],
  ] as const;
  for (const [path, known] of pages) {
    const response = await fetch(new URL(path, base), { headers: { authorization } });
    search.look(`HTTP ${path}`, await response.text(), known);
  }
  const [calendar] = await home.store.calendars.list({ tenantId: TOKENS_TENANT, limit: 1 });
  if (calendar === undefined) throw new Error(`${TOKENS_TENANT} has no calendar`);
  const askers = [
    ["HTTP /v1/refresh", secrets.apiToken, 202, calendar.id],
    ["HTTP /v1/refresh of a tenant", secrets.tenantToken, 202, calendar.id],
    // Refused, and nothing of it is kept.
    ["HTTP /v1/refresh of nobody", secrets.strayToken, 401, "not known"],
  ] as const;
  for (const [place, token, status, known] of askers) {
    for (const body of [{ calendarId: calendar.id }, { calendarId: token }, {}]) {
      const response = await fetch(new URL("/v1/refresh", base), {
        method: "POST",
        headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
        body: JSON.stringify(body),
      });
      const answered = await response.text();
      // Whatever else was sent may be named to the one who sent it; it must not be kept.
      if (response.status === status) search.look(place, answered, known);
    }
    if (!search.places().includes(place))
      throw new Error(`${place} never answered ${String(status)}`);
  }
}

async function searchFiles({ home }: AccountsWorld, search: CanarySearch): Promise<void> {
  const { database } = home.config;
  if (database.kind !== "sqlite") throw new Error("This search is one of files");
  for (const [name, bytes] of await bytesUnder(dirname(database.path))) {
    const kind = name.endsWith("-wal") ? "the database's WAL" : "the data directory";
    search.look(kind, bytes, "tenant-");
  }
}

/** What a process says that dies of an error with a request on it, thrice. */
export async function searchCrash(world: AccountsWorld, search: CanarySearch): Promise<void> {
  const { secrets, people } = world;
  const child = spawn(process.execPath, [CRASH], {
    env: {
      PATH: process.env["PATH"] ?? "",
      SECRET_1: people[0]?.refreshToken,
      SECRET_2: secrets.clientSecret,
      SECRET_3: "ya29.sim~dXNlcjEK~crash",
      SECRET_4: secrets.privateKey,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [output, talk] = await Promise.all([
    text(child.stdout),
    text(child.stderr),
    once(child, "close"),
  ]);
  if (child.exitCode !== 1) throw new Error(`It did not crash as it should:\n${talk}`);
  for (const part of ["a bug with a request on it", "several at once", "draining fails too"]) {
    search.look(`crash output (${part})`, `${output}${talk}`, `crash-marker: ${part}`);
  }
}
