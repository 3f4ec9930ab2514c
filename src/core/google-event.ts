/** A moment of an event as Google gives it: a `date` (all day) or a `dateTime` with an offset. */
export interface GoogleEventTime {
  readonly date?: string | null;
  readonly dateTime?: string | null;
  readonly timeZone?: string | null;
}

/**
 * An event resource as Google sent it. Only what this service decides by is named; everything else
 * is kept untouched. A tombstone promises nothing but `id` and `status: "cancelled"`; a cancelled
 * exception also has `recurringEventId` and `originalStartTime`.
 */
export interface GoogleEvent {
  readonly id: string;
  readonly status?: string | null;
  readonly etag?: string | null;
  readonly start?: GoogleEventTime | null;
  readonly end?: GoogleEventTime | null;
  readonly recurrence?: readonly string[] | null;
  readonly recurringEventId?: string | null;
  readonly originalStartTime?: GoogleEventTime | null;
  readonly [field: string]: unknown;
}

/** One entry of a calendar list, reduced to what discovery keeps. */
export interface CalendarListEntry {
  readonly googleId: string;
  readonly summary: string | undefined;
  readonly timeZone: string | undefined;
  readonly accessRole: string | undefined;
  readonly isPrimary: boolean;
  readonly isHidden: boolean;
  /** The user removed it from the list, or lost it. */
  readonly isDeleted: boolean;
}
