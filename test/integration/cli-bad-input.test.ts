import { spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { loadConfig } from "../../src/config/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { identifyProcess } from "../../src/embedded/process-identity.ts";
import { openAppStore } from "../../src/operator-app.ts";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { runBallast } from "../support/ballast-process.ts";

vi.setConfig({ testTimeout: 180_000 });
/* Every test runs the real entry in a process of its own. */
const UNKNOWN = "cal_0123456789abcdef";
let home = "";
let simulator: Simulator;
let env: Readonly<Record<string, string>> = {};

/** Undefined: there is no such file. */
async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, "utf8"));
  } catch {
    return undefined;
  }
}

async function makeDatabase(directory: string): Promise<void> {
  const config = loadConfig({ BALLAST_DATA_DIR: directory });
  const store = await openAppStore(config, { clock: systemClock }, { migrateWhenEmpty: true });
  await store.close();
}

beforeAll(async () => {
  home = await mkdtemp(join(tmpdir(), "ballast-cli-"));
  simulator = await createSimulator({ generate: { accounts: 2, calendars: 1, events: 1 } });
  env = {
    BALLAST_DATA_DIR: join(home, "data"),
    GOOGLE_CLIENT_ID: "client",
    GOOGLE_CLIENT_SECRET: "secret",
    GOOGLE_API_ROOT_URL: simulator.url,
    GOOGLE_OAUTH_TOKEN_URL: simulator.tokenUrl,
    GOOGLE_OAUTH_AUTH_URL: simulator.authUrl,
  };
  await makeDatabase(join(home, "data"));
});

afterAll(async () => {
  await simulator.close();
  await rm(home, { recursive: true, force: true });
});

describe("wrong words on the command line", () => {
  test.each([
    ["a malformed calendar id", ["events", "--calendar", "team@example.com"], /cal_….*calendars/s],
    ["no calendar id", ["events"], /--calendar/],
    ["an unknown command", ["synchronise"], /unknown command/],
    ["an unknown option", ["calendars", "--fresh"], /unknown option/],
    ["a limit that is no number", ["calendars", "--limit", "many"], /whole number from 1 to 1000/],
    ["a moment that is none", ["events", "--calendar", UNKNOWN, "--from", "today"], /2026-01-31/],
    [
      "times the wrong way round",
      ["events", "--calendar", UNKNOWN, "--from", "2026-02-01", "--to", "2026-01-01"],
      /after --from/,
    ],
    ["an account without its tenant", ["calendars", "--account", "ada"], /--tenant/],
    ["a refresh of nothing", ["refresh"], /--all/],
  ] as const)("%s is usage: 2, and says what should be there", async (_case, args, message) => {
    const { code, stderr, stdout } = await runBallast(args, env);
    expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
    expect(stderr).toMatch(message);
    expect(stderr).not.toMatch(/^\s+at /m);
  });
});

describe("what does not exist", () => {
  test.each([
    ["events", ["events", "--calendar", UNKNOWN]],
    ["refresh", ["refresh", "--calendar", UNKNOWN]],
  ] as const)("%s of an unknown calendar fails and says who lists them", async (_name, args) => {
    const { code, stderr } = await runBallast(args, env);
    expect(code).toBe(1);
    expect(stderr).toContain(UNKNOWN);
    expect(stderr).toContain("ballast calendars");
  });

  test("with --json the error is a document, too", async () => {
    const { stderr, stdout } = await runBallast(["events", "--calendar", UNKNOWN, "--json"], env);
    expect(stdout).toBe("");
    expect(JSON.parse(stderr)).toMatchObject({
      schemaVersion: 1,
      error: { code: "BALLAST_UNKNOWN_CALENDAR" },
    });
  });

  test("an unknown account of a tenant fails", async () => {
    const { code, stderr } = await runBallast(
      ["calendars", "--tenant", "acme", "--account", "nobody"],
      env,
    );
    expect(code).toBe(1);
    expect(stderr).toContain("nobody of tenant acme");
  });

  test("a stack is shown to those who ask for it, and to nobody else", async () => {
    const { stderr } = await runBallast(["events", "--calendar", UNKNOWN], {
      ...env,
      BALLAST_LOG_LEVEL: "debug",
    });
    expect(stderr).toMatch(/^\s+at /m);
  });
});

