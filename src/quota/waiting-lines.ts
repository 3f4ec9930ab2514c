import { REQUEST_CLASSES } from "../core/request.ts";
import { createBinaryHeap } from "./binary-heap.ts";
import type { LedgerLane } from "./ledger-lane.ts";
import type { LaneRefusal } from "./ledger-reply.ts";
import type { Upstream } from "./permit.ts";
import type { Line, Seat, WaitingCall, WaitingLane } from "./waiting-call.ts";

const UPSTREAMS: readonly Upstream[] = ["calendar", "oauth-token"];
const TAGS_KEPT = 20_000;

/** Every line, most urgent class first; within a class the calendar before the token endpoint. */
export function createLines(): readonly Line[] {
  return REQUEST_CLASSES.flatMap((_, rank) =>
    UPSTREAMS.map((upstream) => ({
      upstream,
      rank,
      // Equal tags are served in the order of their coming.
      seats: createBinaryHeap<Seat>((a, b) =>
        a.tag === b.tag ? a.order < b.order : a.tag < b.tag,
      ),
      expiries: createBinaryHeap<WaitingCall>((a, b) => a.expiresAtMs < b.expiresAtMs),
      tags: new Map(),
      time: 0,
      heldUntilMs: 0,
      toldUntilMs: 0,
      lastRefusal: undefined,
    })),
  );
}

export function lineOf(
  lines: readonly Line[],
  lane: Pick<LedgerLane, "attribution" | "upstream">,
): Line {
  const rank = REQUEST_CLASSES.indexOf(lane.attribution.class);
  const line = lines.find((one) => one.rank === rank && one.upstream === lane.upstream);
  if (line === undefined) throw new Error(`No line for class ${lane.attribution.class}`);
  return line;
}

/** The lines that a refusal of this lane speaks for. */
export function linesUnder(
  lines: readonly Line[],
  waiting: WaitingLane,
  refusal: LaneRefusal,
): readonly Line[] {
  const { line } = waiting.seat;
  return lines.filter(
    (one) =>
      one.upstream === line.upstream && (refusal.scope === "upstream" || one.rank >= line.rank),
  );
}

/** Remember a tenant's virtual time, boundedly. */
export function rememberTag(line: Line, tenant: string, tag: number): void {
  line.tags.set(tenant, tag);
  if (line.tags.size <= TAGS_KEPT) return;
  for (const [name, known] of line.tags) if (known <= line.time) line.tags.delete(name);
  if (line.tags.size > TAGS_KEPT) line.tags.clear();
}

/** When the line's next call runs out of time. */
export function nextExpiryMs(line: Line): number | undefined {
  for (let call = line.expiries.peek(); call !== undefined; call = line.expiries.peek()) {
    if (!call.isGone) return call.expiresAtMs;
    line.expiries.pop();
  }
  return undefined;
}

/** Take out the calls that run out of time until then. */
export function dropExpiries(line: Line, untilMs: number): WaitingCall[] {
  const calls: WaitingCall[] = [];
  for (let at = nextExpiryMs(line); at !== undefined && at <= untilMs; at = nextExpiryMs(line)) {
    const call = line.expiries.pop();
    if (call !== undefined) calls.push(call);
  }
  return calls;
}
