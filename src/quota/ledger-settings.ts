import { z } from "zod";
import { pauseSettingsPrefix } from "../core/settings-store.ts";
import { OPERATIONS, REQUEST_CLASSES, type RequestClass } from "../core/request.ts";

const share = z.number().min(0).max(1);
const positiveCap = z.number().gt(0).max(1);
const count = z.number().int().positive();
const durationMs = z.number().int().positive();

const consumerSchema = z.object({
  /** At most this part of the project's limit. */
  cap: positiveCap.default(1),
  /** The classes that it may claim. */
  classes: z.array(z.enum(REQUEST_CLASSES)).default([...REQUEST_CLASSES]),
});

const tenantSchema = z.object({
  weight: z.number().min(0.01).max(1000).default(1),
  cap: positiveCap.default(1),
});

const pauseSchema = z.object({
  reason: z.string().default(""),
  /** Epoch milliseconds; 0: until it is lifted. */
  endsAt: z.number().int().nonnegative().default(0),
});

const shareByClass = (shares: Partial<Record<RequestClass, number>>) =>
  z
    .partialRecord(z.enum(REQUEST_CLASSES), share.max(0.95))
    .default(shares)
    .transform((given) => ({ ...shares, ...given }));

/** Every value that has a row of its own, `quota.PROJECT.NAME`. What is absent has the value given here. */
const scalars = {
  /** The length of Google's window; 60 s outside of tests. "Per minute" below is per window. */
  windowMs: durationMs.default(60_000),
  /** J: a permit is written to the wire within this, or not at all. */
  useWithinMs: durationMs.default(500),
  /** D: a request that was written has arrived within this. */
  transitMs: durationMs.default(1_000),
  projectPerMinute: count.default(10_000),
  userPerMinute: count.default(600),
  perDay: count.default(1_000_000),
  tokenPerMinute: count.default(3_000),
  tokenPerUserPerMinute: count.default(60),
  /** Units a request costs in the minute where it is not 1. */
  weights: z
    .partialRecord(z.enum(OPERATIONS), z.number().int().min(1).max(100))
    .default({ "events.patch": 3 }),
  /** What a class leaves free in every window for those above it. */
  classReserve: shareByClass({ push: 0.05, poll: 0.1, backfill: 0.2 }),
  /** What a class leaves of the day for those above it; shrinks as the day passes. */
  dayReserve: shareByClass({ push: 0.02, poll: 0.15, backfill: 0.3 }),
  backfillShare: positiveCap.default(0.5),
  /**
   * The part of a window that classes below interactive may take at once. Small: a stall of the fleet is followed
   * by a burst of this size, and both repeat every window; while it pauses, a quiet tenant waits.
   */
  pacingBurst: z.number().min(0.002).max(0.1).default(0.01),
  /** 0: no limit. */
  writesPerAccountPerMinute: z.number().int().nonnegative().default(300),
  watchAndStopPerMinute: z.number().int().nonnegative().default(0),
  defaultTenantCap: positiveCap.default(1),
  retryPerSuccess: share.default(0.1),
  retryPerSecond: z.number().min(0).max(100).default(1),
  retrySaved: z.number().min(1).max(10_000).default(100),
  breakerFirstMs: durationMs.default(5_000),
  breakerMaxMs: durationMs.default(300_000),
  /** How long a probe may be out before another one is allowed. */
  probeTimeoutMs: durationMs.default(30_000),
  aimdCut: z.number().min(0.1).max(0.95).default(0.7),
  aimdRaisePerMinute: z.number().gt(0).max(1).default(0.1),
  /** A newcomer waits until everyone has heard of it, at most this long. */
  settleMs: durationMs.default(2_000),
  /** Without a process that has the database nothing is granted after this: it bounds what a loss can hide of the day. */
  unattendedMs: durationMs.default(600_000),
} as const;

const scalarSchema = z.object(scalars);
type Scalars = z.output<typeof scalarSchema>;

/** Everything that rules the ledger's decisions of one project. */
export interface LedgerSettings extends Scalars {
  readonly tenants: Readonly<Record<string, z.output<typeof tenantSchema>>>;
  /** `*` stands for every consumer that is not named. */
  readonly consumers: Readonly<Record<string, z.output<typeof consumerSchema>>>;
  /** By target: `project`, `class:C`, `operation:O`, `consumer:C`, `tenant:T`, `account:TENANT/NAME`. */
  readonly pauses: Readonly<Record<string, z.output<typeof pauseSchema>>>;
}

const DEFAULT_CONSUMERS: LedgerSettings["consumers"] = {
  "ballast-worker": { cap: 1, classes: [...REQUEST_CLASSES] },
  "ballast-cli": { cap: 1, classes: [...REQUEST_CLASSES] },
  "*": { cap: 1, classes: ["push", "poll", "backfill"] },
};

