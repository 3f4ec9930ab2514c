import { createHash } from "node:crypto";
import type { EventsPage } from "../core/calendar-source.ts";

/** Ten million events at the usual page size: beyond that a listing is taken for one that never ends. */
const MAX_PAGES = 4_000;
/** Pages in a row that bring nothing new: Google sends empty ones, but not as many as this. */
const MAX_IDLE_PAGES = 100;

/** A listing goes on and on without getting anywhere: reading further only spends the quota. */
export class EndlessListing extends Error {
  override readonly name = "EndlessListing";
  readonly code = "BALLAST_ENDLESS_LISTING";

  constructor(sign: string, pagesStored: number) {
    super(
      `The listing does not end: ${sign} (after ${String(pagesStored)} pages). The calendar is set aside; see docs/failure-modes.md`,
    );
  }
}

/**
 * Watches that a listing gets on: that no page token comes back, that pages bring something new, and
 * that it ends at all. Both functions throw `EndlessListing`.
 *
 * State: the tokens that led on and the pages seen within this job, and how many pages in a row were idle.
 */
export function watchListing(): {
  /** Before a page is asked for. */
  checkLength(pagesStored: number): void;
  /** After a page that is not the last. */
  note(page: EventsPage & { readonly nextPageToken: string }, pagesStored: number): void;
} {
  const tokens = new Set<string>();
  const contents = new Set<string>();
  let idlePages = 0;
  return {
    checkLength(pagesStored) {
      if (pagesStored >= MAX_PAGES) throw new EndlessListing("it is too long", pagesStored);
    },
    note({ items, nextPageToken }, pagesStored) {
      const token = digestOf([nextPageToken]);
      if (tokens.has(token)) throw new EndlessListing("a page token came back", pagesStored);
      tokens.add(token);
      const content = digestOf(items.map(({ id }) => id));
      const isNew = items.length > 0 && !contents.has(content);
      contents.add(content);
      idlePages = isNew ? 0 : idlePages + 1;
      if (idlePages >= MAX_IDLE_PAGES) {
        throw new EndlessListing("its pages bring nothing new", pagesStored);
      }
    },
  };
}

/** Tokens may be long, and thousands of them are kept. */
function digestOf(words: readonly string[]): string {
  const hash = createHash("sha256");
  for (const word of words) hash.update(`${String(word.length)}:${word}`);
  return hash.digest("base64");
}
