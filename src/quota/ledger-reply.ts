import { z } from "zod";
import type { WorkRoom } from "../core/claim-room.ts";

const whole = z.coerce.number();

/** What the ledger says of itself in every reply. */
export interface LedgerHeader {
  readonly status: "open" | "missing" | "forgotten" | "closed" | "stale" | "other-format";
  readonly reason: string;
  readonly epochNumber: number;
  readonly epoch: string;
  readonly sequence: number;
  readonly nowMs: number;
  readonly hasSeed: boolean;
  readonly format: string;
}

const headerSchema = z
  .tuple([
    z.enum(["open", "missing", "forgotten", "closed", "stale", "other-format"]),
    z.string(),
    whole,
    z.string(),
    whole,
    whole,
    z.string(),
    z.string(),
  ])
  .transform(
    ([status, reason, epochNumber, epoch, sequence, nowMs, hasSeed, format]): LedgerHeader => ({
      status,
      reason,
      epochNumber,
      epoch,
      sequence,
      nowMs,
      hasSeed: hasSeed === "1",
      format,
    }),
  );

/** Why the ledger said no; the names are those of `ledger.lua`. */
export const REFUSAL_LIMITS = [
  "stopped",
  "pause",
  "class-not-allowed",
  "breaker",
  "park",
  "throttled",
  "retry-tokens",
  "writes-per-account",
  "watch-and-stop",
  "user-minute",
  "tenant-cap",
  "consumer-cap",
  "backfill-share",
  "project-minute",
  "pacing",
  "fair-share",
  "day",
  "settling",
  "unattended",
] as const;
export type RefusalLimit = (typeof REFUSAL_LIMITS)[number];

/** A "no": which limit, for how long, and for whom besides this lane. */
export interface LaneRefusal {
  readonly limit: RefusalLimit;
  /** Undefined: no time will help. */
  readonly waitMs: number | undefined;
  /** `line`: this class and those below it at this upstream; `upstream`: everything at it. */
  readonly scope: "lane" | "line" | "upstream";
  readonly detail: string;
}

/** What a lane was granted, and what stopped it if that was less than it asked for. */
export interface LaneAnswer {
  readonly granted: number;
  readonly isProbe: boolean;
  readonly refusal: LaneRefusal | undefined;
  /** The tenant's virtual time in its line. */
  readonly tag: number;
}

const laneSchema = z
  .tuple([
    z.number(),
    z.number(),
    z.enum([...REFUSAL_LIMITS, ""]),
    whole,
    z.enum(["lane", "line", "upstream", ""]),
    whole,
    z.string(),
  ])
  .transform(([granted, isProbe, limit, waitMs, scope, tag, detail]): LaneAnswer => ({
    granted,
    isProbe: isProbe === 1,
    tag,
    refusal:
      limit === "" || scope === ""
        ? undefined
        : { limit, scope, detail, waitMs: waitMs < 0 ? undefined : waitMs },
  }));

/** The ledger's own settings, as far as an asker needs them. */
export interface LedgerTerms {
  readonly useWithinMs: number;
  readonly spanMs: number;
  readonly clockToleranceMs: number;
  /** How far apart this process' asks should be while everyone waits for the same room. */
  readonly spacingMs: number;
  /** How long a "not before" is believed before asking again. */
  readonly askAgainMs: number;
  /** A newcomer waits until everyone has seen it. */
  readonly isSomeoneSettling: boolean;
  readonly settleMs: number;
}

const termsSchema = z
  .tuple([whole, whole, whole, whole, whole, z.string(), whole])
  .transform((terms): LedgerTerms => ({
    useWithinMs: terms[0],
    spanMs: terms[1],
    clockToleranceMs: terms[2],
    spacingMs: terms[3],
    askAgainMs: terms[4],
    isSomeoneSettling: terms[5] === "1",
    settleMs: terms[6],
  }));

const askSchema = z
  .tuple([headerSchema])
  .or(z.tuple([headerSchema, termsSchema, z.array(z.string()), z.array(laneSchema)]))
  .transform(([header, terms, roster, lanes]) => ({ header, terms, roster, lanes }));

const observeSchema = z
  .tuple([
    headerSchema,
    z.tuple([z.string(), z.string(), z.string(), z.string()]),
    z.tuple([whole, whole, whole]),
    z.array(z.string()),
    z.union([termsSchema, z.tuple([])]),
  ])
  .transform(([header, seeds, [startedAt, endsAt, count], roster, terms]) => ({
    header,
    roster,
    terms: "spanMs" in terms ? terms : undefined,
    areSeedsComplete: seeds[0] === "1",
    hasWitness: seeds[1] === "1",
    settingsVersion: seeds[3],
    day: { startedAt, endsAt, count },
  }));

const plainSchema = z
  .tuple([headerSchema])
  .or(z.tuple([headerSchema, z.string()]))
  .transform(([header, outcome]) => ({ header, outcome: outcome ?? "" }));

const usageSchema = z
  .tuple([headerSchema, z.string(), z.array(z.string())])
  .transform(([header, batch, fields]) => ({ header, batch, fields }));

const roomSchema = z
  .tuple([
    headerSchema,
    z.array(z.tuple([z.number(), z.enum([...REFUSAL_LIMITS, ""]), z.string()])),
  ])
  .transform(([header, rooms]) => ({
    header,
    rooms: rooms.map(([requests, limit, detail]): WorkRoom => ({
      requests,
      heldBy: limit === "" ? undefined : { limit, detail },
    })),
  }));

export type AskReply = z.output<typeof askSchema>;
export type ObserveReply = z.output<typeof observeSchema>;

/** Replies of the ledger's script become values; anything else is a bug in one of the two. */
export const parseAskReply = (reply: unknown): AskReply => askSchema.parse(reply);
export const parseObserveReply = (reply: unknown): ObserveReply => observeSchema.parse(reply);
export const parsePlainReply = (reply: unknown): z.output<typeof plainSchema> =>
  plainSchema.parse(reply);
export const parseRoomReply = (reply: unknown): z.output<typeof roomSchema> =>
  roomSchema.parse(reply);
export const parseUsageReply = (reply: unknown): z.output<typeof usageSchema> =>
  usageSchema.parse(reply);
