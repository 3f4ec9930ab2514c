import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Redis } from "ioredis";
import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { obtainRedis, type RedisProgram } from "../../src/embedded/obtain-redis.ts";
import { identifyProcess } from "../../src/embedded/process-identity.ts";
import {
  startPrivateRedis,
  type PrivateRedis,
  type PrivateRedisOptions,
  type RedisRevival,
} from "../../src/embedded/redis-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const deps = { clock: systemClock };
const root = join(import.meta.dirname, "..", "..");

function findRedis(): Promise<RedisProgram> {
  return obtainRedis({ searchPath: process.env["PATH"] ?? "" }, { say: () => {} });
}

async function start(options: Omit<PrivateRedisOptions, "program">): Promise<PrivateRedis> {
  const server = await startPrivateRedis({ program: await findRedis(), ...options }, deps);
  onTestFinished(() => server.stop());
  return server;
}

async function withClient<T>(server: PrivateRedis, use: (client: Redis) => Promise<T>): Promise<T> {
  const client = new Redis(server.url);
  try {
    return await use(client);
  } finally {
    await client.quit();
  }
}

/** Another process that starts a private Redis and says its number, then waits for its end. */
async function startParent(
  dataDirectory: string,
): Promise<{ readonly parent: ChildProcess; readonly redisPid: number }> {
  const program = await findRedis();
  const source = `
    import { systemClock } from ${JSON.stringify(join(root, "src/core/clock.ts"))};
    import { startPrivateRedis } from ${JSON.stringify(join(root, "src/embedded/redis-server.ts"))};
    const server = await startPrivateRedis(
      { program: ${JSON.stringify(program)}, persistent: true, dataDirectory: ${JSON.stringify(dataDirectory)} },
      { clock: systemClock },
    );
    process.on("SIGINT", () => console.log("interrupted"));
    process.on("SIGTERM", () => process.exit(0));
    console.log(server.pid());
    setInterval(() => {}, 1000);
  `;
  // Detached: a group of its own, so that the test can signal that group as a terminal would.
  const parent = spawn(process.execPath, ["--input-type=module", "-e", source], {
    detached: true,
    stdio: ["ignore", "pipe", "inherit"],
  });
  onTestFinished(() => {
    parent.kill("SIGKILL");
  });
  const lines = createInterface({ input: parent.stdout });
  const [line] = (await once(lines, "line")) as [string];
  return { parent, redisPid: Number(line) };
}

test("a killed server comes back on the same address with what its file held", async () => {
  const server = await start({ persistent: true });
  await withClient(server, (client) => client.set("kept", "yes"));
  const before = server.pid();

  await server.kill("SIGKILL");
  await server.restart({ keepData: true });

  expect(server.pid()).not.toBe(before);
  expect(await withClient(server, (client) => client.get("kept"))).toBe("yes");
});

test("without its file a restarted server is empty", async () => {
  const server = await start({ persistent: true });
  await withClient(server, (client) => client.set("kept", "yes"));

  await server.kill("SIGKILL");
  await server.restart({ keepData: false });

  expect(await withClient(server, (client) => client.dbsize())).toBe(0);
});

test("data in a directory outlives a stop", async () => {
  const dataDirectory = await temporaryDirectory();
  const first = await start({ persistent: true, dataDirectory });
  await withClient(first, (client) => client.set("kept", "yes"));
  await first.stop();

  const second = await start({ persistent: true, dataDirectory });

  expect(await withClient(second, (client) => client.get("kept"))).toBe("yes");
});

test("keys are never evicted, and a port is given on request", async () => {
  const server = await start({ persistent: false, listen: "port" });
  expect(server.url).toMatch(/^redis:\/\/127\.0\.0\.1:\d+$/);
  const policy = await withClient(server, (client) => client.config("GET", "maxmemory-policy"));
  expect(policy).toContain("noeviction");
});

test("a server that cannot start says why", async () => {
  const failed = start({ persistent: false, extraArguments: ["--no-such-setting", "1"] });
  await expect(failed).rejects.toThrow(/no-such-setting/);
});

test("Ctrl-C on the terminal reaches the parent and not its Redis", async () => {
  const { parent, redisPid } = await startParent(await temporaryDirectory());
  const lines = createInterface({ input: parent.stdout ?? process.stdin });
  const interrupted = once(lines, "line");

  process.kill(-(parent.pid ?? 0), "SIGINT");

  expect(await interrupted).toEqual(["interrupted"]);
  expect(await identifyProcess(redisPid)).toBeDefined();
});

test("a parent that exits takes its Redis with it", async () => {
  const { parent, redisPid } = await startParent(await temporaryDirectory());
  parent.kill("SIGTERM");
  await expect.poll(() => identifyProcess(redisPid), { timeout: 60_000 }).toBeUndefined();
});

test("a Redis left behind by a killed parent is ended, at the latest by the next start", async () => {
  const dataDirectory = await temporaryDirectory();
  const { parent, redisPid } = await startParent(dataDirectory);
  parent.kill("SIGKILL");

  const next = await start({ persistent: true, dataDirectory });

  expect(next.pid()).not.toBe(redisPid);
  expect(await identifyProcess(redisPid)).toBeUndefined();
});

test("a server that dies unasked is started again with its data; one that is killed by its owner is not", async () => {
  const events: RedisRevival[] = [];
  const server = await start({
    persistent: true,
    onUnexpectedEnd: (event) => {
      events.push(event);
    },
  });
  await withClient(server, (client) => client.set("kept", "yes"));
  const before = server.pid();

  process.kill(before, "SIGKILL");
  await expect.poll(() => events, { timeout: 60_000 }).toHaveLength(1);

  expect(events).toEqual([{ kind: "restarted", pid: server.pid(), ending: "signal SIGKILL" }]);
  expect(server.pid()).not.toBe(before);
  expect(await withClient(server, (client) => client.get("kept"))).toBe("yes");

  await server.kill("SIGKILL");
  expect(await identifyProcess(server.pid())).toBeUndefined();
  await server.restart({ keepData: true });
  expect(events).toHaveLength(1);
});
