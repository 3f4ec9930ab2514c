/**
 * Where the service that runs on a data directory can be asked: `running.json` beside its database.
 *
 * States: absent; written while a service runs; left behind by one that was killed (then nobody answers
 * under its address, and it counts as absent).
 */
import { readFile, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import type { Config } from "../config/config.ts";
import { epochMs } from "../core/clock.ts";
import type { QuotaStatus } from "../core/quota-status.ts";

const TIMEOUT_MS = 2_000;

const runningSchema = z.object({ pid: z.number().int().positive(), httpUrl: z.url() });
const windowSchema = z.object({ limit: z.number(), used: z.number() });
const statusSchema = z.object({
  quota: z.object({ minute: windowSchema, day: windowSchema, retryTokens: z.number() }).nullable(),
  breakers: z.array(
    z.object({ upstream: z.string(), openUntil: z.number().transform((at) => epochMs(at)) }),
  ),
});

/** Which process answers, and where. */
export type Running = z.output<typeof runningSchema>;

/** Say where this process can be asked. */
export async function announceRunning(dataDirectory: string, running: Running): Promise<void> {
  const file = fileIn(dataDirectory);
  const draft = `${file}.${String(running.pid)}`;
  await writeFile(draft, `${JSON.stringify(running)}\n`, { mode: 0o600 });
  await rename(draft, file);
}

/** This process can no longer be asked. */
export async function withdrawRunning(dataDirectory: string): Promise<void> {
  await rm(fileIn(dataDirectory), { force: true });
}

/**
 * The budget as a running service sees it; undefined when none answers, or it does not know either. Not
 * asked of the ledger itself: who asks that joins its roster, and a command is gone a moment later.
 */
export async function askRunning(
  config: Pick<Config, "dataDirectory" | "http" | "redisUrl">,
  signal: AbortSignal,
): Promise<QuotaStatus | undefined> {
  try {
    const response = await fetch(new URL("/status.json", await findAddress(config)), {
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    const { quota, breakers } = statusSchema.parse(await response.json());
    if (quota === null) return undefined;
    // The public status names no pauses: they name tenants.
    return { ...quota, breakers, stop: undefined, pauses: [] };
  } catch {
    signal.throwIfAborted();
    return undefined;
  }
}

/** What `start` or `web` announced here; else where a `web` process of this configuration would be. */
async function findAddress(
  config: Pick<Config, "dataDirectory" | "http" | "redisUrl">,
): Promise<string> {
  try {
    const text = await readFile(fileIn(config.dataDirectory), "utf8");
    return runningSchema.parse(JSON.parse(text)).httpUrl;
  } catch (error) {
    if (config.redisUrl === undefined) throw error;
    const { host, port } = config.http;
    return `http://${host === "0.0.0.0" ? "127.0.0.1" : host}:${String(port)}`;
  }
}

function fileIn(dataDirectory: string): string {
  return join(dataDirectory, "running.json");
}
