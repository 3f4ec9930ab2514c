import type { Command } from "commander";
import { nearestName } from "../../config/nearest-name.ts";
import { changeQuotaSetting, readQuotaReport } from "../../operator-quota.ts";
import { nameArgument, wholeNumber } from "../arguments.ts";
import { CliError, usageError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { operatorName } from "../operator-name.ts";
import { formatAge, formatTable } from "../output.ts";
import { readQuota } from "../read-quota.ts";
import { withStore } from "../with-store.ts";
import { showPlan } from "./quota-plan.ts";

interface ShowOptions {
  readonly hours: number;
  readonly limit: number;
  readonly plan?: true;
  readonly json?: true;
}

interface SetOptions {
  readonly tenant?: string;
  readonly consumer?: string;
  readonly reason: string;
  readonly plan?: true;
  readonly json?: true;
}

type Report = Awaited<ReturnType<typeof readQuotaReport>>;
type Plan = Awaited<ReturnType<typeof changeQuotaSetting>>;

/** `ballast quota`: how the budget stands and who used it; `ballast quota set`: change one limit. */
export function addQuotaCommand(program: Command, context: CommandContext): void {
  const quota = program
    .command("quota")
    .description("The quota: limit, used, left, who used it, forecast of the day")
    .option(
      "--hours <n>",
      "who used it in the last so many hours, 1 to 336",
      wholeNumber(1, 336),
      1,
    )
    .option("--limit <n>", "at most so many of them, 1 to 1000", wholeNumber(1, 1_000), 15)
    .option("--plan", "how often everything is polled, and whether a day's limit holds it")
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
Examples:
  ballast quota
  ballast quota --plan
  ballast quota --hours 24 --json | jq .spenders
  ballast quota set perDay 500000 --reason "half is another team's"`,
    )
    .action(
      runs<ShowOptions>(context, (options) =>
        options.plan ? showPlan(options, context) : show(options, context),
      ),
    );
  const change = quota.command("set");
  change

    .description("Change one setting for the whole fleet, recorded with who and why")
    .argument("<name>", "the setting, or NAME.KEY for one class or operation of it")
    .argument("<value>", "a number, a list of classes, JSON; `default` takes it back")
    .option("--tenant <tenant>", "this tenant's weight or cap", nameArgument)
    .option("--consumer <consumer>", "this consumer's cap or classes", nameArgument)
    .requiredOption("--reason <text>", "why, for those who read the record", nameArgument)
    .option("--plan", "show what would change, change nothing")
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
Running processes decide by it within 2 seconds; the environment's BALLAST_QUOTA_* only seed an empty database.

Examples:
  ballast quota set projectPerMinute 5000 --reason "older project"
  ballast quota set cap 0.2 --consumer booking-api --reason "storm of the 12th"
  ballast quota set weight 3 --tenant acme --reason "their contract"
  ballast quota set classReserve.backfill 0.4 --reason "first week"`,
    )
    .action((name: string, value: string) =>
      runs<SetOptions>(context, (options) => set({ name, value, options }, context))(
        // Options that the parent has too (--json) are taken by the parent.
        change.optsWithGlobals(),
      ),
    );
}

function show(options: ShowOptions, context: CommandContext): Promise<ExitCode> {
  return withStore(context, async (store, config) => {
    const report = await readQuotaReport(
      { hours: options.hours, mostSpenders: options.limit },
      { store, clock: context.clock, readQuota: () => readQuota(config, context) },
    );
    if (options.json) context.output.json(documentOf(report));
    else describe(report, options, context);
    return EXIT.ok;
  });
}

/** What is not known is said as null: a key that is missing reads as a release that does not have it. */
function documentOf(report: Report): Record<string, unknown> {
  const { minute, retryTokens, retryShare, day, ...rest } = report;
  return {
    ...rest,
    minute: minute ?? null,
    retryTokens: retryTokens ?? null,
    retryShare: retryShare ?? null,
    day: { ...day, exhaustedAt: day.exhaustedAt ?? null },
  };
}

