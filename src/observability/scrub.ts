const HIDDEN = "[hidden]";
const ADDRESS = "[address]";

/** Keys whose text is a secret or a customer's data. Numbers and flags under such names tell nothing. */
const PRIVATE_KEY =
  /authorization|cookie|password|passwd|secret|credential|private_?key|refresh_?token|access_?token|id_?token|sync_?token|page_?token|^token$|^summary$|^title$|^description$|^location$|^attendees$|e-?mail/i;

const PRIVATE_TEXT: readonly (readonly [RegExp, string])[] = [
  // Google's access tokens, refresh tokens and API keys, by their well-known beginnings.
  [/\bya29\.[\w.-]+/g, HIDDEN],
  [/\b1\/\/[\w-]{10,}/g, HIDDEN],
  [/\bAIza[\w-]{30,}/g, HIDDEN],
  [/\beyJ[\w-]+\.[\w-]+\.[\w-]*/g, HIDDEN],
  [/\b(Bearer|Basic)\s+[\w.~+/=-]+/gi, `$1 ${HIDDEN}`],
  [
    /([?&](?:access_token|refresh_token|token|key|code|client_secret|syncToken|pageToken)=)[^&\s"']+/gi,
    `$1${HIDDEN}`,
  ],
  [/(\b[a-z][a-z0-9+.-]*:\/\/[^\s:/@]*:)[^\s@/]+@/gi, `$1${HIDDEN}@`],
  // Mail addresses, which calendar ids are too, also where they are encoded in a path.
  [/[\w.!#$%'*+^`{|}~-]+(?:@|%40)[\w-]+(?:\.[\w-]+)+/g, ADDRESS],
];

const MAX_DEPTH = 6;

/** A text without tokens, passwords and mail addresses. */
export function scrubText(text: string): string {
  let scrubbed = text;
  for (const [pattern, replacement] of PRIVATE_TEXT) {
    scrubbed = scrubbed.replace(pattern, replacement);
  }
  return scrubbed;
}

/** Log fields without what must never be logged, however deep it lies. Knows nothing of errors: describeError does. */
export function scrubFields(fields: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return scrubEntries(fields, 0);
}

function scrubEntries(fields: object, depth: number): Record<string, unknown> {
  const scrubbed: Record<string, unknown> = {};
  for (const [key, value] of Object.entries<unknown>({ ...fields })) {
    scrubbed[key] = isPrivate(key, value) ? HIDDEN : scrubValue(value, depth + 1);
  }
  return scrubbed;
}

function isPrivate(key: string, value: unknown): boolean {
  return (typeof value === "string" || typeof value === "object") && PRIVATE_KEY.test(key);
}

function scrubValue(value: unknown, depth: number): unknown {
  if (typeof value === "string") return scrubText(value);
  if (typeof value === "bigint") return String(value);
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Date) return value.toISOString();
  if (depth > MAX_DEPTH) return "[deeper]";
  if (Array.isArray(value)) return value.map((item: unknown) => scrubValue(item, depth + 1));
  return scrubEntries(value, depth);
}
