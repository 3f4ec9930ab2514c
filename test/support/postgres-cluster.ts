/**
 * A private Postgres cluster from the installed binaries.
 *
 * States: running ⇄ down (killed by a test; `restart` brings it back on the same address) → stopped, for good.
 * A machine without the binaries fails the run: a skipped database is an untested database.
 */
import { chown, mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { userInfo } from "node:os";
import { delimiter, join } from "node:path";
import { Client } from "pg";
import { systemClock } from "../../src/core/clock.ts";
import { startChildServer, type ChildServer } from "../../src/embedded/child-server.ts";
import { findProgram } from "../../src/embedded/find-program.ts";
import { runCommand } from "../../src/embedded/run-command.ts";

const USER = "ballast";
/** The name of the socket file needs one; nothing listens on it unless `tcpPort` is set. */
const SOCKET_PORT = 5432;
const START_WITHIN_MS = 30_000;

/** A running private cluster; whoever starts it stops it. */
export interface PostgresCluster {
  /** A connection string for a database of this cluster, over its socket. */
  url(database: string): string;
  /** The same over loopback TCP; throws unless the cluster was started with `tcpPort`. */
  tcpUrl(database: string): string;
  pid(): number;
  /** End it at once, as a crash would. */
  kill(): Promise<void>;
  /** End it if it runs, and start it again on the same address and data. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Create and start a cluster of our own, without fsync, in a temporary directory. */
export async function startPostgresCluster(
  options: { readonly tcpPort?: number } = {},
): Promise<PostgresCluster> {
  const binaries = await findPostgresBinaries();
  const user = await unprivilegedUser();
  // Not the test's TMPDIR: the unprivileged user must be able to reach it, and socket paths are short.
  const directory = await mkdtemp("/tmp/ballast-postgres-");
  if (user !== undefined) await chown(directory, user.uid, user.gid);
  const place = { binaries, user, directory, tcpPort: options.tcpPort };
  let server: ChildServer;
  try {
    await initialise(place);
    server = await launch(place);
  } catch (error) {
    await rm(directory, { recursive: true, force: true });
    throw error;
  }
  const end = (): Promise<void> => server.stop({ signal: "SIGINT", graceMs: 10_000 });
  const url = (database: string): string => socketUrl(place, database);

  return {
    url,
    tcpUrl: (database) => {
      if (options.tcpPort === undefined) throw new Error("Started without a TCP port");
      return `postgres://${USER}@127.0.0.1:${String(options.tcpPort)}/${database}`;
    },
    pid: () => server.pid,
    kill: async () => {
      // SIGQUIT is Postgres' own crash: SIGKILL would leave its children holding the shared memory.
      await server.stop({ signal: "SIGQUIT", graceMs: 10_000 });
    },
    restart: async () => {
      await end();
      server = await launch(place);
    },
    stop: async () => {
      await end();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** Run one statement as the cluster's owner, on a connection of its own. */
export async function runOnPostgres(url: string, statement: string): Promise<void> {
  const client = new Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

interface Place {
  readonly binaries: string;
  readonly user: { readonly uid: number; readonly gid: number } | undefined;
  readonly directory: string;
  readonly tcpPort: number | undefined;
}

function socketUrl(place: Pick<Place, "directory" | "tcpPort">, database: string): string {
  const port = String(place.tcpPort ?? SOCKET_PORT);
  return `postgres://${USER}@localhost:${port}/${database}?host=${encodeURIComponent(place.directory)}`;
}

async function initialise(place: Place): Promise<void> {
  const initdb = await startChildServer(
    {
      command: join(place.binaries, "initdb"),
      args: [
        "--no-sync",
        `--pgdata=${join(place.directory, "data")}`,
        `--username=${USER}`,
        "--auth=trust",
        "--encoding=UTF8",
        "--locale=C",
      ],
      env: environment(place),
      logFile: join(place.directory, "initdb.log"),
      farewell: "SIGTERM",
      ...(place.user === undefined ? {} : { user: place.user }),
    },
    { clock: systemClock },
  );
  await initdb.ended(AbortSignal.timeout(START_WITHIN_MS));
  if (initdb.ending() !== "exit code 0") {
    throw new Error(
      `initdb failed (${String(initdb.ending())}). It said:\n${await initdb.lastWords()}`,
    );
  }
}

async function launch(place: Place): Promise<ChildServer> {
  const settings = {
    // The machine is not expected to lose power; a crash of the server still keeps every commit.
    fsync: "off",
    full_page_writes: "off",
    max_connections: "200",
    unix_socket_directories: place.directory,
    listen_addresses: place.tcpPort === undefined ? "" : "127.0.0.1",
    port: String(place.tcpPort ?? SOCKET_PORT),
  };
  const server = await startChildServer(
    {
      command: join(place.binaries, "postgres"),
      args: [
        "-D",
        join(place.directory, "data"),
        ...Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]),
      ],
      env: environment(place),
      logFile: join(place.directory, "postgres.log"),
      farewell: "SIGINT",
      ...(place.user === undefined ? {} : { user: place.user }),
    },
    { clock: systemClock },
  );
  try {
    await proveReady(server, place);
    return server;
  } catch (error) {
    await server.stop({ signal: "SIGQUIT", graceMs: 1_000 });
    throw error;
  }
}

async function proveReady(server: ChildServer, place: Place): Promise<void> {
  const deadline = AbortSignal.timeout(START_WITHIN_MS);
  for (;;) {
    if (server.ending() !== undefined) {
      throw new Error(`Postgres ended while starting. It said:\n${await server.lastWords()}`);
    }
    if (await answers(server.pid, place)) return;
    if (deadline.aborted) {
      throw new Error(`Postgres did not answer in time. It said:\n${await server.lastWords()}`);
    }
    await systemClock.sleep(50, new AbortController().signal);
  }
}

/** True once the cluster that answers is the one we started: the first line of its pid file is our child. */
async function answers(pid: number, place: Place): Promise<boolean> {
  try {
    const pidFile = await readFile(join(place.directory, "data", "postmaster.pid"), "utf8");
    if (Number(pidFile.split("\n")[0]) !== pid) return false;
    await runOnPostgres(socketUrl(place, "postgres"), "select 1");
    return true;
  } catch {
    return false;
  }
}

function environment(place: Place): NodeJS.ProcessEnv {
  return { PATH: `${place.binaries}:/usr/bin:/bin`, LC_ALL: "C", HOME: place.directory };
}

async function findPostgresBinaries(): Promise<string> {
  const base = "/usr/lib/postgresql";
  const versions = (await readdir(base).catch(() => [])).toSorted((a, b) => Number(b) - Number(a));
  const directories = [
    ...versions.map((version) => join(base, version, "bin")),
    ...(process.env["PATH"] ?? "").split(delimiter),
  ];
  for (const directory of directories) {
    const initdb = await findProgram(["initdb"], directory);
    const postgres = await findProgram(["postgres"], directory);
    if (initdb !== undefined && postgres !== undefined) return directory;
  }
  throw new Error(
    "The tests need PostgreSQL's server programs (initdb, postgres) in /usr/lib/postgresql/*/bin or on PATH. " +
      "Debian, Ubuntu: sudo apt-get install postgresql · macOS: brew install postgresql",
  );
}

/** Postgres refuses to run as root: then `postgres`, else `nobody`. Undefined: as ourselves. */
async function unprivilegedUser(): Promise<{ uid: number; gid: number } | undefined> {
  if (userInfo().uid !== 0) return undefined;
  for (const name of ["postgres", "nobody"]) {
    try {
      const uid = Number(await runCommand("id", ["-u", name], { timeoutMs: 5_000 }));
      const gid = Number(await runCommand("id", ["-g", name], { timeoutMs: 5_000 }));
      return { uid, gid };
    } catch {
      // No such user here; the next one will do.
    }
  }
  throw new Error("Running as root, and there is neither a user `postgres` nor `nobody`");
}
