import type { Command } from "commander";
import { runDoctor } from "../../operator-app.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { printable } from "../output.ts";

type Results = Awaited<ReturnType<typeof runDoctor>>;

const EXIT_BY_KIND: Readonly<Record<Results[number]["kind"], ExitCode>> = {
  machine: EXIT.failure,
  configuration: EXIT.configuration,
  dependency: EXIT.dependencyDown,
};
const MARKS = { ok: "ok  ", warn: "warn", fail: "FAIL" } as const;
const COLORS = { ok: "green", warn: "yellow", fail: "red" } as const;

/** `ballast doctor`: what is wrong with this installation, each finding with its next step. */
export function addDoctorCommand(program: Command, context: CommandContext): void {
  program
    .command("doctor")
    .description("Check Node, configuration, data directory, database, Redis, Google and the clock")
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
Exit codes: 0 nothing fails (warnings may be shown), 4 the configuration, 5 something it depends on, 1 the machine.

Examples:
  ballast doctor
  REDIS_URL=redis://127.0.0.1:6379 ballast doctor --json`,
    )
    .action(runs<{ readonly json?: true }>(context, (options) => examine(options, context)));
}

async function examine(
  options: { readonly json?: true },
  { env, clock, interrupted, output }: CommandContext,
): Promise<ExitCode> {
  const results = await runDoctor(env, { clock, signal: interrupted });
  if (options.json) {
    output.json({ checks: results });
  } else {
    for (const result of results) {
      const mark = output.paint(COLORS[result.outcome], MARKS[result.outcome]);
      output.data(`${mark}  ${result.name.padEnd(14)}  ${printable(result.detail)}`);
      if (result.outcome !== "ok") output.data(`      next: ${result.next}`);
    }
  }
  const failed = results.find(({ outcome }) => outcome === "fail");
  return failed === undefined ? EXIT.ok : EXIT_BY_KIND[failed.kind];
}
