/** What an error answer says of itself, wherever in it Google put that. */
export interface ErrorBody {
  /** The machine-readable words, most specific first: `details[].reason`, `errors[].reason`, OAuth's `error`. */
  readonly reasons: readonly string[];
  /** The first sentence for people; empty when there is none. */
  readonly message: string;
  /** Names of the parameters that are at fault. */
  readonly locations: readonly string[];
  /** `details[].metadata.quota_limit`: the limit's own name, as `…PerMinutePerUser`. */
  readonly quotaLimit: string | undefined;
  /** It has the shape of Google's API errors, so Google, and no gateway, wrote it. */
  readonly isGoogles: boolean;
}

const NOTHING: ErrorBody = {
  reasons: [],
  message: "",
  locations: [],
  quotaLimit: undefined,
  isGoogles: false,
};

/** Never throws: HTML and an empty body say nothing; of truncated JSON what is whole still counts. */
export function parseErrorBody(bodyText: string): ErrorBody {
  const text = bodyText.trimStart();
  if (!text.startsWith("{") && !text.startsWith("[")) return NOTHING;
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return salvage(text);
  }
  // Some gateways of Google's wrap the one error in an array.
  const root = Array.isArray(parsed) ? list(parsed)[0] : parsed;
  const error = field(root, "error");
  if (typeof error === "string") return oauthError(root, error);
  return error === undefined ? NOTHING : apiError(error);
}

function apiError(error: unknown): ErrorBody {
  const errors = list(field(error, "errors"));
  const details = list(field(error, "details"));
  return {
    reasons: strings([...details, ...errors].map((entry) => field(entry, "reason"))),
    message: strings([field(error, "message"), field(errors[0], "message")])[0] ?? "",
    locations: strings(errors.map((entry) => field(entry, "location"))),
    quotaLimit: strings(details.map((entry) => field(field(entry, "metadata"), "quota_limit")))[0],
    isGoogles: typeof field(error, "code") === "number" || errors.length > 0,
  };
}

function oauthError(root: unknown, error: string): ErrorBody {
  const message = strings([field(root, "error_description")])[0] ?? "";
  return { ...NOTHING, reasons: [error], message };
}

/** A body cut off in the middle: its complete members still say why, its shape says nothing. */
function salvage(text: string): ErrorBody {
  return {
    ...NOTHING,
    reasons: members(text, "reason").concat(members(text, "error")),
    message: members(text, "message")[0] ?? "",
    locations: members(text, "location"),
    quotaLimit: members(text, "quota_limit")[0],
  };
}

function members(text: string, name: string): string[] {
  const found = text.matchAll(new RegExp(`"${name}"\\s*:\\s*"((?:[^"\\\\]|\\\\.)*)"`, "g"));
  return strings([...found].map((match) => match[1]));
}

function field(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  const found: unknown = Reflect.get(value, name);
  return found;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function strings(values: readonly unknown[]): string[] {
  return values.filter((value) => typeof value === "string" && value !== "").map(String);
}
