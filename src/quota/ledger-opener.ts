/**
 * Opens a project's ledger, and keeps in the database what must outlive Redis. Only a process that has the
 * database runs one.
 *
 * States, seen anew at each look: open → (looks every second: settings, the day's count, clocks) · not open →
 * (looks every 100 ms until one of the rules lets an epoch open; see `ruleToOpen`) · Redis away → looks again.
 * I1: an epoch opens only when every grant that may still count is in it, or none can count any more.
 * I9: the database alone is enough to open again.
 */
import { createHash, randomUUID } from "node:crypto";
import { epochMs, type Clock } from "../core/clock.ts";
import type { EpochRecord, LedgerRecord } from "../core/ledger-record.ts";
import { pauseSettingsPrefix, type SettingsStore } from "../core/settings-store.ts";
import { DAY_TIME_ZONE, dayTurns } from "./day-turns.ts";
import { dayToOpenWith, type DayRead } from "./day-after-loss.ts";
import { createDoze, type Doze } from "./doze.ts";
import type { Ledger } from "./ledger.ts";
import { parsePlainReply, type ObserveReply } from "./ledger-reply.ts";
import {
  encodeLedgerSettings,
  ledgerSpanMs,
  parseLedgerSettings,
  quotaSettingsPrefix,
  type LedgerSettings,
} from "./ledger-settings.ts";

const LOOK_WHEN_OPEN_MS = 1_000;
const LOOK_SOON_MS = 100;
const SETTINGS_EVERY_MS = 2_000;
const DAY_EVERY_MS = 4_000;
const TURNS_KNOWN = 8;

/** What the database says when no epoch ever opened. */
const NO_EPOCH: EpochRecord = { number: 0, epoch: "", openedAt: epochMs(0), closed: undefined };

type OpeningRule = "first" | "clean" | "intact" | "reseeded" | "waited";

export interface LedgerOpener {
  /** Resolves when the ledger is open; rejects with the signal's reason. */
  opened(signal: AbortSignal): Promise<void>;
  /** Settings have changed: bring them into force now rather than within two seconds. */
  applySettings(): Promise<void>;
  /** Write the day's count, ask no more, close the epoch when nobody else asks. */
  close(): Promise<void>;
}

export interface LedgerOpenerDeps {
  readonly ledger: Ledger;
  readonly record: LedgerRecord;
  readonly settings: Pick<SettingsStore, "list">;
  readonly clock: Clock;
  /** State changes worth a log line: opened, by which rule; forgotten, why; settings that do not parse. */
  readonly tell?: (event: LedgerEvent) => void;
}

export type LedgerEvent =
  | { readonly kind: "opened"; readonly rule: OpeningRule; readonly epochNumber: number }
  | { readonly kind: "not-open"; readonly status: string; readonly reason: string }
  /** Google refuses the whole project; told by one process of the fleet, once until it is over. */
  | { readonly kind: "project-stopped"; readonly reason: string }
  | { readonly kind: "bad-settings"; readonly problems: readonly string[] }
  | { readonly kind: "trouble"; readonly error: unknown };

interface Watch extends LedgerOpenerDeps {
  epochNumber: number;
  isOpen: boolean;
  /** Since when this process has seen, by its own monotonic clock, that nothing is granted after `ofEpoch`. */
  notOpenSince: { readonly ofEpoch: number; readonly atMs: number } | undefined;
  current:
    | { readonly settings: LedgerSettings; readonly version: string; readonly readAtMs: number }
    | undefined;
  daySavedAtMs: number;
  dayRead: DayRead | undefined;
  problems: string;
  waiters: Set<() => void>;
  isClosed: boolean;
  isTroubled: boolean;
  isSomeoneSettling: boolean;
}

