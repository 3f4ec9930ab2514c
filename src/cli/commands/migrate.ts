import { dirname } from "node:path";
import type { Command } from "commander";
import { makeDirectory } from "../../embedded/make-directory.ts";
import { openAppMigrations } from "../../operator-app.ts";
import { readConfig, runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { formatTable } from "../output.ts";

interface Options {
  readonly json?: true;
}
type Migrations = ReturnType<typeof openAppMigrations>;

/** `ballast migrate`: the database's schema, changed on purpose only. */
export function addMigrateCommand(program: Command, context: CommandContext): void {
  const migrate = program
    .command("migrate")
    .description("Plan and apply changes of the database's schema; nothing else applies them");
  const add = (
    name: string,
    description: string,
    run: (migrations: Migrations, options: Options) => Promise<ExitCode>,
  ): Command =>
    migrate
      .command(name)
      .description(description)
      .option("--json", "one JSON document")
      .action(runs<Options>(context, (options) => withMigrations(context, options, run)));

  add("status", "Which version the database has, and which this build runs with", (one, options) =>
    showStatus(one, options, context),
  );
  add("plan", "What `apply` would do: steps, rows touched, locks, estimated time", (one, options) =>
    showPlan(one, options, context),
  );
  add("apply", "Apply the pending steps, each in a transaction of its own", (one, options) =>
    apply(one, options, context),
  );
  migrate.addHelpText(
    "after",
    `
Examples:
  ballast migrate plan && ballast migrate apply
  DATABASE_URL=postgres://…  ballast migrate status --json`,
  );
}

async function withMigrations(
  context: CommandContext,
  options: Options,
  run: (migrations: Migrations, options: Options) => Promise<ExitCode>,
): Promise<ExitCode> {
  const config = readConfig(context);
  const { database } = config;
  if (database.kind === "sqlite") await makeDirectory(dirname(database.path));
  const migrations = openAppMigrations(config, { clock: context.clock });
  try {
    return await run(migrations, options);
  } finally {
    await migrations.close();
  }
}

async function showStatus(
  migrations: Migrations,
  options: Options,
  { output }: CommandContext,
): Promise<ExitCode> {
  const status = await migrations.status();
  const { version, supported, pending } = status;
  const isSupported = version >= supported.from && version <= supported.to;
  if (options.json) {
    output.json({ ...status, isSupported });
  } else {
    output.data(
      `Schema version ${String(version)}; this build runs with ${String(supported.from)} to ${String(supported.to)}; ${String(pending.length)} steps pending.`,
    );
    if (version > supported.to) {
      output.say("This build is too old for the database: use the one that migrated it.");
    } else if (pending.length > 0) {
      output.say("next: ballast migrate plan");
    }
  }
  return isSupported ? EXIT.ok : EXIT.configuration;
}

async function showPlan(
  migrations: Migrations,
  options: Options,
  { output }: CommandContext,
): Promise<ExitCode> {
  const steps = await migrations.plan();
  if (options.json) {
    output.json({ steps });
  } else if (steps.length === 0) {
    output.data("Nothing to apply.");
  } else {
    output.data(
      formatTable(
        ["STEP", "WHAT", "ROWS", "LOCKS", "ESTIMATED"],
        steps.map((step) => [
          `${String(step.version)} ${step.name}`,
          step.description,
          String(step.rowsTouched),
          step.locks,
          `${String(step.estimatedMs)} ms`,
        ]),
      ),
    );
    output.say("next: ballast migrate apply");
  }
  return EXIT.ok;
}

async function apply(
  migrations: Migrations,
  options: Options,
  { output }: CommandContext,
): Promise<ExitCode> {
  const applied = await migrations.apply();
  if (options.json) output.json({ applied });
  else if (applied.length === 0) output.data("Nothing to apply.");
  else for (const { version, name } of applied) output.data(`Applied ${String(version)} ${name}.`);
  return EXIT.ok;
}
