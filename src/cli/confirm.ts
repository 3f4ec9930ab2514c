import { createInterface } from "node:readline/promises";
import { CliError } from "./cli-error.ts";
import type { CommandContext } from "./command-context.ts";
import { EXIT } from "./exit-codes.ts";

/**
 * Whether to go on with what was previewed: `--yes` says so, else the person at the terminal. Where nobody can be asked,
 * nothing is done, and the exit code says that.
 */
export async function confirm(
  question: string,
  options: { readonly yes?: true },
  { output, interrupted }: CommandContext,
): Promise<boolean> {
  if (options.yes) return true;
  if (!output.isTerminal || !process.stdin.isTTY) {
    throw new CliError("Nothing was changed: this is asked for with --yes.", {
      exitCode: EXIT.usage,
      code: "BALLAST_NOT_CONFIRMED",
      next: "the same again with --yes; or with --dry-run, to see what it would do",
    });
  }
  const lines = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const answer = await lines.question(`${question} [y/N] `, { signal: interrupted });
    return /^y(?:es)?$/i.test(answer.trim());
  } finally {
    lines.close();
  }
}
