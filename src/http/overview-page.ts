import type { StatusView } from "./status-view.ts";

/** How often the page asks again: the slowest that still looks alive. */
const REFRESH_SECONDS = 5;

/** The page's only style; served as a file, so that the content security policy allows no inline one. */
export const STYLESHEET = `:root { color-scheme: light dark; --ok: #1a7f37; --degraded: #9a6700; --stopped: #cf222e; --unknown: #57606a; --line: #d0d7de; }
@media (prefers-color-scheme: dark) { :root { --ok: #3fb950; --degraded: #d29922; --stopped: #f85149; --unknown: #8b949e; --line: #30363d; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.25rem; margin: 0; }
h2 { font-size: 1rem; margin: 2rem 0 0.25rem; }
.verdict { font-size: 1.5rem; border-left: 0.4rem solid var(--unknown); padding: 0.25rem 0 0.25rem 1rem; margin: 1rem 0; }
.ok { border-color: var(--ok); } .degraded { border-color: var(--degraded); } .stopped { border-color: var(--stopped); }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; font-weight: normal; padding: 0.25rem 0; border-bottom: 1px solid var(--line); }
td { text-align: right; font-variant-numeric: tabular-nums; }
meter { width: 100%; height: 1rem; }
footer { margin-top: 2rem; color: var(--unknown); }
`;

const STATES = [
  ["fresh", "within the freshness target"],
  ["stale", "published, but older than it should be"],
  ["never", "first sync not finished"],
  ["slowed", "refreshed rarely, because it keeps failing"],
  ["lost", "access gone"],
  ["paused", "paused by an operator"],
] as const;

/** The page at `/`: how things stand, without scripts. */
export function renderOverview(status: StatusView): string {
  const { verdict } = status;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="${String(REFRESH_SECONDS)}">
<title>${escapeHtml(`Ballast: ${verdict}`)}</title>
<link rel="stylesheet" href="/style.css">
</head>
<body>
<h1>Ballast</h1>
<p class="verdict ${escapeHtml(verdict)}" role="status">${escapeHtml(status.sentence)}</p>
${showCalendars(status)}
${table("Quota", quotaRows(status))}
${table("Waiting, by class", Object.entries(status.backlog ?? {}))}
<h2>Retries</h2>
<p>${escapeHtml(describeRetries(status.retryShare))}</p>
<footer><p><a href="/status.json">status.json</a> · <a href="/metrics">metrics</a> · <a href="/readyz">readyz</a> · <a href="/livez">livez</a> · asked again every ${String(REFRESH_SECONDS)} s</p></footer>
</body>
</html>
`;
}

function showCalendars({ calendars }: StatusView): string {
  if (calendars === undefined) return "<h2>Calendars</h2>\n<p>The database cannot be read.</p>";
  const { total, fresh } = calendars;
  const share = `${String(fresh)} of ${String(total)}`;
  return `<h2>Freshness: ${share} calendars</h2>
<meter min="0" max="${String(Math.max(1, total))}" value="${String(fresh)}">${share}</meter>
${table(
  "Calendars by state",
  STATES.map(([state, meaning]) => [`${state}: ${meaning}`, calendars[state]] as const),
)}`;
}

function quotaRows({ quota, breakers }: StatusView): (readonly [string, Figure])[] {
  const open = breakers.map(
    ({ upstream, openUntil }) =>
      [`${upstream}: breaker open until`, new Date(openUntil).toISOString()] as const,
  );
  if (quota === undefined) return [["the ledger", "cannot be asked"], ...open];
  const { minute, day, retryTokens } = quota;
  return [
    ["this minute", `${showFigure(minute.used)} of ${showFigure(minute.limit)}`],
    ["today", `${showFigure(day.used)} of ${showFigure(day.limit)}`],
    ["retries saved up", Math.floor(retryTokens)],
    ...open,
  ];
}

function describeRetries(share: number | undefined): string {
  if (share === undefined) return "Not known now.";
  return `${(share * 100).toFixed(1)} % of the requests to Google were retries.`;
}

type Figure = number | string;

function table(title: string, rows: readonly (readonly [string, Figure])[]): string {
  if (rows.length === 0) return "";
  const body = rows.map(
    ([label, value]) =>
      `<tr><th scope="row">${escapeHtml(label)}</th><td>${escapeHtml(showFigure(value))}</td></tr>`,
  );
  return `<h2>${escapeHtml(title)}</h2>\n<table>${body.join("")}</table>`;
}

function showFigure(value: Figure): string {
  return typeof value === "number" ? value.toLocaleString("en") : value;
}

function escapeHtml(text: string): string {
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll('"', "&quot;");
}
