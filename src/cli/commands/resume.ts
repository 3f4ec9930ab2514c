import { Argument, type Command } from "commander";
import { epochMs } from "../../core/clock.ts";
import { nameArgument } from "../arguments.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { operatorName } from "../operator-name.ts";
import { withStore } from "../with-store.ts";

/** Long enough for every account to ask once more and be judged by its own answer. */
const UNCOUNTED_MS = 3_600_000;

interface Options {
  readonly reason: string;
  readonly json?: true;
}

/** `ballast resume`: let go on what was held. */
export function addResumeCommand(program: Command, context: CommandContext): void {
  const command = program.command("resume");
  command
    .description("Resume what was held: disconnecting accounts that Google refuses")
    .addArgument(new Argument("<what>", "what is to go on").choices(["disconnects"]))
    .requiredOption("--reason <text>", "why, for those who read the record", nameArgument)
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
When Google refuses the credentials of many accounts within minutes, none is disconnected: the fault is rarely
theirs. Afterwards each account is judged by its own next answer; for an hour their number is not counted.

Examples:
  ballast resume disconnects --reason "Google has recovered"
  ballast resume disconnects --reason "the customer has revoked them all"`,
    )
    .action(() => runs<Options>(context, (options) => resume(options, context))(command.opts()));
}

function resume(options: Options, context: CommandContext): Promise<ExitCode> {
  return withStore(context, async (store) => {
    const { clock, output } = context;
    const now = clock.now();
    const holds = await store.deadGrants.holds(now);
    const until = epochMs(now + UNCOUNTED_MS);
    const by = { actor: operatorName(), reason: options.reason, now, until };
    for (const { projectId } of holds) await store.deadGrants.resume(projectId, by);
    if (options.json) output.json({ resumed: holds });
    else if (holds.length === 0) output.say("Nothing was held.");
    for (const { failing } of options.json ? [] : holds) {
      output.data(
        `Resumed; ${String(failing)} accounts were refused lately and are judged one by one within minutes.`,
      );
    }
    return EXIT.ok;
  });
}
