/** The fields that the routes under `/v1` have in common. Moments are RFC 3339 texts; what is not known is null. */
import { z } from "zod";
import type { UnknownTime } from "../core/calendar-reads.ts";
import { epochMs, type EpochMs } from "../core/clock.ts";
import type { Freshness } from "../core/event-store.ts";
import { accountId, accountName, calendarId, googleCalendarId, tenantId } from "../core/ids.ts";

/** Says in a request's schema what an id names: what it is tried with by the `isolation` scenario. */
const NAMES = "x-names";

const ownName = z.string().min(1).max(256);

/** Fields of requests that name what belongs to a tenant. */
export const named = {
  tenant: ownName.transform(tenantId).meta({ [NAMES]: "tenant" }),
  accountName: ownName.transform(accountName).meta({ [NAMES]: "account-name" }),
  accountId: z
    .string()
    .regex(/^acc_[A-Za-z0-9_-]{1,64}$/, "should be Ballast's own id of an account, acc_…")
    .transform(accountId)
    .meta({ [NAMES]: "account" }),
  calendarId: z
    .string()
    .regex(/^cal_[A-Za-z0-9_-]{1,64}$/, "should be Ballast's own id of a calendar, cal_…")
    .transform(calendarId)
    .meta({ [NAMES]: "calendar" }),
  googleCalendarId: z
    .string()
    .min(1)
    .max(1_024)
    .transform(googleCalendarId)
    .meta({ [NAMES]: "google-calendar" }),
} as const;

/** A whole number in a query, which comes as a text. */
export function queryInteger(bounds: {
  readonly min: number;
  readonly max: number;
}): z.ZodPreprocess<z.ZodInt> {
  return z.preprocess(readInteger, z.int().min(bounds.min).max(bounds.max));
}

/** One value of a query, or several: `?id=a&id=b`. */
export function queryList<Item extends z.ZodType>(
  item: Item,
  max: number,
): z.ZodPreprocess<z.ZodArray<Item>> {
  return z.preprocess(readList, z.array(item).min(1).max(max));
}

function readInteger(value: unknown): unknown {
  return typeof value === "string" && /^-?\d{1,15}$/.test(value) ? Number(value) : value;
}

function readList(value: unknown): unknown {
  return typeof value === "string" ? [value] : value;
}

/** A moment in a request. */
export const momentField = z.iso
  .datetime({ offset: true, error: "should be a moment like 2026-01-05T09:00:00Z" })
  .max(40)
  .transform((text) => epochMs(Date.parse(text)));

/** The page that a list's answer begins: at most `limit`, after `next` of the page before. */
export const pageFields = {
  limit: queryInteger({ min: 1, max: 500 }).default(100),
  after: z.string().min(1).max(512).optional(),
} as const;

/** A page of rows of which one more than the page holds was read, and where the next one begins. */
export function toPage<Row extends { readonly id: string }>(
  rows: readonly Row[],
  limit: number,
): { readonly page: readonly Row[]; readonly next: string | null } {
  const page = rows.slice(0, limit);
  return { page, next: rows.length > limit ? (page.at(-1)?.id ?? null) : null };
}

/** A moment in an answer. */
export const moment = z.iso.datetime();

/** How current a calendar's copy is. */
export const freshnessSchema = z
  .strictObject({
    state: z.enum(["never", "fresh", "stale", "slowed", "lost", "paused"]),
    /** Since the last moment the copy was known to be current. */
    ageMs: z.int().min(0).nullable(),
    syncedAt: moment.nullable(),
    /** 0: never published. */
    generation: z.int().min(0),
    reason: z.string().nullable(),
    pending: z.boolean(),
  })
  .meta({
    id: "Freshness",
    description:
      "How current a calendar's copy is. `ageMs` counts from the last moment it was known to be current; null: never synced. `pending`: something newer was announced and is not in it yet.",
  });

/** A time about which nothing can be said: not free. */
export const unknownTimeSchema = z
  .strictObject({
    from: moment,
    to: moment,
    reason: z.enum([
      "unknown-calendar",
      "never-synced",
      "lost",
      "paused",
      "slowed",
      "stale",
      "older-than-asked",
      "changing",
      "unreadable-event",
      "too-much-to-expand",
    ]),
    eventIds: z.array(z.string()),
  })
  .meta({
    id: "UnknownTime",
    description: "A time about which nothing can be said, and why. It must not be taken for free.",
  });

/** The form of a moment in an answer. */
export function iso(at: EpochMs): string {
  return new Date(at).toISOString();
}

/** As `iso`; null where it is not known. */
export function isoOrNull(at: EpochMs | undefined): string | null {
  return at === undefined ? null : iso(at);
}

/** A copy's freshness in an answer. */
export function toFreshness(freshness: Freshness): z.input<typeof freshnessSchema> {
  const { state, ageMs, syncedAt, generation, reason, pending } = freshness;
  return {
    state,
    ageMs: ageMs ?? null,
    syncedAt: isoOrNull(syncedAt),
    generation,
    reason: reason ?? null,
    pending,
  };
}

/** Unknown times in an answer. */
export function toUnknown(times: readonly UnknownTime[]): z.input<typeof unknownTimeSchema>[] {
  return times.map(({ from, to, reason, eventIds }) => ({
    from: iso(from),
    to: iso(to),
    reason,
    eventIds: [...eventIds],
  }));
}
