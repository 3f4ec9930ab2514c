import { Redis } from "ioredis";
import { systemClock } from "../../src/core/clock.ts";
import type { LedgerRecord } from "../../src/core/ledger-record.ts";
import { REQUEST_CLASSES, type RequestClass } from "../../src/core/request.ts";
import { startPrivateRedis } from "../../src/embedded/redis-server.ts";
import { createPermitBroker } from "../../src/quota/permit-broker.ts";
import { readLedgerSnapshot } from "../../src/quota/ledger-snapshot.ts";
import { lane, openLedger, permitAsk } from "../../test/support/ledger-parts.ts";
import { createMemoryLedgerRecord } from "../../test/support/memory-ledger-record.ts";
import { obtainFleetRedis } from "../../test/support/quota-fleet/run-fleet.ts";
import type { BenchOptions, NumberRow } from "../number-row.ts";
import { pause } from "./guard-world.ts";

const DAY_LIMIT = 300;
const WINDOW_MS = 2_000;
/** What a loss hides is charged to the day at this rate: it must be small beside a day, as it is at Google's. */
const PER_WINDOW = 60;

/** Number 15: all classes ask for as much as they can get of a small day, while Redis is emptied again and again. */
export async function measureDay(options: BenchOptions): Promise<readonly NumberRow[]> {
  const flushes = options.isShort ? 1 : 3;
  const kept = await spendDay(createMemoryLedgerRecord(), { flushes, everyMs: 1_000 });
  const control = await spendCounter();
  const base = {
    number: "15",
    measure: `sent of a day of ${String(DAY_LIMIT)}, FLUSHALL included`,
    goal: `≤ ${String(DAY_LIMIT)}`,
  };
  const { byClass } = kept;
  return [
    {
      ...base,
      stack: "ballast",
      measured: `${String(kept.sent)} sent, ${String(flushes)} flushes; forecast ${String(kept.forecast)} with ${String(kept.forecastAt)} sent; ${REQUEST_CLASSES.map((name) => `${name} ${String(byClass[name])}`).join(", ")}`,
      figures: { sent: kept.sent, flushes, forecast: kept.forecast, ...byClass },
      isMet:
        kept.sent <= DAY_LIMIT &&
        kept.sent >= (options.isShort ? 1 : DAY_LIMIT / 2) &&
        kept.forecast > DAY_LIMIT &&
        byClass.interactive >= byClass.poll &&
        byClass.poll >= byClass.backfill,
    },
    {
      ...base,
      stack: "control: a counter in Redis alone",
      measured: `${String(control)} sent`,
      figures: { sent: control },
      isMet: control >= 1.25 * DAY_LIMIT,
    },
  ];
}

/** What a day's count comes to that lives in Redis only, emptied once at two thirds of the day. */
async function spendCounter(): Promise<number> {
  const redis = await startPrivateRedis(
    { program: await obtainFleetRedis(), persistent: false },
    { clock: systemClock },
  );
  const admin = new Redis({ path: redis.socketPath });
  let sent = 0;
  while ((await admin.incr("day")) <= DAY_LIMIT) {
    sent += 1;
    if (sent === Math.floor((2 / 3) * DAY_LIMIT)) await admin.flushall();
  }
  admin.disconnect();
  await redis.stop();
  return sent;
}

interface SpentDay {
  readonly sent: number;
  readonly byClass: Readonly<Record<RequestClass, number>>;
  /** What the ledger said that the day would come to, and what was spent by then. */
  readonly forecast: number;
  readonly forecastAt: number;
}

async function spendDay(
  record: LedgerRecord,
  { flushes, everyMs }: { readonly flushes: number; readonly everyMs: number },
): Promise<SpentDay> {
  const redis = await startPrivateRedis(
    { program: await obtainFleetRedis(), persistent: false },
    { clock: systemClock },
  );
  const admin = new Redis({ path: redis.socketPath });
  const parts = await openLedger(
    { path: redis.socketPath },
    {
      record,
      settings: {
        windowMs: WINDOW_MS,
        projectPerMinute: PER_WINDOW,
        userPerMinute: PER_WINDOW,
        perDay: DAY_LIMIT,
      },
    },
  );
  const ledger = parts.join();
  const broker = createPermitBroker({}, { ledgerOf: () => ledger, clock: systemClock });
  const byClass = { interactive: 0, push: 0, poll: 0, backfill: 0 };
  const stopping = new AbortController();
  const spend = async (requestClass: RequestClass): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        const of = lane({ class: requestClass });
        const permit = await broker.acquire(permitAsk(of, { maxWaitMs: 200 }));
        byClass[requestClass] += 1;
        broker.report(permit, { kind: "succeeded" });
        await pause(10);
      } catch {
        // Refused: by the day, or by a ledger that is not open yet; both are asked again.
        await pause(50);
      }
    }
  };
  const spending = REQUEST_CLASSES.map(spend);
  // By the ledger that has opened: another one's connection may still be on its way.
  const readDay = async () => (await readLedgerSnapshot(parts.ledger))?.day;
  let day = await readDay();
  // A new asker is granted nothing at first.
  const giveUpMs = performance.now() + 20_000;
  while ((day?.used ?? 0) < 10 && performance.now() < giveUpMs) {
    await pause(50);
    day = await readDay();
  }
  for (let flush = 0; flush < flushes; flush += 1) {
    await pause(everyMs);
    await admin.flushall();
    // Long enough to open again by any rule.
    await pause(WINDOW_MS + 1_500);
  }
  await pause(2_000);
  stopping.abort();
  await Promise.all(spending);
  await broker.close();
  await parts.close();
  admin.disconnect();
  await redis.stop();
  const sent = Object.values(byClass).reduce((sum, count) => sum + count, 0);
  return { sent, byClass, forecast: day?.forecast ?? 0, forecastAt: day?.used ?? 0 };
}
