import { execFile, type ExecFileOptions } from "node:child_process";
import { mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect } from "vitest";
import { z } from "zod";
import { openClientWorld } from "../support/client-world.ts";
import { test } from "../support/redis-test.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const PACKAGE = join(ROOT, "packages", "client");
const packed = z.array(
  z.object({
    filename: z.string(),
    unpackedSize: z.number(),
    files: z.array(z.object({ path: z.string() })),
  }),
);
const manifest = z.object({
  dependencies: z.record(z.string(), z.string()),
  engines: z.object({ node: z.string() }),
});

function run(
  program: string,
  args: readonly string[],
  options: ExecFileOptions,
): Promise<{ readonly stdout: string; readonly stderr: string }> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { ...options, encoding: "utf8" }, (error, stdout, stderr) => {
      if (error) reject(new Error(`${program} ${args.join(" ")}: ${stderr}`, { cause: error }));
      else resolve({ stdout, stderr });
    });
  });
}

async function readManifest(folder: string): Promise<z.output<typeof manifest>> {
  return manifest.parse(JSON.parse(await readFile(join(folder, "package.json"), "utf8")));
}

test(
  "packed, installed in folders of their own, an ESM and a CJS program stay inside the budget",
  { timeout: 300_000 },
  async ({ redisConnection }) => {
    const directory = await temporaryDirectory();
    await run("npm", ["run", "build:client"], { cwd: ROOT });
    const { stdout } = await run("npm", ["pack", "--json", "--pack-destination", directory], {
      cwd: PACKAGE,
    });
    const [tarball] = packed.parse(JSON.parse(stdout));
    if (!tarball) throw new Error("npm pack named no tarball");
    const paths = tarball.files.map(({ path }) => path);
    expect(paths).toContain("dist/src/quota/ledger.lua");
    expect(paths).toContain("README.md");
    const rooms = new Set(paths.map((path) => /^dist\/src\/([^/]+)\//.exec(path)?.[1] ?? ""));
    expect([...rooms].toSorted()).toEqual(["", "core", "google", "observability", "quota"]);
    const readme = await readFile(join(PACKAGE, "README.md"), "utf8");
    const [, stated] = /unpacked size: about (\d+) kB/i.exec(readme) ?? [];
    const kilobytes = tarball.unpackedSize / 1000;
    console.log(`Unpacked size: ${Math.round(kilobytes)} kB`);
    // What is stated holds within a fifth; it is measured anew when it does not.
    expect(Math.abs(Number(stated) / kilobytes - 1)).toBeLessThanOrEqual(0.2);

    const world = await openClientWorld(redisConnection);
    const { options } = world;
    const environment = {
      PATH: process.env["PATH"],
      // A socket's path and a database number, as the one address that ioredis takes.
      REDIS_URL: `${redisConnection.path}?db=${redisConnection.db}`,
      PROJECT: options.project,
      TENANT: options.tenant,
      ACCOUNT: options.account,
      QUOTA_USER: options.quotaUser,
      CALENDAR_ID: world.calendarId,
      GOOGLE_CLIENT_ID: "id",
      GOOGLE_CLIENT_SECRET: "secret",
      REFRESH_TOKEN: options.credentials.refreshToken,
      GOOGLE_API_ROOT_URL: options.google.apiRootUrl,
      GOOGLE_OAUTH_TOKEN_URL: options.google.tokenUrl,
      BALLAST_URL: options.refresh.url,
      BALLAST_TOKEN: options.refresh.token,
    };
    try {
      for (const example of ["esm.mjs", "cjs.cjs"]) {
        const folder = join(directory, example.slice(0, 3));
        await mkdir(folder);
        await writeFile(join(folder, "package.json"), JSON.stringify({ private: true }));
        await writeFile(
          join(folder, example),
          await readFile(join(PACKAGE, "examples", example), "utf8"),
        );
        const archive = join(directory, tarball.filename);
        const quiet = ["--no-audit", "--no-fund", "--ignore-scripts", "--prefer-offline"];
        await run("npm", ["install", ...quiet, archive], { cwd: folder });
        const installed = await readdir(join(folder, "node_modules"));
        expect(
          installed.filter((name) =>
            /^(?:bullmq|fastify|kysely|pg|pino|node-linux-.*)$/.test(name),
          ),
        ).toEqual([]);
        // A Node of another version may be named, to see that the package runs on it.
        const node = process.env["BALLAST_CLIENT_TEST_NODE"] ?? process.execPath;
        const { stdout: said, stderr } = await run(
          node,
          ["--disable-warning=ExperimentalWarning", example],
          {
            cwd: folder,
            env: environment,
            timeout: 30_000,
          },
        );
        expect({ example, stderr }).toEqual({ example, stderr: "" });
        expect(JSON.parse(said)).toMatchObject(
          example === "esm.mjs" ? { summary: "Lunch" } : { events: 4 },
        );
      }
      expect(world.arrivals().map(({ operation }) => operation)).toEqual([
        "oauth.token",
        "events.insert",
        "events.get",
        // The second program finds the first one's token.
        "events.list",
      ]);
      // Every one of them was paid for, in the one ledger.
      expect(await world.counted()).toBe(4);
      expect(world.ballast.arrivals).toHaveLength(1);
    } finally {
      await world.close();
    }
  },
);

test("its dependencies are those that are tested here, but for the transport", async () => {
  const [root, client] = await Promise.all([readManifest(ROOT), readManifest(PACKAGE)]);
  const { undici, ...others } = client.dependencies;
  for (const [name, version] of Object.entries(others)) {
    expect({ name, version }).toEqual({ name, version: root.dependencies[name] });
  }
  // undici 8 wants a later Node 22 than the first that can `require` this package.
  expect(undici).toMatch(/^7\./);
  expect(client.engines.node).toBe(">=22.12");
});
