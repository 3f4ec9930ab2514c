import { readPollPlans } from "../../operator-polls.ts";
import type { CommandContext } from "../command-context.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { formatAge, formatTable } from "../output.ts";
import { withStore } from "../with-store.ts";

type Plans = Awaited<ReturnType<typeof readPollPlans>>;
type Plan = Plans["now"];
type Kind = Plan["kinds"][number]["kind"];

const MINUTE_MS = 60_000;
/** An interval stretched by less is the same interval. */
const SAME_SHARE = 0.001;

const IN_WORDS: Readonly<Record<Kind, string>> = {
  live: "watched, the channel proven alive",
  unproven: "watched, nothing heard yet",
  active: "not watched, read or changed lately",
  idle: "not watched, neither read nor changed lately",
  unwatchable: "Google does not notify of them",
  lists: "accounts' lists of calendars",
};

/** `ballast quota --plan`: what goes out each day without anybody asking, and whether the day holds it. */
export function showPlan(
  options: { readonly json?: true },
  context: CommandContext,
): Promise<ExitCode> {
  return withStore(context, async (store, config) => {
    const plans = await readPollPlans(config, { store, clock: context.clock });
    if (options.json) context.output.json(documentOf(plans));
    else describe(plans, context);
    return EXIT.ok;
  });
}

/** What is not known is said as null: a key that is missing reads as a release that does not have it. */
function documentOf({ now, inForce }: Plans): Record<string, unknown> {
  const inUse =
    inForce === undefined
      ? null
      : { at: inForce.at, factor: inForce.factor, isPushSilent: inForce.isPushSilent };
  return { ...now, sentence: sentenceOf(now), inForce: inUse };
}

function describe({ now: plan, inForce }: Plans, { output }: CommandContext): void {
  const line = (what: string, requests: number, note = ""): readonly string[] => [
    what,
    "",
    "",
    "",
    whole(requests),
    note,
  ];
  const { renewals, slowed } = plan;
  output.data(
    formatTable(
      ["WHAT", "COUNT", "EVERY", "STRETCHED TO", "A DAY", ""],
      [
        ...plan.kinds.map((one) => [
          one.kind,
          String(one.count),
          every(one.baseMs),
          isStretched(one) ? every(one.intervalMs) : "",
          whole(one.requestsPerDay),
          IN_WORDS[one.kind],
        ]),
        [
          "renewals",
          String(renewals.channels),
          "",
          "",
          whole(renewals.requestsPerDay),
          `channels live ${every(renewals.lifeMs)}; two requests for each renewal`,
        ],
        ["slowed", String(slowed.count), "", "", whole(slowed.requestsPerDay), "set aside"],
        line("extra", plan.extra, "retries and further pages, a tenth"),
        line("reserve", plan.reserve, "people and notifications"),
        line("sum", plan.sum),
        line("limit", plan.limit.perDay, `bound by the ${plan.limit.boundBy}`),
        line("left", plan.left),
      ],
    ),
  );
  const sentence = sentenceOf(plan);
  output.data(plan.left < 0 ? output.paint("red", sentence) : sentence);
  if (plan.neverRead > 0) {
    output.say(
      `${String(plan.neverRead)} calendars wait for their first sync, once each, in what is left.`,
    );
  }
  output.say(
    inForce === undefined
      ? "No worker has planned yet: until one does, calendars are polled as configured."
      : `Workers go by the plan of ${formatAge(plan.at - inForce.at)} ago (stretched ${times(inForce.factor)}).`,
  );
}

function isStretched({ baseMs, intervalMs }: Plan["kinds"][number]): boolean {
  return intervalMs > baseMs * (1 + SAME_SHARE);
}

/** What the plan means for how fresh calendars are. */
function sentenceOf(plan: Plan): string {
  const silent = plan.isPushSilent
    ? " Google's notifications do not arrive, so no channel counts as alive."
    : "";
  if (plan.left < 0) {
    return `Renewals, what is set aside and the reserve come to more than the ${plan.limit.boundBy} allows: the ledger holds the limit, and calendars go stale.${silent}`;
  }
  if (plan.factor > 1 + SAME_SHARE) {
    const rest = plan.kinds
      .filter(({ count }) => count > 0)
      .map(({ kind, intervalMs }) => `${kind} every ${every(intervalMs)}`)
      .join(", ");
    return `Every interval is stretched ${times(plan.factor)}, so that the ${plan.limit.boundBy}'s limit holds (${rest}): a change that Google does not notify of is seen so much later, and its calendar counts as fresh until then.${silent}`;
  }
  const patient = plan.kinds.filter((one) => one.count > 0 && isStretched(one));
  if (patient.length > 0) {
    const which = patient
      .map(({ kind, intervalMs }) => `${kind} every ${every(intervalMs)}`)
      .join(", ");
    return `Some are polled more rarely than configured (${which}), so that the ${plan.limit.boundBy}'s limit holds.${silent}`;
  }
  return `The limit holds with every calendar polled as configured.${silent}`;
}

function times(factor: number): string {
  return `${factor.toFixed(2)} times`;
}

function whole(requests: number): string {
  return String(Math.round(requests));
}

/** As configured intervals are said: `15 min`, `36.5 h`. */
function every(ms: number): string {
  if (ms < 2 * MINUTE_MS) return `${String(Math.round(ms / 1_000))} s`;
  if (ms < 120 * MINUTE_MS) return `${short(ms / MINUTE_MS)} min`;
  const hours = ms / (60 * MINUTE_MS);
  return hours <= 72 ? `${short(hours)} h` : `${short(hours / 24)} d`;
}

function short(value: number): string {
  return String(Number(value.toFixed(1)));
}