/** Start looking after a project's ledger. Close it before the ledger. */
export function createLedgerOpener(deps: LedgerOpenerDeps): LedgerOpener {
  const watch: Watch = {
    ...deps,
    epochNumber: 0,
    isOpen: false,
    notOpenSince: undefined,
    current: undefined,
    daySavedAtMs: Number.NEGATIVE_INFINITY,
    dayRead: undefined,
    problems: "",
    waiters: new Set(),
    isClosed: false,
    isTroubled: false,
    isSomeoneSettling: false,
  };
  const doze = createDoze(deps);
  const running = keepLooking(watch, doze);

  return {
    opened: (signal) =>
      new Promise((resolve, reject) => {
        if (watch.isOpen) {
          resolve();
          return;
        }
        const onAbort = (): void => {
          watch.waiters.delete(onOpen);
          reject(
            signal.reason instanceof Error
              ? signal.reason
              : new Error("The ledger did not open in time", { cause: signal.reason }),
          );
        };
        const onOpen = (): void => {
          signal.removeEventListener("abort", onAbort);
          resolve();
        };
        if (signal.aborted) onAbort();
        else {
          watch.waiters.add(onOpen);
          signal.addEventListener("abort", onAbort, { once: true });
        }
      }),
    applySettings: async () => {
      watch.current = undefined;
      await look(watch);
    },
    close: async () => {
      watch.isClosed = true;
      doze.wake();
      await running;
      await leave(watch);
    },
  };
}

async function keepLooking(watch: Watch, doze: Doze): Promise<void> {
  while (!watch.isClosed) {
    await lookSafely(watch);
    const isCalm = watch.isOpen && !watch.isSomeoneSettling;
    await doze.sleep(isCalm ? LOOK_WHEN_OPEN_MS : LOOK_SOON_MS);
  }
}

async function lookSafely(watch: Watch): Promise<void> {
  try {
    await look(watch);
    watch.isTroubled = false;
  } catch (error) {
    // Redis or the database is away: nothing is opened. Told once, looked at again and again.
    setOpen(watch, false);
    if (!watch.isTroubled) watch.tell?.({ kind: "trouble", error });
    watch.isTroubled = true;
  }
}

async function look(watch: Watch): Promise<void> {
  const last = (await watch.record.readEpoch(watch.ledger.projectId)) ?? NO_EPOCH;
  const askedAtMs = watch.clock.monotonicMs();
  const seen = await watch.ledger.observe(last.number);
  const { status } = seen.header;
  watch.isSomeoneSettling = seen.terms?.isSomeoneSettling === true;
  if (status === "stale") return;
  if (status !== "open") {
    if (watch.isOpen) watch.tell?.({ kind: "not-open", status, reason: seen.header.reason });
    setOpen(watch, false);
    await openIfAllowed(watch, last, seen);
    return;
  }
  watch.notOpenSince = undefined;
  watch.epochNumber = seen.header.epochNumber;
  setOpen(watch, true);
  const { version } = await readSettings(watch, seen.header.nowMs);
  if (seen.settingsVersion !== version) await configure(watch, seen.header.nowMs);
  if (watch.clock.monotonicMs() - watch.daySavedAtMs >= DAY_EVERY_MS) {
    await saveDay(watch, seen);
    watch.dayRead = { ofEpoch: seen.header.epochNumber, beforeMs: askedAtMs };
  }
}

function setOpen(watch: Watch, isOpen: boolean): void {
  watch.isOpen = isOpen;
  if (!isOpen) return;
  for (const waiter of watch.waiters) waiter();
  watch.waiters.clear();
}

/**
 * Why an epoch may open now; undefined: not yet. Each rule says why no grant is forgotten:
 * `first` there never was one · `clean` none was made for W+J+D, as the last asker wrote · `intact` the memory is
 * complete up to that asker's last word · `reseeded` everyone who may hold one has told it · `waited` none was
 * made for W+J+D, as this process has seen by its own clock.
 */
function ruleToOpen(watch: Watch, last: EpochRecord, seen: ObserveReply): OpeningRule | undefined {
  const nowMs = watch.clock.monotonicMs();
  const ofEpoch = last.number;
  if (watch.notOpenSince?.ofEpoch !== ofEpoch) watch.notOpenSince = { ofEpoch, atMs: nowMs };
  if (last.number === 0) return "first";
  const spanMs =
    watch.current === undefined ? Number.POSITIVE_INFINITY : ledgerSpanMs(watch.current.settings);
  if (isIntact(last, seen)) return "intact";
  if (last.closed !== undefined && watch.clock.now() - last.closed.at > spanMs) return "clean";
  if (seen.areSeedsComplete && seen.hasWitness) return "reseeded";
  return nowMs - watch.notOpenSince.atMs > spanMs ? "waited" : undefined;
}

