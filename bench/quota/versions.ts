import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { cpus } from "node:os";
import { Redis } from "ioredis";
import { systemClock } from "../../src/core/clock.ts";
import { startPrivateRedis } from "../../src/embedded/redis-server.ts";
import { obtainFleetRedis } from "../../test/support/quota-fleet/run-fleet.ts";

const PACKAGES = [
  "@googleapis/calendar",
  "gaxios",
  "google-auth-library",
  "p-retry",
  "bullmq",
  "bottleneck",
  "opossum",
  "ioredis",
  "undici",
] as const;

/** What a run was made with: its figures are worth little without. */
export async function readVersions(): Promise<Readonly<Record<string, string>>> {
  const redis = await startPrivateRedis(
    { program: await obtainFleetRedis(), persistent: false },
    { clock: systemClock },
  );
  const client = new Redis(redis.socketPath);
  const info = await client.info("server");
  client.disconnect();
  await redis.stop();
  const libraries = PACKAGES.map((name) => [name, versionOf(name)] as const);
  return {
    node: process.versions.node,
    redis: /redis_version:(\S+)/.exec(info)?.[1] ?? "unknown",
    ...Object.fromEntries(libraries),
    processors: `${cpus().length} × ${cpus()[0]?.model ?? "unknown"}`,
  };
}

function versionOf(name: string): string {
  const directory = createRequire(import.meta.url)
    .resolve.paths(name)
    ?.map((path) => `${path}/${name}/package.json`);
  for (const file of directory ?? []) {
    try {
      const { version } = JSON.parse(readFileSync(file, "utf8")) as { version: string };
      return version;
    } catch {
      // Not here: the next directory up.
    }
  }
  return "unknown";
}
