import { join } from "node:path";
import { obtainRedis } from "../embedded/obtain-redis.ts";
import { startPrivateRedis } from "../embedded/redis-server.ts";
import { askRedis } from "../operator-app.ts";
import { CliError } from "./cli-error.ts";
import type { CommandContext } from "./command-context.ts";
import { EXIT } from "./exit-codes.ts";
import type { Starting } from "./run-service.ts";

/** Which Redis is used, and what to tell about it. */
export interface ChosenRedis {
  readonly address: string;
  readonly description: string;
}

/** The Redis that REDIS_URL names, proven to answer and to keep its keys. */
export async function requireNamedRedis(
  { config }: Pick<Starting, "config">,
  context: CommandContext,
): Promise<ChosenRedis> {
  const { redisUrl } = config;
  if (redisUrl === undefined) {
    throw new CliError(
      "REDIS_URL is not set: processes that work together need a Redis that all of them reach.",
      {
        exitCode: EXIT.configuration,
        code: "BALLAST_NO_REDIS",
        next: "REDIS_URL=redis://HOST:6379 ballast …    (or: ballast start, which runs a private one)",
      },
    );
  }
  const shown = hidePassword(redisUrl);
  const { version, evictionPolicy } = await ask(redisUrl, shown, context);
  if (evictionPolicy !== "noeviction") {
    throw new CliError(
      `The Redis at ${shown} may drop keys when it is full (maxmemory-policy ${evictionPolicy}): jobs and quota windows would be lost.`,
      {
        exitCode: EXIT.configuration,
        code: "BALLAST_REDIS_EVICTS",
        next: "redis-cli config set maxmemory-policy noeviction    (and in its configuration file)",
      },
    );
  }
  return { address: redisUrl, description: `Redis ${version} at ${shown} (REDIS_URL)` };
}

async function ask(
  redisUrl: string,
  shown: string,
  { interrupted }: CommandContext,
): ReturnType<typeof askRedis> {
  try {
    return await askRedis(redisUrl, interrupted);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new CliError(`The Redis at ${shown} cannot be used: ${reason}.`, {
      exitCode: EXIT.dependencyDown,
      code: "BALLAST_REDIS_UNREACHABLE",
      next: "start it, or correct REDIS_URL; without REDIS_URL `ballast start` runs a private one",
      cause: error,
    });
  }
}

/** The named one, or a private one that lives and ends with this process and keeps its file in the data directory. */
export async function chooseRedis(
  starting: Starting,
  context: CommandContext,
): Promise<ChosenRedis> {
  const { config, started } = starting;
  if (config.redisUrl !== undefined) return requireNamedRedis(starting, context);
  const { clock, output, interrupted } = context;
  const program = await obtainRedis(
    { searchPath: config.searchPath },
    { say: (line) => output.say(line) },
  );
  interrupted.throwIfAborted();
  const redis = await startPrivateRedis(
    {
      program,
      dataDirectory: join(config.dataDirectory, "redis"),
      persistent: true,
      onUnexpectedEnd: (event) => {
        output.say(
          event.kind === "restarted"
            ? `Redis ended (${event.ending}) and was started again, as process ${String(event.pid)}.`
            : `Redis ended (${event.ending}) and could not be started again: nothing is synced until you restart Ballast.`,
        );
      },
    },
    { clock },
  );
  started.push({ name: "redis", run: () => redis.stop() });
  return {
    address: redis.url,
    description: `${program.version}, private, process ${String(redis.pid())}, on ${redis.url}`,
  };
}

function hidePassword(address: string): string {
  const url = address.startsWith("/") ? null : URL.parse(address);
  if (url === null) return address;
  if (url.password !== "") url.password = "***";
  return url.href;
}
