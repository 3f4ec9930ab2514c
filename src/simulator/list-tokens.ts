import { fullSyncRequired, badParameter } from "./google-error.ts";
import { checksum } from "./random.ts";

/** Where a listing stands: everything a page needs to go on exactly where the last one stopped. */
export interface PagePosition {
  /** The revision when the listing began: what its sync token will cover. */
  readonly startRevision: number;
  /** For a delta: the revision its sync token covered; -1 for a full list. */
  readonly sinceRevision: number;
  /** The first ordinal not yet looked at. */
  readonly nextOrdinal: number;
  /** How many rows of that ordinal were already sent (a series expands to many). */
  readonly skip: number;
  /** The restrictions of the query, which later pages keep. */
  readonly query: string;
}

/** What a sync token stands for. */
export interface SyncPoint {
  readonly revision: number;
  readonly issuedAtMs: number;
  readonly epoch: number;
  /** The restrictions of the first query, which every delta keeps. */
  readonly query: string;
}

/** Tokens of one listing: opaque to clients, bound to the listing and the query they came from. */
export interface ListTokens {
  writePage(position: PagePosition): string;
  readPage(token: string): PagePosition;
  writeSync(point: SyncPoint): string;
  /** Throws 400 for garbage and for another query's token; age and epoch are the caller's to judge. */
  readSync(token: string): SyncPoint;
}

/** Create the tokens of one listing. `fingerprint` holds the parameters that must stay equal from request to request. */
export function createListTokens(options: {
  readonly secret: string;
  readonly listing: string;
  readonly fingerprint: string;
}): ListTokens {
  const print = checksum(options.listing, options.fingerprint);
  const key = `${options.secret}/${options.listing}`;
  const write = (kind: string, fields: readonly (string | number)[]): string => {
    const text = [kind, print, ...fields].join("|");
    return Buffer.from(`${checksum(key, text)}|${text}`).toString("base64url");
  };
  const read = (kind: string, token: string): string[] | undefined => {
    const [sum, ...rest] = Buffer.from(token, "base64url").toString("utf8").split("|");
    if (sum !== checksum(key, rest.join("|")) || rest[0] !== kind) return undefined;
    return rest.slice(1);
  };
  return {
    writePage: (at) =>
      write("p", [at.startRevision, at.sinceRevision, at.nextOrdinal, at.skip, at.query]),
    readPage(token) {
      const fields = read("p", token);
      // A page token must come with exactly the query it was given for.
      if (fields?.[0] !== print) throw badParameter("pageToken", "Invalid page token value.");
      const [startRevision = 0, sinceRevision = -1, nextOrdinal = 0, skip = 0] = fields
        .slice(1, 5)
        .map(Number);
      const query = fields.slice(5).join("|");
      return { startRevision, sinceRevision, nextOrdinal, skip, query };
    },
    writeSync: (point) => write("s", [point.revision, point.issuedAtMs, point.epoch, point.query]),
    readSync(token) {
      const fields = read("s", token);
      if (!fields) throw badParameter("syncToken", "Invalid sync token value.");
      if (fields[0] !== print) {
        throw badParameter(
          "syncToken",
          "Sync token cannot be used with other request restrictions.",
          "syncTokenWithRequestRestrictions",
        );
      }
      const [revision = 0, issuedAtMs = 0, epoch = 0] = fields.slice(1, 4).map(Number);
      return { revision, issuedAtMs, epoch, query: fields.slice(4).join("|") };
    },
  };
}

/** Refuse, as Google does, a sync token that is too old or was killed. */
export function requireLiveSyncPoint(
  point: SyncPoint,
  now: { readonly nowMs: number; readonly epoch: number; readonly lifetimeMs: number },
): void {
  if (point.epoch !== now.epoch || now.nowMs - point.issuedAtMs > now.lifetimeMs) {
    throw fullSyncRequired();
  }
}