/** The prefix of a project's rows in settings: limits, weights, shares. */
export const quotaSettingsPrefix = (projectId: string): string => `quota.${projectId}.`;

/** The schema of one row by the part of its name after the prefix; undefined: there is no such setting. */
export function ledgerSettingSchema(name: string): z.ZodType | undefined {
  if (name.startsWith("tenant:")) return tenantSchema;
  if (name.startsWith("consumer:")) return consumerSchema;
  return Object.entries(scalars).find(([scalar]) => scalar === name)?.[1];
}

interface SettingsRow {
  readonly name: string;
  readonly value: unknown;
}

/**
 * A project's rows become its settings. A row that does not parse rules nothing and is reported: one bad row
 * must not stop the project, and must not go unseen either.
 */
export function parseLedgerSettings(
  projectId: string,
  rows: readonly SettingsRow[],
): { readonly settings: LedgerSettings; readonly problems: readonly string[] } {
  const problems: string[] = [];
  const plain: Record<string, unknown> = {};
  const tenants: Record<string, z.output<typeof tenantSchema>> = {};
  const consumers: Record<string, z.output<typeof consumerSchema>> = { ...DEFAULT_CONSUMERS };
  const pauses: Record<string, z.output<typeof pauseSchema>> = {};

  const read = <T>(row: SettingsRow, schema: z.ZodType<T>, keep: (value: T) => void): void => {
    const parsed = schema.safeParse(row.value);
    if (parsed.success) keep(parsed.data);
    else problems.push(`${row.name}: ${z.prettifyError(parsed.error)}`);
  };

  const quotaPrefix = quotaSettingsPrefix(projectId);
  const pausePrefix = pauseSettingsPrefix(projectId);
  for (const row of rows) {
    if (row.name.startsWith(pausePrefix)) {
      const target = row.name.slice(pausePrefix.length);
      read(row, pauseSchema, (pause) => {
        pauses[target] = pause;
      });
    } else if (row.name.startsWith(quotaPrefix)) {
      const name = row.name.slice(quotaPrefix.length);
      if (name.startsWith("tenant:")) {
        read(row, tenantSchema, (tenant) => {
          tenants[name.slice("tenant:".length)] = tenant;
        });
      } else if (name.startsWith("consumer:")) {
        read(row, consumerSchema, (one) => {
          consumers[name.slice("consumer:".length)] = one;
        });
      } else {
        const schema = ledgerSettingSchema(name);
        if (schema === undefined) problems.push(`${row.name}: no such setting`);
        else
          read(row, schema, () => {
            plain[name] = row.value;
          });
      }
    }
  }
  return { settings: { ...scalarSchema.parse(plain), tenants, consumers, pauses }, problems };
}

/** The span that the ledger remembers: a grant may arrive until J + D after it, and counts for W from then. */
export function ledgerSpanMs(
  settings: Pick<LedgerSettings, "windowMs" | "useWithinMs" | "transitMs">,
): number {
  return settings.windowMs + settings.useWithinMs + settings.transitMs;
}

/** What no operator needs to turn. */
const FIXED = {
  probePollMs: 500,
  aimdFloor: 0.05,
  aimdWitnesses: 3,
  aimdWitnessMs: 10_000,
  settlePollMs: 50,
  spacingMaxMs: 2_000,
  holdMs: 250,
  askAgainMs: 1_000,
  usageRows: 2_000,
} as const;

/** The settings as `ledger.lua` reads them, with the next turns of the day (epoch milliseconds, ascending). */
export function encodeLedgerSettings(
  settings: LedgerSettings,
  dayTurns: readonly number[],
): readonly string[] {
  const { tenants, consumers, pauses, ...plain } = settings;
  const encoded = JSON.stringify({
    ...plain,
    ...FIXED,
    heaviest: Math.max(1, ...Object.values(plain.weights)),
    // One overload is one cut; a second one says that the first was not enough.
    aimdCooldownMs: plain.windowMs / 20,
    aimdRestMs: plain.windowMs / 2,
    // A step that the transit allowance cannot hide must be seen.
    clockToleranceMs: Math.min(250, Math.floor(plain.transitMs / 4)),
    dayTurns,
  });
  return [
    encoded,
    ...flatten(Object.entries(tenants).map(([name, one]) => [name, `${one.weight}:${one.cap}`])),
    ...flatten(
      Object.entries(consumers).map(([name, one]) => [name, `${one.cap}:${one.classes.join(",")}`]),
    ),
    ...flatten(
      Object.entries(pauses).map(([target, pause]) => [target, `${pause.endsAt}:${pause.reason}`]),
    ),
  ];
}

function flatten(entries: readonly (readonly [string, string])[]): readonly string[] {
  return [String(entries.length), ...entries.flat()];
}
