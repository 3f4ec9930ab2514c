/** What a refusal of Google's carries beside its status. */
export interface ErrorDetail {
  readonly status: number;
  readonly reason: string;
  readonly message: string;
  readonly domain?: string;
  readonly locationType?: "parameter" | "header";
  readonly location?: string;
  readonly retryAfterSeconds?: number;
}

/** A refusal in Google's shape; whatever handler throws it, the server answers with its body. */
export class GoogleError extends Error {
  override readonly name = "GoogleError";
  readonly detail: ErrorDetail;

  constructor(detail: ErrorDetail) {
    super(detail.message);
    this.detail = detail;
  }
}

/** The JSON body Google sends with a refusal. */
export function errorBody(detail: ErrorDetail): string {
  const item: Record<string, string> = {
    domain: detail.domain ?? "global",
    reason: detail.reason,
    message: detail.message,
  };
  if (detail.locationType !== undefined) item["locationType"] = detail.locationType;
  if (detail.location !== undefined) item["location"] = detail.location;
  return JSON.stringify({
    error: { errors: [item], code: detail.status, message: detail.message },
  });
}

/** 404: no such thing, or no right to know of it. */
export function notFound(): GoogleError {
  return new GoogleError({ status: 404, reason: "notFound", message: "Not Found" });
}

/** 400 about one query parameter. */
export function badParameter(location: string, message: string, reason = "invalid"): GoogleError {
  return new GoogleError({ status: 400, reason, message, locationType: "parameter", location });
}

/** 400 about the request as a whole. */
export function badRequest(message: string, reason = "invalid"): GoogleError {
  return new GoogleError({ status: 400, reason, message });
}

/** 403: this account may see the calendar but not do this. */
export function accessRequired(level: string): GoogleError {
  return new GoogleError({
    status: 403,
    domain: "calendar",
    reason: "requiredAccessLevel",
    message: `You need to have ${level} access to this calendar.`,
  });
}

/** 401: the access token is missing, unknown or expired. */
export const invalidCredentials: ErrorDetail = {
  status: 401,
  reason: "authError",
  message: "Invalid Credentials",
  locationType: "header",
  location: "Authorization",
};

/** 410: the sync token is dead; only a full read helps. */
export function fullSyncRequired(): GoogleError {
  return new GoogleError({
    status: 410,
    domain: "calendar",
    reason: "fullSyncRequired",
    message: "Sync token is no longer valid, a full sync is required.",
    locationType: "parameter",
    location: "syncToken",
  });
}
