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

const NO_EPOCH = { number: 0, epoch: "", sequence: 0 };

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
  /** Open another epoch, as an opener would. */
  open(
    mode: string,
    epoch: { readonly number: number; readonly epoch: string; readonly after: number },
  ): Promise<unknown>;
  call(
    operation: string,
    args: readonly string[],
    as?: {
      readonly asker?: string | undefined;
      /** What the asker knows of epochs. */
      readonly known?: {
        readonly number: number;
        readonly epoch: string;
        readonly sequence: number;
      };
    },
  ): Promise<unknown>;
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
  const digest = String(await redis.script("LOAD", script));
  let isOpen = false;
  const keys = ledgerKeys(TEST_PROJECT);
  const call: ScriptedLedger["call"] = (operation, args, as = {}) => {
    const { asker = "asker", known } = as;
    const { number, epoch, sequence } =
      known ?? (isOpen ? { number: 1, epoch: "epoch-1", sequence: 0 } : NO_EPOCH);
    const common = [operation, "1", asker, String(number), epoch, String(sequence), "0.5", "0"];
    return redis.call("EVALSHA", digest, String(keys.length), ...keys, ...common, ...args);
  };
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
  const open: ScriptedLedger["open"] = (mode, { number, epoch, after }) =>
    call(
      "open",
      [mode, String(number), epoch, String(after), "", "-1"].concat(
        String(SCRIPT_START_MS - day.startedMsAgo),
        String(SCRIPT_START_MS + day.endsInMs),
        String(day.count),
        ["0", "-1"],
        encode(settings),
      ),
      { asker: "opener", known: NO_EPOCH },
    );
  const opened = parsePlainReply(await open("first", { number: 1, epoch: "epoch-1", after: 0 }));
  if (opened.outcome !== "opened") throw new Error(`not opened: ${opened.outcome}`);
  isOpen = true;
  // Two processes that have been here as long.
  const [, roster = "", joined = ""] = keys;
  for (const asker of ["asker", "other"]) {
    await redis.zadd(roster, SCRIPT_START_MS, asker);
    await redis.hset(joined, asker, "founder");
  }

  const askRaw: ScriptedLedger["askRaw"] = async (lanes, asker) => {
    const asked = lanes.flatMap(([lane, count, more]) => [
      ...encodeLane(lane, count),
      String(more ?? 0),
    ]);
    return parseAskReply(await call("ask", ["0", String(lanes.length), ...asked], { asker }));
  };
  return {
    at,
    askRaw,
    call,
    open,
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
