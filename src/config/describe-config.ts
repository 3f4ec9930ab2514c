import { readTextFile } from "./config.ts";
import { readEnvironment } from "./read-environment.ts";
import { showValue } from "./redact.ts";
import { VARIABLES, type Variable } from "./variables.ts";

/** One variable as `ballast config print` shows it: never a secret. */
export interface ConfigEntry {
  readonly name: string;
  /** Undefined where nothing is set and there is no plain default. */
  readonly value: string | undefined;
  readonly source: "environment" | "file" | "default" | "unset";
  /** The file of a `NAME_FILE` variable. */
  readonly file?: string;
  readonly isSecret: boolean;
}

/** What is in force and where it comes from, secrets redacted; works on a configuration that is wrong, too. */
export function describeConfig(
  env: Readonly<Record<string, string | undefined>>,
  deps: { readonly readFile: (path: string) => string } = { readFile: readTextFile },
): ConfigEntry[] {
  const { values } = readEnvironment(env, deps);
  return VARIABLES.map((variable): ConfigEntry => {
    const raw = values.get(variable.name);
    const isSecret = variable.secret !== undefined;
    if (raw === undefined) {
      const source = variable.default === undefined ? "unset" : "default";
      return { name: variable.name, value: variable.default, source, isSecret };
    }
    return {
      name: variable.name,
      value: showValue(variable, raw.text),
      source: raw.source.kind,
      ...(raw.source.kind === "file" ? { file: raw.source.path } : {}),
      isSecret,
    };
  });
}

/** The entries as lines for people, aligned. */
export function formatConfig(entries: readonly ConfigEntry[]): string {
  const nameWidth = Math.max(...entries.map(({ name }) => name.length));
  const values = entries.map(({ value }) => value ?? "—");
  const valueWidth = Math.max(...values.map((value) => value.length));
  return entries
    .map(({ name, source, file }, index) => {
      const origin = file === undefined ? source : `file ${file}`;
      return `${name.padEnd(nameWidth)}  ${(values[index] ?? "").padEnd(valueWidth)}  ${origin}`;
    })
    .join("\n");
}

/** README's table of variables, between its markers; a test compares the two. */
export function renderVariablesTable(): string {
  const rows = [
    ["variable", "default", "meaning"],
    ...VARIABLES.map((variable) => [
      `\`${variable.name}\``,
      showDefault(variable),
      variable.secret === undefined ? variable.meaning : `${variable.meaning} Secret.`,
    ]),
  ];
  // Padded as Prettier pads tables, so that formatting README changes nothing.
  const widths = [0, 1, 2].map((column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const [head = "", ...body] = rows.map(
    (row) => `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join(" | ")} |`,
  );
  const rule = `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`;
  const note =
    "Each one marked as secret can also be given as `NAME_FILE`, the path of a file that holds it.";
  return [head, rule, ...body, "", note].join("\n");
}

function showDefault(variable: Variable): string {
  if (variable.default !== undefined) return `\`${variable.default}\``;
  return variable.defaultNote ?? "—";
}