describe("configuration and dependencies", () => {
  test("every problem of the configuration is told at once, and none of its secrets: 4", async () => {
    const { code, stderr } = await runBallast(["calendars"], {
      ...env,
      BALLAST_HTTP_PORT: "99999",
      BALLAST_MIRROR: "half",
      REDIS_URL: "http://user:hunter2@example.com",
    });
    expect(code).toBe(4);
    expect(stderr).toContain("3 problems");
    for (const name of ["BALLAST_HTTP_PORT", "BALLAST_MIRROR", "REDIS_URL", "config print"]) {
      expect(stderr).toContain(name);
    }
    expect(stderr).not.toContain("hunter2");
  });

  test("a wrong configuration is printed all the same, with its problems after it", async () => {
    const { code, stdout, stderr } = await runBallast(["config", "print", "--json"], {
      ...env,
      BALLAST_MIRROR: "half",
    });
    expect(code).toBe(4);
    expect(JSON.parse(stdout)).toMatchObject({ schemaVersion: 1 });
    expect(stdout).not.toContain('"secret"');
    expect(stderr).toContain("BALLAST_MIRROR");
  });

  test("a data directory in which nothing was started: 5, and no database is made by asking", async () => {
    const BALLAST_DATA_DIR = join(home, "empty");
    await mkdir(BALLAST_DATA_DIR);
    const first = await runBallast(["calendars"], { ...env, BALLAST_DATA_DIR });
    const second = await runBallast(["status"], { ...env, BALLAST_DATA_DIR });
    expect([first.code, second.code]).toEqual([5, 5]);
    expect(first.stderr).toContain("ballast start");
  });

  test("a database of a later release: 4, with both versions, and nothing written to it", async () => {
    const directory = join(home, "later");
    await makeDatabase(directory);
    const database = new DatabaseSync(join(directory, "ballast.db"));
    database.exec(
      "insert into schema_migrations (version, name, applied_at) values (99, 'later', 0)",
    );
    database.close();
    const later = { ...env, BALLAST_DATA_DIR: directory };
    const [list, status] = await Promise.all([
      runBallast(["calendars"], later),
      runBallast(["migrate", "status", "--json"], later),
    ]);
    expect(list.code).toBe(4);
    expect(list.stderr).toMatch(/schema version 99.*migrate status/s);
    expect(status.code).toBe(4);
    expect(JSON.parse(status.stdout)).toMatchObject({ version: 99, isSupported: false });
  });

  test("a Redis that is gone at start: 5, which one, and nothing is left behind", async () => {
    const REDIS_URL = "redis://:hunter2@127.0.0.1:1/";
    const directory = join(home, "no-redis");
    const { code, stderr } = await runBallast(["start"], {
      ...env,
      REDIS_URL,
      BALLAST_DATA_DIR: directory,
    });
    expect(code).toBe(5);
    expect(stderr).toMatch(/127\.0\.0\.1:1.*ECONNREFUSED/s);
    expect(stderr).not.toContain("hunter2");
    const again = await runBallast(["start"], { ...env, REDIS_URL, BALLAST_DATA_DIR: directory });
    expect(again.stderr).not.toContain("already runs");
  });

  test("a port that was chosen and is taken: 4, and all that was started is stopped", async () => {
    const directory = join(home, "taken");
    const { port } = new URL(simulator.url);
    const taken = { BALLAST_DATA_DIR: directory, BALLAST_HTTP_PORT: port };
    const { code, stderr } = await runBallast(["start"], taken);
    expect(code).toBe(4);
    expect(stderr).toMatch(new RegExp(`${port}.*something else listens there`, "s"));
    const { pid } = z
      .object({ pid: z.number() })
      .catch({ pid: 0 })
      .parse(await readJson(join(directory, "redis", "redis-server.json")));
    expect(pid === 0 || (await identifyProcess(pid)) === undefined).toBe(true);
    expect((await runBallast(["start"], taken)).stderr).not.toContain("already runs");
  });

  test("a worker without a Redis that others reach: 4", async () => {
    const { code, stderr } = await runBallast(["worker"], env);
    expect(code).toBe(4);
    expect(stderr).toContain("REDIS_URL");
  });

  test("doctor names each failing check with its next step, and ends with the first one's code", async () => {
    const { code, stdout } = await runBallast(["doctor", "--json"], {
      ...env,
      REDIS_URL: "redis://127.0.0.1:1",
    });
    expect(code).toBe(5);
    const { checks } = JSON.parse(stdout) as {
      readonly checks: readonly { readonly name: string; readonly outcome: string }[];
    };
    expect(checks.map(({ name, outcome }) => `${name}: ${outcome}`)).toEqual([
      "node: ok",
      "configuration: ok",
      "data directory: ok",
      "database: ok",
      "encryption keys: ok",
      "redis: fail",
      "token endpoint: ok",
      "clock: ok",
    ]);
  });
});