function describe(report: Report, options: ShowOptions, { output }: CommandContext): void {
  const { minute, day, retryShare } = report;
  const window = (name: string, { limit, used, left }: NonNullable<Report["minute"]>): string =>
    `${name}  limit ${String(limit)}  used ${String(used)}  left ${String(left)}`;
  if (minute === undefined) {
    output.say(
      "Neither Redis nor a running service answered: the day is as it was last written, the minute unknown.",
    );
  } else {
    output.data(window("minute", minute));
  }
  output.data(
    `${window("day   ", day)}  turns in ${formatAge(day.endsAt - report.at)}  (now ${day.perMinute.toFixed(0)} a minute: ${String(day.forecast)} by then)`,
  );
  if (day.exhaustedAt !== undefined) {
    output.data(
      output.paint(
        "red",
        `The day's limit is reached in ${formatAge(day.exhaustedAt - report.at)} at this rate; backfill, then poll, stop before it.`,
      ),
    );
  }
  const retries = retryShare === undefined ? "none" : `${(retryShare * 100).toFixed(1)} %`;
  const saved = report.retryTokens === undefined ? "" : `  saved ${report.retryTokens.toFixed(0)}`;
  output.data(`retries  ${retries} of the last five minutes' requests${saved}`);
  describeSpenders(report, options, output);
}

function describeSpenders(
  report: Report,
  options: ShowOptions,
  output: CommandContext["output"],
): void {
  if (report.unsuccessful.length > 0) {
    output.data(
      formatTable(
        ["NOT DONE", "TENANT", "CONSUMER", "CLASS", "OUTCOME", "REASON"],
        report.unsuccessful.map((one) => [
          String(one.requests),
          one.tenantId,
          one.consumer,
          one.class,
          one.outcome,
          one.reason,
        ]),
      ),
    );
  }
  if (report.spenders.length === 0) {
    output.say(`Nobody has sent a request in the last ${String(options.hours)} h.`);
    return;
  }
  output.data(
    formatTable(
      ["REQUESTS", "TENANT", "CONSUMER", "CLASS", "TRY"],
      report.spenders.map((one) => [
        String(one.requests),
        one.tenantId,
        one.consumer,
        one.class,
        one.attempt,
      ]),
    ),
  );
}

function set(
  asked: { readonly name: string; readonly value: string; readonly options: SetOptions },
  context: CommandContext,
): Promise<ExitCode> {
  const { name, value, options } = asked;
  const { tenant, consumer, reason } = options;
  if (tenant !== undefined && consumer !== undefined) {
    throw usageError("--tenant and --consumer: a setting is one's or the other's.");
  }
  const isPlan = options.plan === true;
  return withStore(context, async (store) => {
    const plan = await changeQuotaSetting(
      { name, value, of: ownerOf(options), isPlan },
      { store, clock: context.clock, by: { actor: operatorName(), reason } },
    );
    if (plan.kind !== "planned") throw refusal(plan, asked);
    const { row, before, after } = plan;
    if (options.json) {
      context.output.json({ setting: row, before, after, isPlan });
      return EXIT.ok;
    }
    context.output.data(`${row}: ${JSON.stringify(before)} → ${JSON.stringify(after)}`);
    context.output.say(
      isPlan ? "Nothing was changed." : "Recorded; running processes decide by it within 2 s.",
    );
    return EXIT.ok;
  });
}

function ownerOf({ tenant, consumer }: SetOptions): Parameters<typeof changeQuotaSetting>[0]["of"] {
  if (tenant !== undefined) return { kind: "tenant", id: tenant };
  return consumer === undefined ? undefined : { kind: "consumer", id: consumer };
}

function refusal(
  plan: Exclude<Plan, { kind: "planned" }>,
  { name, value }: { readonly name: string; readonly value: string },
): CliError {
  if (plan.kind === "invalid") {
    return new CliError(`${name} cannot be ${value}: ${plan.problem}.`, {
      exitCode: EXIT.usage,
      code: "BALLAST_SETTING_INVALID",
    });
  }
  const nearest = nearestName(name, plan.known);
  const hint = nearest === undefined ? "" : ` The nearest is ${nearest.name}.`;
  return new CliError(`There is no setting ${name}.${hint}`, {
    exitCode: EXIT.usage,
    code: "BALLAST_SETTING_UNKNOWN",
    next: `one of ${plan.known.join(", ")}`,
  });
}
