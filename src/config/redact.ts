import type { Variable } from "./variables.ts";

const HIDDEN = "***";

/**
 * A value as it may be shown: of an address everything but its password and secret parameters,
 * of any other secret nothing.
 */
export function showValue(variable: Pick<Variable, "secret">, text: string): string {
  if (variable.secret === undefined) return text;
  return variable.secret === "whole" ? HIDDEN : redactAddress(text);
}

function redactAddress(text: string): string {
  // A file's or a socket's path holds no secret.
  if (text.startsWith("/") || text.startsWith("sqlite:")) return text;
  const url = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? URL.parse(text) : null;
  if (url === null) return HIDDEN;
  if (url.password !== "") url.password = HIDDEN;
  for (const name of new Set(url.searchParams.keys())) {
    if (/pass|secret|token|key|auth/i.test(name)) url.searchParams.set(name, HIDDEN);
  }
  return url.href;
}
