import { readFileSync } from "node:fs";
import { randomBytes } from "node:crypto";
import { join } from "node:path";
import { assert, constantFrom, property, stringMatching } from "fast-check";
import { format } from "prettier";
import { expect, test } from "vitest";
import { ConfigError, loadConfig } from "../../src/config/config.ts";
import {
  describeConfig,
  formatConfig,
  renderVariablesTable,
} from "../../src/config/describe-config.ts";

const noFiles = {
  readFile: (path: string): string => {
    throw new Error(`no such file: ${path}`);
  },
};

function problemsOf(env: Record<string, string>): readonly string[] {
  try {
    loadConfig(env, noFiles);
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
  return [];
}

test("an empty environment is a good one", () => {
  const config = loadConfig({}, noFiles);
  expect(config).toMatchObject({
    redisUrl: undefined,
    database: { kind: "sqlite", path: join(process.cwd(), ".ballast", "ballast.db") },
    google: { client: undefined, apiRootUrl: "https://www.googleapis.com/" },
    http: { host: "127.0.0.1", port: 8080 },
    quota: { projectPerMinute: 10_000, userPerMinute: 600, perDay: 1_000_000, windowMs: 60_000 },
    consumer: "ballast-worker",
    warnings: [],
  });
});

test("an empty value counts as not set, as compose files write it", () => {
  expect(loadConfig({ BALLAST_HTTP_PORT: "", REDIS_URL: "" }, noFiles).http.port).toBe(8080);
});

test("every bad variable is reported at once, with what it should be", () => {
  const problems = problemsOf({
    REDIS_URL: "http://somewhere",
    DATABASE_URL: "mysql://root@db/x",
    GOOGLE_CLIENT_ID: "id",
    GOOGLE_API_ROOT_URL: "googleapis",
    BALLAST_PUBLIC_URL: "http://example.org",
    BALLAST_HTTP_PORT: "80a",
    BALLAST_ENCRYPTION_KEYS: "k1:tooshort",
    BALLAST_API_TOKENS: "name:read:abc",
    BALLAST_MIRROR: "half",
    BALLAST_WORKER_CONCURENCY: "3",
  });
  expect(new Set(problems.map((problem) => problem.split(" ")[0]))).toEqual(
    new Set([
      "BALLAST_API_TOKENS",
      "BALLAST_ENCRYPTION_KEYS",
      "BALLAST_HTTP_PORT",
      "BALLAST_MIRROR",
      "BALLAST_PUBLIC_URL",
      "BALLAST_WORKER_CONCURENCY",
      "DATABASE_URL",
      "GOOGLE_API_ROOT_URL",
      "GOOGLE_CLIENT_ID",
      "REDIS_URL",
    ]),
  );
  expect(problems).toContain(
    'BALLAST_HTTP_PORT should be a port, 0 to 65535 (0: any free one); it is "80a"',
  );
  expect(problems).toContain(
    "BALLAST_WORKER_CONCURENCY is not known; the nearest is BALLAST_WORKER_CONCURRENCY",
  );
});

test("an unknown name far from any known one is said, and does not stop a rollback", () => {
  const config = loadConfig({ BALLAST_SOMETHING_OF_NEXT_YEAR: "1" }, noFiles);
  expect(config.warnings).toEqual([
    expect.stringContaining("BALLAST_SOMETHING_OF_NEXT_YEAR is not known"),
  ]);
});

test.each(["1e3", "-1", "0", "1.5", "0x10", " 5", "100000000000"])(
  "%j requests a minute is refused",
  (text) => {
    expect(problemsOf({ BALLAST_QUOTA_PROJECT_PER_MINUTE: text })).toHaveLength(1);
  },
);

test("a secret can come from a file, and not from both", () => {
  const files = { readFile: () => "postgres://u:pw@db/ballast\n" };
  const config = loadConfig({ DATABASE_URL_FILE: "/run/secrets/db" }, files);
  expect(config.database).toEqual({ kind: "postgres", url: "postgres://u:pw@db/ballast" });
  expect(problemsOf({ DATABASE_URL_FILE: "/run/secrets/db" })).toEqual([
    "DATABASE_URL_FILE cannot be read: no such file: /run/secrets/db",
  ]);
  expect(problemsOf({ DATABASE_URL: "sqlite:x", DATABASE_URL_FILE: "/y" })).toEqual([
    "DATABASE_URL and DATABASE_URL_FILE are both set; set one of them",
  ]);
});

test("the client's id and secret belong together, wherever the secret comes from", () => {
  const files = { readFile: () => "s3cret" };
  const env = { GOOGLE_CLIENT_ID: "id", GOOGLE_CLIENT_SECRET_FILE: "/f" };
  expect(loadConfig(env, files).google.client).toEqual({ id: "id", secret: "s3cret" });
  expect(problemsOf({ GOOGLE_CLIENT_SECRET: "s" })).toEqual([
    "GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET belong together; GOOGLE_CLIENT_ID is missing",
  ]);
});

test("keys and tokens are taken apart; a repeated name is refused", () => {
  const key = randomBytes(32).toString("base64");
  const sha256 = "ab".repeat(32);
  const config = loadConfig(
    {
      BALLAST_ENCRYPTION_KEYS: `new:${key},old:${key}`,
      BALLAST_API_TOKENS: `booking:read+refresh:${sha256}`,
    },
    noFiles,
  );
  expect(config.encryptionKeys?.map(({ id, key: bytes }) => [id, bytes.length])).toEqual([
    ["new", 32],
    ["old", 32],
  ]);
  expect(config.apiTokens).toEqual([{ name: "booking", scopes: ["read", "refresh"], sha256 }]);
  expect(problemsOf({ BALLAST_ENCRYPTION_KEYS: `a:${key},a:${key}` })).toHaveLength(1);
});

test("what is printed holds no secret, whatever the secret is and however wrong it is", () => {
  const secret = stringMatching(/^[A-Za-z0-9]{12,40}$/);
  const shapes = [
    (text: string) => text,
    (text: string) => `/${text}`,
    (text: string) => `k1:${text}`,
  ];
  assert(
    property(secret, constantFrom(...shapes), (text, shape) => {
      const env = {
        REDIS_URL: `redis://default:${text}@cache:6379/1`,
        DATABASE_URL: `postgress://ballast:${text}@db/ballast?sslpassword=${text}`,
        GOOGLE_CLIENT_ID: "id",
        GOOGLE_CLIENT_SECRET: shape(text),
        BALLAST_ENCRYPTION_KEYS: shape(text),
        BALLAST_API_TOKENS: shape(text),
      };
      const printed = formatConfig(describeConfig(env, noFiles));
      expect(printed).not.toContain(text);
      expect(problemsOf(env).join("\n")).not.toContain(text);
    }),
  );
});

test("each printed value says where it comes from", () => {
  const entries = describeConfig(
    { BALLAST_MIRROR: "busy", REDIS_URL_FILE: "/run/redis", BALLAST_HTTP_PORT: "nonsense" },
    { readFile: () => "redis://:pw@cache:6379" },
  );
  const byName = Object.fromEntries(entries.map((entry) => [entry.name, entry]));
  expect(byName["BALLAST_MIRROR"]).toMatchObject({ value: "busy", source: "environment" });
  expect(byName["REDIS_URL"]).toMatchObject({
    value: "redis://:***@cache:6379",
    source: "file",
    file: "/run/redis",
  });
  expect(byName["BALLAST_QUOTA_PER_DAY"]).toMatchObject({ value: "1000000", source: "default" });
  expect(byName["GOOGLE_CLIENT_SECRET"]).toMatchObject({ value: undefined, source: "unset" });
  expect(byName["BALLAST_HTTP_PORT"]).toMatchObject({ value: "nonsense" });
});

test("README's table is laid out as Prettier would, so that formatting it changes nothing", async () => {
  const table = renderVariablesTable();
  expect(await format(table, { parser: "markdown", printWidth: 100 })).toBe(`${table}\n`);
});

test("README's table of variables is the one that the code reads", () => {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const [, table = ""] = /<!-- config:begin -->([^]*)<!-- config:end -->/.exec(readme) ?? [];
  expect(cells(table)).toEqual(cells(renderVariablesTable()));
});

/** The cells of a Markdown table, however it is padded. */
function cells(table: string): string[][] {
  return table
    .trim()
    .split("\n")
    .map((row) => row.split("|").map((cell) => cell.trim().replace(/-+/, "-")));
}
