import { z } from "zod";
import type { Ledger } from "./ledger.ts";
import { parsePlainReply } from "./ledger-reply.ts";

/** Lua does not tell an empty list from an empty object. */
const luaList = <T extends z.ZodType>(item: T) =>
  z.preprocess(
    (value) => (Array.isArray(value) ? (value as readonly unknown[]) : []),
    z.array(item),
  );

const window = z.object({ limit: z.number(), used: z.number() });

const snapshotSchema = z.object({
  windowMs: z.number(),
  /** `limit` is what is in force, slowed by Google's answers where it is. */
  project: window,
  configuredProjectLimit: z.number(),
  token: window,
  user: z.object({ limit: z.number() }),
  day: z.object({
    limit: z.number(),
    used: z.number(),
    startedMsAgo: z.number(),
    endsInMs: z.number(),
  }),
  retryTokens: z.number(),
  /** Processes that asked lately. */
  askers: z.number(),
  stop: z.object({ reason: z.string(), forMs: z.number() }),
  breakers: luaList(
    z.object({
      upstream: z.string(),
      state: z.enum(["closed", "open", "due", "probing"]),
      forMs: z.number(),
      waitMs: z.number(),
    }),
  ),
  scales: luaList(z.object({ scope: z.string(), factor: z.number(), holdMs: z.number() })),
  parks: luaList(z.object({ account: z.string(), forMs: z.number() })),
  spenders: luaList(z.object({ who: z.string(), requests: z.number() })),
  pauses: luaList(z.string()),
});

/** The budget as `ballast quota` shows it. */
export interface LedgerSnapshot extends Omit<
  z.output<typeof snapshotSchema>,
  "spenders" | "pauses" | "day"
> {
  readonly day: {
    readonly limit: number;
    readonly used: number;
    readonly endsInMs: number;
    /** What the day will come to if it goes on as its last window did. */
    readonly forecast: number;
    /** When the limit is reached at that rate; undefined: not today. */
    readonly exhaustedInMs: number | undefined;
  };
  /** Who spent most of the day, most first, at most 50. */
  readonly spenders: readonly {
    readonly tenant: string;
    readonly consumer: string;
    readonly class: string;
    readonly requests: number;
  }[];
  readonly pauses: readonly {
    readonly target: string;
    /** Epoch milliseconds; 0: until it is lifted. */
    readonly endsAt: number;
    readonly reason: string;
  }[];
}

/** Read how the budget stands; undefined: the ledger is not open. Changes nothing, grants nothing. */
export async function readLedgerSnapshot(ledger: Ledger): Promise<LedgerSnapshot | undefined> {
  const { outcome } = parsePlainReply(await ledger.run("snapshot", []));
  if (outcome === "") return undefined;
  const { spenders, pauses, day, ...rest } = snapshotSchema.parse(JSON.parse(outcome));
  return {
    ...rest,
    day: forecastDay(day, rest),
    spenders: spenders.map(({ who, requests }) => {
      const [tenant = "", consumer = "", requestClass = ""] = who.split("\u001F");
      return { tenant, consumer, class: requestClass, requests };
    }),
    pauses: parsePauses(pauses),
  };
}

function forecastDay(
  { limit, used, endsInMs }: z.output<typeof snapshotSchema>["day"],
  { project, windowMs }: Pick<z.output<typeof snapshotSchema>, "project" | "windowMs">,
): LedgerSnapshot["day"] {
  const perMs = project.used / windowMs;
  const forecast = Math.round(used + perMs * endsInMs);
  const exhaustedInMs = forecast > limit ? Math.max(0, (limit - used) / perMs) : undefined;
  return { limit, used, endsInMs, forecast, exhaustedInMs };
}

/** A Redis hash, flat: target, "endsAt:reason", … */
function parsePauses(flat: readonly string[]): LedgerSnapshot["pauses"] {
  const pauses: LedgerSnapshot["pauses"][number][] = [];
  for (let index = 0; index + 1 < flat.length; index += 2) {
    const value = flat[index + 1] ?? "";
    const colon = value.indexOf(":");
    pauses.push({
      target: flat[index] ?? "",
      endsAt: Number(value.slice(0, colon)),
      reason: value.slice(colon + 1),
    });
  }
  return pauses;
}
