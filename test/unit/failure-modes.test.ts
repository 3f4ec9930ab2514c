import { globSync, readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { failureCode, type FailureKind } from "../../src/core/failure.ts";
import { FAILURE_POLICY } from "../../src/core/failure-policy.ts";
import { PROBLEMS } from "../../src/http/http-problem.ts";
import { VARIABLES } from "../../src/config/variables.ts";

const ROOT = new URL("../../", import.meta.url);
const page = readFileSync(new URL("docs/failure-modes.md", ROOT), "utf8");

test("docs/failure-modes.md has a section for every answer of Google's, and for no other", () => {
  const sections = [...page.matchAll(/^## (\S+)$/gm)].map(([, code]) => code ?? "");
  const kinds = Object.keys(FAILURE_POLICY) as FailureKind[];
  const google = kinds.map((kind) => failureCode(kind));

  expect(sections.filter((code) => code.startsWith("GCAL_")).toSorted()).toEqual(google.toSorted());
});

test("every problem of the HTTP API has a row with its status, and there are no others", () => {
  const [, section = ""] = page.split("## What the HTTP API says");
  const rows = [...section.matchAll(/^\| `([a-z-]+)` *\| (\d{3}) /gm)].map(
    ([, code, status]) => `${String(code)} ${String(status)}`,
  );
  const known = Object.entries(PROBLEMS).map(([code, { status }]) => `${code} ${String(status)}`);
  expect(rows.toSorted()).toEqual(known.toSorted());
});

test("every code of our own that the sources name is explained", () => {
  const variables = new Set(VARIABLES.map(({ name }) => name));
  const sources = globSync(["src/**/*.ts", "packages/*/src/**/*.ts"], { cwd: ROOT });
  const named = sources.flatMap((file) => {
    const text = readFileSync(new URL(file, ROOT), "utf8");
    return [...text.matchAll(/"(BALLAST_[A-Z_]+)"/g)].map(([, code]) => code ?? "");
  });
  const codes = [...new Set(named)].filter((code) => !variables.has(code));
  expect(codes.length).toBeGreaterThan(40);
  expect(codes.filter((code) => !page.includes(code))).toEqual([]);
});