describe("a simulator that cannot start", () => {
  test("a seed file that is not there, or does not fit, is named with what should be there: 4", async () => {
    const seed = join(home, "seed.json");
    await writeFile(seed, '{"calendars": 1}');
    const [missing, wrong, address] = await Promise.all([
      runBallast(["simulate", "--seed-file", join(home, "none.json")], {}),
      runBallast(["simulate", "--seed-file", seed], {}),
      runBallast(["simulate", "--host", "203.0.113.1"], {}),
    ]);
    expect([missing.code, wrong.code, address.code]).toEqual([4, 4, 4]);
    expect(missing.stderr).toContain("none.json");
    expect(wrong.stderr).toContain("expected array");
    expect(address.stderr).toContain("203.0.113.1");
  });
});

describe("credentials", () => {
  const connect = ["connect", "--tenant", "acme", "--account", "ada"];
  const fromStdin = [...connect, "--refresh-token-file", "-"];

  test("an expired refresh token: 4, and the account is not made", async () => {
    const { code, stderr } = await runBallast(fromStdin, env, "1//expired-token\n");
    expect(code).toBe(4);
    expect(stderr).toContain("invalid_grant");
    expect(stderr).not.toContain("1//expired-token");
    const list = await runBallast(["calendars", "--tenant", "acme", "--account", "ada"], env);
    expect(list.code).toBe(1);
  });

  test("a file that is not there, and one that holds something else: 4", async () => {
    const garbage = join(home, "garbage.txt");
    await writeFile(garbage, "two words\nand lines");
    const [missing, wrong] = await Promise.all([
      runBallast([...connect, "--refresh-token-file", join(home, "none")], env),
      runBallast([...connect, "--refresh-token-file", garbage], env),
    ]);
    expect([missing.code, wrong.code]).toEqual([4, 4]);
    expect(wrong.stderr).toContain("19 characters");
    expect(wrong.stderr).not.toContain("two words");
  });

  test("a token endpoint that does not answer: 5, and the way around it", async () => {
    const GOOGLE_OAUTH_TOKEN_URL = "http://127.0.0.1:1/token";
    const { code, stderr } = await runBallast(
      fromStdin,
      { ...env, GOOGLE_OAUTH_TOKEN_URL },
      "1//x",
    );
    expect(code).toBe(5);
    expect(stderr).toContain("--no-verify");
  });

  test("no OAuth client: 4", async () => {
    const { code, stderr } = await runBallast(
      fromStdin,
      { BALLAST_DATA_DIR: join(home, "data") },
      "1//x",
    );
    expect(code).toBe(4);
    expect(stderr).toContain("GOOGLE_CLIENT_ID");
  });
});

test("a reader that goes away ends the command quietly", async () => {
  const entry = join(import.meta.dirname, "..", "..", "src", "cli", "ballast.ts");
  // The shell's own exit code is the reader's; what matters is what the writer says of it.
  const shell = spawn(
    "/bin/sh",
    ["-c", `"$0" "$1" status --watch --json | head -n 1`, process.execPath, entry],
    { env: { PATH: process.env["PATH"], ...env }, stdio: ["ignore", "pipe", "pipe"] },
  );
  let stdout = "";
  let stderr = "";
  shell.stdout.setEncoding("utf8").on("data", (text: string) => {
    stdout += text;
  });
  shell.stderr.setEncoding("utf8").on("data", (text: string) => {
    stderr += text;
  });
  const code = await new Promise((resolve) => {
    shell.once("close", resolve);
  });
  expect(code).toBe(0);
  expect(stderr).toBe("");
  expect(JSON.parse(stdout)).toMatchObject({ schemaVersion: 1 });
});