function isIntact({ closed, epoch }: EpochRecord, { header }: ObserveReply): boolean {
  return (
    header.status === "closed" && header.epoch === epoch && header.sequence === closed?.sequence
  );
}

async function openIfAllowed(watch: Watch, last: EpochRecord, seen: ObserveReply): Promise<void> {
  const { ledger, record, clock } = watch;
  const seenAtMs = clock.monotonicMs();
  const { args } = await readSettings(watch, seen.header.nowMs);
  const rule = ruleToOpen(watch, last, seen);
  if (rule === undefined) return;
  const number = Math.max(last.number, seen.header.epochNumber) + 1;
  const epoch = randomUUID();
  const day = await dayToOpenWith(watch, { rule, last, seen, seenAtMs });
  const begun = await record.beginEpoch(ledger.projectId, {
    after: last.number,
    number,
    epoch,
    at: clock.now(),
  });
  if (!begun) return;
  const { outcome } = parsePlainReply(
    await ledger.run("open", [
      rule,
      String(number),
      epoch,
      String(last.number),
      last.epoch,
      String(last.closed?.sequence ?? -1),
      ...day,
      ...args,
    ]),
  );
  if (outcome !== "opened") return;
  watch.tell?.({ kind: "opened", rule, epochNumber: number });
  watch.notOpenSince = undefined;
  watch.daySavedAtMs = Number.NEGATIVE_INFINITY;
  await look(watch);
}

async function readSettings(
  watch: Watch,
  ledgerNowMs: number,
): Promise<{ readonly version: string; readonly args: readonly string[] }> {
  const { projectId } = watch.ledger;
  const nowMs = watch.clock.monotonicMs();
  if (watch.current === undefined || nowMs - watch.current.readAtMs >= SETTINGS_EVERY_MS) {
    const rows = await Promise.all([
      watch.settings.list(quotaSettingsPrefix(projectId)),
      watch.settings.list(pauseSettingsPrefix(projectId)),
    ]);
    const { settings, problems } = parseLedgerSettings(projectId, rows.flat());
    if (problems.length > 0 && watch.problems !== problems.join()) {
      watch.tell?.({ kind: "bad-settings", problems });
    }
    watch.problems = problems.join();
    watch.current = { settings, version: "", readAtMs: nowMs };
  }
  const { turns } = dayTurns(ledgerNowMs, { timeZone: DAY_TIME_ZONE, count: TURNS_KNOWN });
  const encoded = encodeLedgerSettings(watch.current.settings, turns);
  const version = createHash("sha1").update(encoded.join("\u001F")).digest("hex").slice(0, 16);
  return { version, args: [version, ...encoded] };
}

async function configure(watch: Watch, ledgerNowMs: number): Promise<void> {
  const { args } = await readSettings(watch, ledgerNowMs);
  await watch.ledger.run("configure", args);
}

async function saveDay(watch: Watch, seen: ObserveReply): Promise<void> {
  await watch.record.saveDay(watch.ledger.projectId, {
    dayStartedAt: epochMs(seen.day.startedAt),
    count: seen.day.count,
    ledgerAt: epochMs(seen.header.nowMs),
  });
  const { outcome: alarm } = parsePlainReply(await watch.ledger.run("attend", []));
  if (alarm !== "") watch.tell?.({ kind: "project-stopped", reason: alarm });
  watch.daySavedAtMs = watch.clock.monotonicMs();
}

/** Last words: the count is written before the epoch closes, so nothing is hidden from the next opener. */
async function leave(watch: Watch): Promise<void> {
  const { ledger, record, clock } = watch;
  try {
    if ((await ledger.retire(true)) !== "closed") return;
    const last = await record.readEpoch(ledger.projectId);
    const seen = await ledger.observe(last?.number ?? 0);
    if (seen.header.status !== "closed") return;
    await saveDay(watch, seen);
    if (last?.epoch !== seen.header.epoch) return;
    await record.closeEpoch(ledger.projectId, {
      number: last.number,
      at: clock.now(),
      sequence: seen.header.sequence,
    });
  } catch (error) {
    // Not closed cleanly: the next opener waits, which is the safe side.
    watch.tell?.({ kind: "trouble", error });
  }
}
