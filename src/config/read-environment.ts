import { nearestName } from "./nearest-name.ts";
import { VARIABLES } from "./variables.ts";

/** A variable's text and where it came from. */
export interface RawValue {
  readonly text: string;
  readonly source:
    { readonly kind: "environment" } | { readonly kind: "file"; readonly path: string };
}

/** The environment before its forms are checked. */
export interface RawEnvironment {
  readonly values: ReadonlyMap<string, RawValue>;
  /** What must be corrected before anything starts. */
  readonly problems: readonly { readonly name: string; readonly message: string }[];
  /** What is odd but may be meant: said, and carried on. */
  readonly warnings: readonly string[];
}

const names = VARIABLES.map(({ name }) => name);
const fileNames = VARIABLES.filter(({ secret }) => secret !== undefined).map(
  ({ name }) => `${name}_FILE`,
);
/** One or two letters off is a typing error; more may be a variable of another release. */
const TYPO_DISTANCE = 2;

/** Collect the known variables, from files where `NAME_FILE` says so. An empty value counts as not set. */
export function readEnvironment(
  env: Readonly<Record<string, string | undefined>>,
  deps: { readonly readFile: (path: string) => string },
): RawEnvironment {
  const values = new Map<string, RawValue>();
  const problems: { name: string; message: string }[] = [];
  for (const { name, secret } of VARIABLES) {
    const text = env[name] ?? "";
    const path = secret === undefined ? "" : (env[`${name}_FILE`] ?? "");
    if (text !== "" && path !== "") {
      problems.push({ name, message: `${name} and ${name}_FILE are both set; set one of them` });
    } else if (text !== "") {
      values.set(name, { text, source: { kind: "environment" } });
    } else if (path !== "") {
      try {
        values.set(name, { text: deps.readFile(path).trim(), source: { kind: "file", path } });
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        problems.push({ name, message: `${name}_FILE cannot be read: ${reason}` });
      }
    }
  }
  const unknown = findUnknown(env);
  return { values, problems: [...problems, ...unknown.problems], warnings: unknown.warnings };
}

function findUnknown(
  env: Readonly<Record<string, string | undefined>>,
): Pick<RawEnvironment, "problems" | "warnings"> {
  const known = [...names, ...fileNames];
  const problems: { name: string; message: string }[] = [];
  const warnings: string[] = [];
  for (const name of Object.keys(env)) {
    if (!name.startsWith("BALLAST_") || known.includes(name)) continue;
    const nearest = nearestName(name, known);
    const message = `${name} is not known; the nearest is ${nearest?.name ?? "none"}`;
    if (nearest !== undefined && nearest.distance <= TYPO_DISTANCE)
      problems.push({ name, message });
    else warnings.push(message);
  }
  return { problems, warnings };
}
