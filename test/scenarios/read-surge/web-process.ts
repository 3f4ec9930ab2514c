/**
 * A web process of Ballast's, as `ballast web` is, that counts how often it reads events from the database. Set up by
 * its environment; tells its parent its address when it answers, and its figures when it is asked.
 */
import { startApp, type App } from "../../../src/app.ts";
import { loadConfig } from "../../../src/config/config.ts";
import { systemClock } from "../../../src/core/clock.ts";
import type { EventStore } from "../../../src/core/event-store.ts";
import { createLogger } from "../../../src/observability/logger.ts";

/** What the parent gets when it asks. */
export interface WebFigures {
  /** The most reads of one calendar, window and generation. */
  readonly mostReads: number;
  /** Calendars, windows and generations that were read. */
  readonly read: number;
  readonly rssBytes: number;
}

const reads = new Map<string, number>();

/** The first page of each read: the others are the same read going on. */
function counting(events: EventStore): EventStore {
  return {
    readFacts: (ids, now) => events.readFacts(ids, now),
    async readEvents(id, query, now) {
      const read = await events.readEvents(id, query, now);
      if (query.after === undefined && read.kind === "events") {
        const key = `${id} ${String(query.from)} ${String(query.to)} ${String(read.freshness.generation)}`;
        reads.set(key, (reads.get(key) ?? 0) + 1);
      }
      return read;
    },
  };
}

async function start(): Promise<App> {
  const config = loadConfig(process.env);
  const logger = createLogger(
    { level: config.logLevel, format: "text" },
    {
      write: (line) => {
        process.stderr.write(line);
      },
    },
  );
  return startApp(
    config,
    { role: "web", redis: config.redisUrl ?? "" },
    { clock: systemClock, logger, wrapEvents: counting },
  );
}

function figures(): WebFigures {
  return {
    mostReads: Math.max(0, ...reads.values()),
    read: reads.size,
    rssBytes: process.memoryUsage.rss(),
  };
}

const app = await start();
process.on("message", () => {
  process.send?.(figures());
});
process.once("disconnect", () => {
  app.drain().then(
    () => undefined,
    () => {
      process.exitCode = 1;
    },
  );
});
process.send?.({ url: app.httpUrl });
