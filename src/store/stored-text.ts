/**
 * Text from Google as the databases can hold it. Postgres refuses NUL and SQLite replaces lone
 * surrogates, and one such id must not cost a calendar: such a value is stored escaped, everything
 * else as it is. The mapping is one to one, so keys stay unique.
 */
const ESCAPED = "\u{1}json:";

/** True for text in its escaped form. */
export function isEscaped(stored: string): boolean {
  return stored.startsWith(ESCAPED);
}

/** What to bind for `value`. */
export function toStoredText(value: string): string {
  const isPlain = value.isWellFormed() && !value.includes("\0") && !value.startsWith(ESCAPED);
  // JSON.stringify writes NUL and lone surrogates as \u escapes.
  return isPlain ? value : ESCAPED + JSON.stringify(value);
}

/** The value that was given to `toStoredText`. */
export function fromStoredText(stored: string): string {
  if (!stored.startsWith(ESCAPED)) return stored;
  const value: unknown = JSON.parse(stored.slice(ESCAPED.length));
  return String(value);
}

/** `toStoredText` for a value that may be absent. */
export function toStoredTextOrNull(value: string | undefined): string | null {
  return value === undefined ? null : toStoredText(value);
}

/** `fromStoredText` for a column that may be null. */
export function fromStoredTextOrUndefined(stored: string | null): string | undefined {
  return stored === null ? undefined : fromStoredText(stored);
}
