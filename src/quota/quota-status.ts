import { z } from "zod";
import { epochMs, type Clock } from "../core/clock.ts";
import type { QuotaStatus } from "../core/quota-status.ts";
import type { Ledger } from "./ledger.ts";

/** Redis' cjson writes an empty Lua table as `{}`, whatever it was meant to be. */
function luaList<Item>(item: z.ZodType<Item>): z.ZodType<readonly Item[]> {
  return z.union([z.array(item), z.strictObject({}).transform((): Item[] => [])]);
}

const window = z.object({ limit: z.number(), used: z.number() });

/** The part of the ledger's snapshot that a status needs. */
const snapshotSchema = z.object({
  project: window,
  day: window,
  retryTokens: z.number(),
  stop: z.object({ reason: z.string(), forMs: z.number() }),
  breakers: luaList(z.object({ upstream: z.string(), state: z.string(), forMs: z.number() })),
  /** Target and value in turn, as Redis returns a hash. */
  pauses: luaList(z.string()),
});

const replySchema = z.tuple([z.unknown(), z.string()]);

/** Ask the ledger how it stands; `opening` while it is not open. Throws `LedgerUnavailable`. */
export async function readQuotaStatus(
  ledger: Pick<Ledger, "run">,
  clock: Pick<Clock, "now">,
): Promise<QuotaStatus | "opening"> {
  const [, encoded] = replySchema.parse(await ledger.run("snapshot", []));
  if (encoded === "") return "opening";
  const { project, day, retryTokens, stop, breakers, pauses } = snapshotSchema.parse(
    JSON.parse(encoded),
  );
  const now = clock.now();
  return {
    minute: project,
    day,
    retryTokens,
    stop: stop.forMs > 0 ? { reason: stop.reason, until: epochMs(now + stop.forMs) } : undefined,
    breakers: breakers
      .filter(({ state }) => state !== "closed")
      .map(({ upstream, forMs }) => ({ upstream, openUntil: epochMs(now + forMs) })),
    pauses: pairs(pauses).map(([scope, value]) => ({ scope, reason: reasonOf(value) })),
  };
}

function pairs(flat: readonly string[]): (readonly [string, string])[] {
  return flat.flatMap((value, index) => {
    const next = flat[index + 1];
    return index % 2 === 0 && next !== undefined ? [[value, next] as const] : [];
  });
}

/** "endsAt:reason", as the ledger keeps it. */
function reasonOf(value: string): string {
  return value.slice(value.indexOf(":") + 1);
}
