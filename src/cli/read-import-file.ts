import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { z } from "zod";
import type { ImportEntry } from "../core/import-store.ts";
import { accountName, googleCalendarId, quotaUser, tenantId } from "../core/ids.ts";
import { CliError } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";

/** One account of an import file. */
export interface ImportLine {
  readonly line: number;
  readonly entry: ImportEntry;
}

/** What is wrong with a line; never what stands in it, which may be a token. */
export interface ImportProblem {
  readonly line: number;
  readonly problem: string;
}

/** A longer line is no account. */
const MAX_LINE_BYTES = 1024 * 1024;

const name = z
  .string()
  .regex(/^[^\p{Cc}]{1,256}$/u, "should be 1 to 256 characters on one line")
  .refine((text) => text.trim() === text, "should have no spaces around it");
const visible = (most: number) =>
  z
    .string()
    .regex(new RegExp(`^[\\x21-\\x7e]{1,${String(most)}}$`), "should be ASCII without spaces");
const googleId = z.string().min(1).max(1_024);
const scopes = z.union([
  z.array(visible(256)).max(50),
  z.string().transform((text) => text.split(" ").filter((one) => one !== "")),
]);

const entrySchema = z
  .strictObject({
    tenant: name,
    account: name,
    refreshToken: visible(2_048),
    scopes: scopes.default([]),
    sub: visible(255).optional(),
    calendars: z.array(googleId).max(10_000).default([]),
    channels: z
      .array(
        z.strictObject({
          id: z.string().min(1).max(64),
          resourceId: z.string().min(1).max(1_024),
          calendar: googleId,
        }),
      )
      .max(10_000)
      .default([]),
  })
  .superRefine(({ calendars, channels }, context) => {
    const listed = new Set(calendars);
    for (const [index, channel] of channels.entries()) {
      if (listed.has(channel.calendar)) continue;
      const message = "should be one of `calendars`";
      context.addIssue({ code: "custom", path: ["channels", index, "calendar"], message });
    }
  });

/** A file of accounts, read a line at a time, as often as is wanted. */
export interface ImportFile {
  lines(): AsyncGenerator<ImportLine | ImportProblem>;
  /** Throws when it is not the file any more that was opened. */
  requireUnchanged(): Promise<void>;
}

/** NDJSON: one account a line; empty lines do not matter. */
export async function openImportFile(path: string): Promise<ImportFile> {
  const opened = await describeFile(path);
  return {
    lines: () => readLines(path),
    async requireUnchanged() {
      if ((await describeFile(path)) === opened) return;
      throw new CliError(`${path} was changed while it was read.`, {
        exitCode: EXIT.failure,
        code: "BALLAST_IMPORT_CHANGED",
        next: "the same again: what was imported already is found unchanged",
      });
    },
  };
}

async function describeFile(path: string): Promise<string> {
  try {
    const { size, mtimeMs, ino } = await stat(path);
    return [size, mtimeMs, ino].join(" ");
  } catch (error) {
    throw new CliError(
      `${path} cannot be read: ${error instanceof Error ? error.message : "no such file"}`,
      {
        exitCode: EXIT.usage,
        code: "BALLAST_IMPORT_FILE",
        next: "give the file's path",
        cause: error,
      },
    );
  }
}

async function* readLines(path: string): AsyncGenerator<ImportLine | ImportProblem> {
  const seen = new Map<string, number>();
  let line = 0;
  for await (const text of splitLines(path)) {
    line += 1;
    if (text === undefined) {
      yield { line, problem: `is longer than ${String(MAX_LINE_BYTES)} bytes` };
      continue;
    }
    const trimmed = (line === 1 ? text.replace(/^\uFEFF/, "") : text).trim();
    if (trimmed !== "") yield parseLine(trimmed, line, seen);
  }
}

function parseLine(
  text: string,
  line: number,
  seen: Map<string, number>,
): ImportLine | ImportProblem {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Without the parser's words: they quote the line.
    return { line, problem: "is not JSON" };
  }
  const parsed = entrySchema.safeParse(value);
  if (!parsed.success) return { line, problem: describeIssues(parsed.error) };
  const { tenant, account, refreshToken, sub, calendars, channels } = parsed.data;
  // By a digest: a file of a million accounts is to fit.
  const key = createHash("sha256")
    .update(JSON.stringify([tenant, account]))
    .digest("base64");
  const first = seen.get(key);
  if (first !== undefined) {
    return { line, problem: `names the same tenant and account as line ${String(first)}` };
  }
  seen.set(key, line);
  return {
    line,
    entry: {
      tenantId: tenantId(tenant),
      name: accountName(account),
      refreshToken,
      scopes: parsed.data.scopes,
      quotaUser: sub === undefined ? undefined : quotaUser(sub),
      calendars: calendars.map(googleCalendarId),
      channels: channels.map(({ id, resourceId, calendar }) => ({
        id,
        resourceId,
        googleId: googleCalendarId(calendar),
      })),
    },
  };
}

/** Fields and what they should be; zod's messages of these kinds hold no values. */
function describeIssues(error: z.ZodError): string {
  return error.issues
    .map((issue) => {
      const path = issue.path.map(String).join(".");
      if (issue.code === "unrecognized_keys") {
        return `has ${String(issue.keys.length)} fields that are not known${path === "" ? "" : ` in ${path}`}`;
      }
      return `${path === "" ? "the line" : path}: ${issue.message}`;
    })
    .join("; ");
}

/** Undefined: a line that is too long. Not `readline`: it would gather a line without an end for as long as there is memory. */
async function* splitLines(path: string): AsyncGenerator<string | undefined> {
  let parts: Buffer[] = [];
  let bytes = 0;
  const take = (): string | undefined => {
    const text = bytes > MAX_LINE_BYTES ? undefined : Buffer.concat(parts).toString("utf8");
    parts = [];
    bytes = 0;
    return text;
  };
  const keep = (part: Buffer): void => {
    bytes += part.length;
    if (bytes <= MAX_LINE_BYTES) parts.push(part);
    else parts = [];
  };
  for await (const chunk of createReadStream(path)) {
    if (!Buffer.isBuffer(chunk)) continue;
    let from = 0;
    for (let at = chunk.indexOf(10); at !== -1; at = chunk.indexOf(10, from)) {
      keep(chunk.subarray(from, at));
      yield take();
      from = at + 1;
    }
    keep(chunk.subarray(from));
  }
  if (bytes > 0) yield take();
}
