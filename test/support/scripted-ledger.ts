import type { Redis } from "ioredis";
import type { PermitOutcome } from "../../src/quota/permit.ts";
import { readLedgerScript } from "../../src/quota/ledger.ts";
import { encodeLane, encodeReport, type LedgerLane } from "../../src/quota/ledger-lane.ts";
import {
  parseAskReply,
  parsePlainReply,
  type AskReply,
  type LaneAnswer,
} from "../../src/quota/ledger-reply.ts";
import { encodeLedgerSettings, parseLedgerSettings } from "../../src/quota/ledger-settings.ts";
import { ledgerKeys } from "../../src/quota/redis-keys.ts";
import { SHORT_WINDOW, TEST_PROJECT } from "./ledger-parts.ts";

/** Where scripted time begins. */
export const SCRIPT_START_MS = 1_800_000_000_000;

/** A lane, how many permits, and how many more wait behind them. */
export type LaneAsked = readonly [lane: LedgerLane, count: number, more?: number];

/** The real script on a real Redis, with a clock that stands where the test puts it. */
export interface ScriptedLedger {
  /** The ledger's time, from the start of the script. */
  at(ms: number): Promise<void>;
  /** One ask of one asker, in one batch. */
  ask(lanes: readonly LaneAsked[], asker?: string): Promise<readonly LaneAnswer[]>;
  askRaw(lanes: readonly LaneAsked[], asker?: string): Promise<AskReply>;
  report(lane: LedgerLane, outcome: PermitOutcome, isProbe?: boolean): Promise<void>;
  configure(settings: Readonly<Record<string, unknown>>): Promise<void>;
  call(operation: string, args: readonly string[]): Promise<unknown>;
}

/** Open a ledger at scripted time 0 with these settings (10 s windows unless said otherwise). */
export async function openScriptedLedger(
  redis: Redis,
  settings: Readonly<Record<string, unknown>>,
  day: {
    readonly startedMsAgo: number;
    readonly endsInMs: number;
    readonly count: number;
    readonly turnsInMs?: readonly number[];
  } = { startedMsAgo: 0, endsInMs: 86_400_000, count: 0 },
): Promise<ScriptedLedger> {
  const script = scriptWithSetClock();
  let isOpen = false;
  const keys = ledgerKeys(TEST_PROJECT);
  const call = (operation: string, args: readonly string[], asker = "asker"): Promise<unknown> =>
    redis.call(
      "EVAL",
      script,
      String(keys.length),
      ...keys,
      operation,
      "1",
      asker,
      isOpen ? "1" : "0",
      isOpen ? "epoch-1" : "",
      "0",
      "0.5",
      ...args,
    );
  const encode = (over: Readonly<Record<string, unknown>>): readonly string[] => {
    const rows = Object.entries({ ...SHORT_WINDOW, settleMs: 1, ...over }).map(([name, value]) => ({
      name: name.startsWith("pause.") ? name : `quota.test.${name}`,
      value,
    }));
    const parsed = parseLedgerSettings(TEST_PROJECT, rows);
    if (parsed.problems.length > 0) throw new Error(parsed.problems.join("\n"));
    const turns = (day.turnsInMs ?? []).map((turn) => SCRIPT_START_MS + turn);
    return ["v1", ...encodeLedgerSettings(parsed.settings, turns)];
  };
  const at = async (ms: number): Promise<void> => {
    await redis.set("test:now", SCRIPT_START_MS + ms);
  };
  await at(0);
  const opened = parsePlainReply(
    await call("open", [
      "first",
      "1",
      "epoch-1",
      "0",
      "",
      "-1",
      String(SCRIPT_START_MS - day.startedMsAgo),
      String(SCRIPT_START_MS + day.endsInMs),
      String(day.count),
      ...encode(settings),
    ]),
  );
  if (opened.outcome !== "opened") throw new Error(`not opened: ${opened.outcome}`);
  isOpen = true;
  // A second process that has been here as long.
  const [, roster = "", joined = ""] = keys;
  await redis.zadd(roster, SCRIPT_START_MS, "other");
  await redis.hset(joined, "other", "founder");

  const askRaw: ScriptedLedger["askRaw"] = async (lanes, asker) => {
    const asked = lanes.flatMap(([lane, count, more]) => [
      ...encodeLane(lane, count),
      String(more ?? 0),
    ]);
    return parseAskReply(await call("ask", ["0", String(lanes.length), ...asked], asker));
  };
  return {
    at,
    askRaw,
    call,
    ask: async (lanes, asker) => {
      const reply = await askRaw(lanes, asker);
      if (reply.lanes === undefined) throw new Error(`not open: ${reply.header.status}`);
      return reply.lanes;
    },
    report: async (lane, outcome, isProbe = false) => {
      const report = encodeReport({ lane, outcome, isProbe, count: 1 });
      await call("ask", ["1", ...report, "0"]);
    },
    configure: async (over) => {
      await call("configure", encode(over));
    },
  };
}

function scriptWithSetClock(): string {
  const line = 'local clock = redis.call("TIME")\n';
  const script = readLedgerScript();
  if (!script.includes(line)) throw new Error("The ledger reads its clock elsewhere now");
  return script.replace(
    line,
    `local set_ms = tonumber(redis.call("GET", "test:now"))
local clock = { tostring(math.floor(set_ms / 1000)), tostring((set_ms % 1000) * 1000) }
`,
  );
}
