/**
 * A Redis program to run, without asking the user to install one.
 *
 * Order: `redis-server` or `valkey-server` on the search path; what an earlier run obtained (the cache);
 * Debian's own packages, downloaded and unpacked without root and never installed; else a clear refusal.
 * States of the cache directory: absent, or complete: it is filled beside itself and renamed into place,
 * so two processes that obtain at once end with one good copy.
 */
import { constants } from "node:fs";
import { access, mkdir, mkdtemp, readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { findProgram } from "./find-program.ts";
import { runCommand } from "./run-command.ts";

/** How to start a Redis server: the program, and where its shared libraries are if not in the system's places. */
export interface RedisProgram {
  readonly path: string;
  readonly libraryPath: string | undefined;
  readonly origin: "search-path" | "cache" | "debian-packages";
  /** As the program states it, for people: `Redis 7.0.15`. */
  readonly version: string;
}

/** No Redis was found and none could be obtained; the message says what to run. */
export class RedisNotFound extends Error {
  override readonly name = "RedisNotFound";
}

/** Where a checkout keeps the Redis it obtained. */
export const DEFAULT_REDIS_CACHE = join(import.meta.dirname, "..", "..", ".cache", "redis");

const SERVER_NAMES = ["redis-server", "valkey-server"] as const;
const SYSTEM_DIRECTORIES = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";
const APT_TIMEOUT_MS = 300_000;

const ADVICE = `Install one, or set REDIS_URL to a Redis that is Ballast's alone:
  Debian, Ubuntu   sudo apt-get install redis-server
  macOS            brew install redis
  Docker           docker run -d -p 6379:6379 redis:7 redis-server --appendonly yes --maxmemory-policy noeviction
                   export REDIS_URL=redis://127.0.0.1:6379`;

/** Find a Redis server program, or obtain one; rejects with {@link RedisNotFound} when neither works. */
export async function obtainRedis(
  options: {
    /** Directories to look in, in the form of PATH. */
    readonly searchPath: string;
    readonly cacheDirectory?: string;
    /** Directories where Debian's apt-get and dpkg-deb may be. */
    readonly toolPath?: string;
  },
  deps: { readonly say: (line: string) => void },
): Promise<RedisProgram> {
  const cacheDirectory = options.cacheDirectory ?? DEFAULT_REDIS_CACHE;
  const found = await findProgram(SERVER_NAMES, options.searchPath);
  if (found !== undefined) {
    const version = await readVersion(found, undefined);
    if (version !== undefined) {
      return { path: found, libraryPath: undefined, origin: "search-path", version };
    }
    deps.say(`${found} does not run here; looking further.`);
  }

  // The cache may have been copied from another machine: what it holds is tried before it is trusted.
  const directory = join(cacheDirectory, `${process.platform}-${process.arch}`);
  const cached = await readUnpacked(directory);
  if (cached !== undefined) return { ...cached, origin: "cache" };

  const tools = await findDebianTools(
    options.toolPath ?? `${options.searchPath}:${SYSTEM_DIRECTORIES}`,
  );
  if (tools === undefined) {
    throw new RedisNotFound(`No redis-server or valkey-server was found on PATH.\n${ADVICE}`);
  }
  deps.say(
    `No redis-server on PATH: obtaining Debian's package into ${cacheDirectory} (nothing is installed).`,
  );
  try {
    const program = await obtainFromDebian(directory, tools);
    deps.say(`Obtained ${program.version}.`);
    return program;
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new RedisNotFound(
      `No redis-server or valkey-server was found on PATH, and Debian's package could not be obtained: ${reason}\n${ADVICE}`,
      { cause: error },
    );
  }
}

interface DebianTools {
  readonly aptGet: string;
  readonly dpkgDeb: string;
}

async function findDebianTools(toolPath: string): Promise<DebianTools | undefined> {
  const aptGet = await findProgram(["apt-get"], toolPath);
  const dpkgDeb = await findProgram(["dpkg-deb"], toolPath);
  return aptGet === undefined || dpkgDeb === undefined ? undefined : { aptGet, dpkgDeb };
}

async function obtainFromDebian(directory: string, tools: DebianTools): Promise<RedisProgram> {
  await mkdir(dirname(directory), { recursive: true });
  const work = await mkdtemp(join(dirname(directory), "obtaining-"));
  try {
    const packages = join(work, "packages");
    const root = join(work, "root");
    await mkdir(packages);
    await mkdir(root);
    await downloadPackages({ work, packages, aptGet: tools.aptGet });
    for (const file of await readdir(packages)) {
      await runCommand(tools.dpkgDeb, ["-x", join(packages, file), root], { timeoutMs: 60_000 });
    }
    if ((await readUnpacked(root)) === undefined) {
      throw new Error(
        "the unpacked server does not run on this system (a library it needs is missing)",
      );
    }
    return { ...(await moveIntoPlace(root, directory)), origin: "debian-packages" };
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

async function downloadPackages(options: {
  readonly work: string;
  readonly packages: string;
  readonly aptGet: string;
}): Promise<void> {
  const { work, packages, aptGet } = options;
  const download = async (settings: readonly string[]): Promise<void> => {
    const names = await namePackages(aptGet, settings);
    await runCommand(aptGet, [...settings, "download", ...names], {
      cwd: packages,
      timeoutMs: APT_TIMEOUT_MS,
    });
  };
  const common = ["-q", "-oAPT::Sandbox::User=", "-oDebug::NoLocking=1"];
  try {
    await download(common);
    return;
  } catch {
    // The machine's package lists are empty (as in images) or too old: read our own, which needs no root.
  }
  const state = join(work, "apt-state");
  const cache = join(work, "apt-cache");
  await mkdir(join(state, "lists", "partial"), { recursive: true });
  await mkdir(join(cache, "archives", "partial"), { recursive: true });
  const settings = [
    ...common,
    `-oDir::State=${state}`,
    "-oDir::State::status=/var/lib/dpkg/status",
    `-oDir::Cache=${cache}`,
    "-oAcquire::Languages=none",
  ];
  await runCommand(aptGet, [...settings, "update"], { cwd: packages, timeoutMs: APT_TIMEOUT_MS });
  await download(settings);
}

/** What apt would install for a Redis here; only the server, its tools and libraries are of use to us. */
async function namePackages(aptGet: string, settings: readonly string[]): Promise<string[]> {
  const plan = await runCommand(
    aptGet,
    [...settings, "-s", "-y", "--no-install-recommends", "install", "redis-server"],
    { timeoutMs: APT_TIMEOUT_MS },
  );
  const planned = [...plan.matchAll(/^Inst (\S+)/gm)].map((match) => match[1] ?? "");
  const useful = planned.filter((name) => /^(?:redis|valkey|lib)/.test(name));
  // An installed package that is not on PATH is not planned; it is still what we want.
  return [...new Set(["redis-server", "redis-tools", ...useful])];
}

async function moveIntoPlace(root: string, directory: string): Promise<Unpacked> {
  for (let attempt = 0; attempt < 3; attempt += 1) {
    try {
      await rename(root, directory);
    } catch (error) {
      if (!isOccupied(error)) throw error;
      const theirs = await readUnpacked(directory);
      if (theirs !== undefined) return theirs;
      // A copy that does not run stands in the way: out, by rename, so that nobody sees it half deleted.
      await discard(directory);
      continue;
    }
    const moved = await readUnpacked(directory);
    if (moved !== undefined) return moved;
  }
  throw new Error(`${directory} could not be replaced by a working copy`);
}

async function discard(directory: string): Promise<void> {
  const grave = await mkdtemp(join(dirname(directory), "discarded-"));
  try {
    await rename(directory, join(grave, "root"));
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  } finally {
    await rm(grave, { recursive: true, force: true });
  }
}

function isOccupied(error: unknown): boolean {
  return (
    error instanceof Error &&
    "code" in error &&
    (error.code === "ENOTEMPTY" || error.code === "EEXIST")
  );
}

type Unpacked = Omit<RedisProgram, "origin">;

/** The server below an unpacked root, if there is one and it runs. */
async function readUnpacked(root: string): Promise<Unpacked | undefined> {
  const path = await findProgram(SERVER_NAMES, join(root, "usr", "bin"));
  if (path === undefined) return undefined;
  const libraryPath = await findLibraryPath(root);
  const version = await readVersion(path, libraryPath);
  return version === undefined ? undefined : { path, libraryPath, version };
}

async function findLibraryPath(root: string): Promise<string | undefined> {
  const directories: string[] = [];
  for (const base of [join(root, "usr", "lib"), join(root, "lib")]) {
    try {
      await access(base, constants.R_OK);
    } catch {
      continue;
    }
    const entries = await readdir(base);
    directories.push(
      ...entries.filter((entry) => entry.includes("-linux-")).map((entry) => join(base, entry)),
    );
  }
  return directories.length === 0 ? undefined : directories.join(":");
}

async function readVersion(
  path: string,
  libraryPath: string | undefined,
): Promise<string | undefined> {
  try {
    const said = await runCommand(path, ["--version"], {
      env: redisEnvironment(libraryPath),
      timeoutMs: 10_000,
    });
    const version = /v=([\d.]+)/.exec(said)?.[1];
    const name = /^(\w+) server/.exec(said)?.[1] ?? "Redis";
    return version === undefined ? undefined : `${name} ${version}`;
  } catch {
    return undefined;
  }
}

/** The whole environment of a private server: nothing of ours (tokens, keys) reaches it. */
export function redisEnvironment(libraryPath: string | undefined): NodeJS.ProcessEnv {
  return {
    PATH: SYSTEM_DIRECTORIES,
    ...(libraryPath === undefined ? {} : { LD_LIBRARY_PATH: libraryPath }),
  };
}
