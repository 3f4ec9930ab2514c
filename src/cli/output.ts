import { styleText } from "node:util";

type Style = "bold" | "dim" | "green" | "yellow" | "red" | "cyan";

interface Stream {
  readonly isTTY?: boolean;
  write(text: string): boolean;
}

/** Where a command's words go: data on stdout, talk on stderr, so that a pipe gets the data alone. */
export interface Output {
  /** One line (or several) of what was asked for. */
  data(text: string): void;
  /** One document, with the version of its shape. */
  json(document: Readonly<Record<string, unknown>>): void;
  /** One line for the person in front of it. */
  say(text: string): void;
  /** A line that the next one replaces, on a terminal; elsewhere nothing. */
  progress(text: string): void;
  readonly isTerminal: boolean;
  /** Colour where stdout is a terminal that wants it (NO_COLOR). */
  paint(style: Style, text: string): string;
  paintTalk(style: Style, text: string): string;
}

/** The version of every `--json` document; rises when a key changes its meaning or goes. */
export const SCHEMA_VERSION = 1;

/** Write to these two streams. */
export function createOutput(streams: {
  readonly stdout: Stream;
  readonly stderr: Stream;
  readonly env: Readonly<Record<string, string | undefined>>;
}): Output {
  const { stdout, stderr, env } = streams;
  // https://no-color.org: present and not empty, whatever its value.
  const wantsColor = (env["NO_COLOR"] ?? "") === "" && env["TERM"] !== "dumb";
  const painter =
    (stream: Stream) =>
    (style: Style, text: string): string =>
      wantsColor && stream.isTTY === true
        ? styleText(style, text, { validateStream: false })
        : text;
  const isTerminal = stderr.isTTY === true;
  let hasProgress = false;
  const clearProgress = (): void => {
    if (hasProgress) stderr.write("\r\u001b[K");
    hasProgress = false;
  };
  const data = (text: string): void => {
    clearProgress();
    stdout.write(`${text}\n`);
  };
  return {
    data,
    json: (document) => data(JSON.stringify({ schemaVersion: SCHEMA_VERSION, ...document })),
    say: (text) => {
      clearProgress();
      stderr.write(`${text}\n`);
    },
    progress: (text) => {
      if (!isTerminal) return;
      clearProgress();
      stderr.write(text);
      hasProgress = true;
    },
    isTerminal,
    paint: painter(stdout),
    paintTalk: painter(stderr),
  };
}

/** Rows under a heading, columns aligned. Text of others (titles) loses its control characters. */
export function formatTable(
  headings: readonly string[],
  rows: readonly (readonly string[])[],
): string {
  const lines = [headings, ...rows.map((row) => row.map(printable))];
  const widths = headings.map((_, column) =>
    Math.max(...lines.map((line) => (line[column] ?? "").length)),
  );
  return lines
    .map((line) =>
      line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

/** Calendar titles come from strangers: an escape sequence in one must not reach the terminal. */
export function printable(text: string): string {
  return text.replaceAll(/[\p{Cc}\p{Cf}]/gu, "·");
}

/** `12 s`, `3 min`, `2 h`, `5 d`. */
export function formatAge(ageMs: number | undefined): string {
  if (ageMs === undefined) return "never";
  const seconds = Math.max(0, Math.round(ageMs / 1_000));
  if (seconds < 120) return `${String(seconds)} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 120) return `${String(minutes)} min`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${String(hours)} h` : `${String(Math.round(hours / 24))} d`;
}
