/**
 * The work on a removal: a turn of bounded length that goes on where the last one stopped.
 *
 * States, as in the row: marking → releasing → erasing → settling → gone. A turn ends by handing the row back with
 * the stage that it came to; a crash in between repeats at most one step, and each step may be repeated.
 */
import type { ChannelStore } from "../core/channel-store.ts";
import { epochMs, type Clock, type EpochMs } from "../core/clock.ts";
import { CallFailed } from "../core/failure.ts";
import { FAILURE_POLICY, retryAfterOf } from "../core/failure-policy.ts";
import type { AccountId, Consumer } from "../core/ids.ts";
import type { PushChannels } from "../core/push-channels.ts";
import { Refused } from "../core/refusal.ts";
import type { ReleaseCredentials } from "../core/release-credentials.ts";
import type {
  AccountRelease,
  AccountReleased,
  ReleasePostponed,
  RemovalCounts,
  RemovalLease,
  RemovalRow,
  RemovalStage,
  RemovalStore,
  ScrubOutcome,
} from "../core/removal-store.ts";
import type { CallOptions, EarlierAttempt } from "../core/request.ts";

export interface RemoveOptions {
  readonly leaseMs: number;
  /** A turn hands back after this: a worker's place is not held for long. */
  readonly turnMs: number;
  /** Rows erased in one transaction. */
  readonly portionRows: number;
  /** Between two of them, for others who write. */
  readonly restMs: number;
  /** What was on its way when it was asked for (a page, a figure of who used the quota) has come by then. */
  readonly settleMs: number;
  /** Google is tried for so long; what it has not stopped or revoked by then is left, and recorded. */
  readonly releaseWithinMs: number;
  readonly callDeadlineMs: number;
  readonly consumer: Consumer;
}

export interface RemoveDeps {
  readonly removals: RemovalStore;
  readonly channels: Pick<ChannelStore, "remove">;
  readonly stopChannel: PushChannels["stop"];
  readonly credentials: ReleaseCredentials;
  readonly clock: Clock;
}

export type RemoveOutcome =
  | { readonly kind: "skipped"; readonly reason: string }
  | { readonly kind: "fenced-out" }
  | { readonly kind: "put-back"; readonly stage: RemovalStage; readonly code: string | undefined }
  | { readonly kind: "removed"; readonly counts: RemovalCounts; readonly scrub: ScrubOutcome };

export type RemoveData = (
  removalId: string,
  run: { readonly signal: AbortSignal },
) => Promise<RemoveOutcome>;

const ACCOUNTS_AT_ONCE = 20;
const MARKED_AT_ONCE = 50;
const RELEASED_AT_ONCE = 4;
const TRY_AGAIN_MS = 15_000;

/** Build the work on removals. Throws only for bugs and a lost database. */
export function createRemoveData(options: RemoveOptions, deps: RemoveDeps): RemoveData {
  return async (removalId, { signal }) => {
    const { clock, removals } = deps;
    const now = clock.now();
    const begun = await removals.begin(removalId, { now, until: epochMs(now + options.leaseMs) });
    if (begun === undefined) return { kind: "skipped", reason: "not-due" };
    const endsAtMs = clock.monotonicMs() + options.turnMs;
    const turn: Turn = { ...begun, signal, options, deps, stage: begun.removal.stage };
    while (!signal.aborted && clock.monotonicMs() < endsAtMs) {
      const step = await STEPS[turn.stage](turn);
      if (step.kind === "stage") turn.stage = step.stage;
      else if (step.kind === "wait") return putBack(turn, step);
      else if (step.kind !== "again") return step;
    }
    return putBack(turn, { dueAt: clock.now(), code: undefined });
  };
}

interface Turn {
  readonly lease: RemovalLease;
  readonly removal: RemovalRow;
  readonly signal: AbortSignal;
  readonly options: RemoveOptions;
  readonly deps: RemoveDeps;
  stage: RemovalStage;
}

type Step =
  | { readonly kind: "again" }
  | { readonly kind: "stage"; readonly stage: RemovalStage }
  | { readonly kind: "wait"; readonly dueAt: EpochMs; readonly code: string | undefined }
  | Extract<RemoveOutcome, { readonly kind: "removed" | "fenced-out" }>;

const FENCED_OUT = { kind: "fenced-out" } as const;
const AGAIN = { kind: "again" } as const;

const STEPS: Readonly<Record<RemovalStage, (turn: Turn) => Promise<Step>>> = {
  async marking({ removal, deps }) {
    const now = deps.clock.now();
    const marked = await deps.removals.markSome(removal.id, { limit: MARKED_AT_ONCE, now });
    return marked > 0 ? AGAIN : { kind: "stage", stage: "releasing" };
  },
  releasing: releaseAll,
  async erasing(turn) {
    const { deps, options } = turn;
    const erased = await eraseSome(turn);
    if (erased === "fenced-out") return FENCED_OUT;
    if (erased > 0) return AGAIN;
    turn.stage = "settling";
    const dueAt = epochMs(deps.clock.now() + options.settleMs);
    return { kind: "wait", dueAt, code: undefined };
  },
  async settling(turn) {
    const { deps, lease } = turn;
    const erased = await eraseSome(turn);
    if (erased === "fenced-out") return FENCED_OUT;
    if (erased > 0) return AGAIN;
    const now = deps.clock.now();
    const scrub = await deps.removals.scrub();
    if (scrub === "busy" && now - turn.removal.askedAt < turn.options.releaseWithinMs) {
      return {
        kind: "wait",
        dueAt: epochMs(now + TRY_AGAIN_MS),
        code: "BALLAST_STORE_UNAVAILABLE",
      };
    }
    const counts = await deps.removals.finish(lease, { scrub, now });
    return counts === "fenced-out" ? FENCED_OUT : { kind: "removed", counts, scrub };
  },
};

/** Milliseconds: not worth to be cut short. */
const never = new AbortController().signal;

async function eraseSome({ deps, lease, options }: Turn): Promise<number | "fenced-out"> {
  const erased = await deps.removals.eraseSome(lease, options.portionRows);
  if (erased !== "fenced-out" && erased > 0) await deps.clock.sleep(options.restMs, never);
  return erased;
}

async function putBack(
  { deps, lease, stage }: Turn,
  { dueAt, code }: { readonly dueAt: EpochMs; readonly code: string | undefined },
): Promise<RemoveOutcome> {
  const answer = await deps.removals.putBack(lease, { stage, dueAt });
  return answer === "fenced-out" ? FENCED_OUT : { kind: "put-back", stage, code };
}

/** One page of accounts after the other, to the end: an account that has to wait holds no other up (I8). */
async function releaseAll(turn: Turn): Promise<Step> {
  const { deps, lease, signal } = turn;
  let after: AccountId | undefined;
  let wait: Waiting | undefined;
  for (;;) {
    const page = await deps.removals.beginReleases(lease, { after, limit: ACCOUNTS_AT_ONCE });
    if (page === "fenced-out") return FENCED_OUT;
    if (page.length === 0) break;
    const ended: AccountReleased[] = [];
    const postponed: Waiting[] = [];
    for (let at = 0; at < page.length; at += RELEASED_AT_ONCE) {
      const few = page.slice(at, at + RELEASED_AT_ONCE);
      for (const result of await Promise.all(few.map((one) => releaseAccount(turn, one)))) {
        if ("dueAt" in result) postponed.push(result);
        else ended.push(result);
      }
    }
    if ((await deps.removals.release(lease, ended, postponed)) === "fenced-out") return FENCED_OUT;
    wait = postponed.reduce(sooner, wait);
    if (signal.aborted) return { kind: "wait", dueAt: deps.clock.now(), code: undefined };
    after = page.at(-1)?.accountId;
  }
  if (wait === undefined) return { kind: "stage", stage: "erasing" };
  return { kind: "wait", dueAt: wait.dueAt, code: wait.code };
}

interface Waiting extends ReleasePostponed {
  readonly dueAt: EpochMs;
  readonly code: string;
}

function sooner(one: Waiting | undefined, other: Waiting): Waiting {
  return one !== undefined && one.dueAt <= other.dueAt ? one : other;
}

interface Asking {
  readonly turn: Turn;
  readonly release: AccountRelease;
  /** I3: of its next call. */
  earlierAttempt: EarlierAttempt;
}

async function releaseAccount(
  turn: Turn,
  release: AccountRelease,
): Promise<AccountReleased | Waiting> {
  const { deps } = turn;
  const { accountId, isLeaving, channels, revocation, earlierAttempt } = release;
  const asking: Asking = { turn, release, earlierAttempt };
  const done = { stopped: 0, left: 0, revoked: 0, kept: revocation === "shared" ? 1 : 0 };
  for (const { id, resourceId } of channels) {
    const answer = await atGoogle(asking, async (call) => {
      if (resourceId === undefined) return "unknown";
      return deps.stopChannel({ accountId, channelId: id, resourceId }, call);
    });
    if (typeof answer === "object") return answer;
    if (answer === "stopped" || answer === "gone") done.stopped += 1;
    else done.left += 1;
    // At once: what was stopped is not to be stopped again after a crash.
    await deps.channels.remove(id);
  }
  if (revocation === "wanted") {
    const answer = await atGoogle(asking, (call) => deps.credentials.revoke(accountId, call));
    if (typeof answer === "object") return answer;
    if (answer === "revoked" || answer === "gone") done.revoked += 1;
    else done.kept += 1;
  }
  if (isLeaving) await forget(deps.credentials, accountId);
  return {
    accountId,
    isLeaving,
    channelsStopped: done.stopped,
    channelsLeft: done.left,
    tokensRevoked: done.revoked,
    tokensLeft: done.kept,
  };
}

/** An access token that cannot be taken from Redis ends within the hour, and nobody can open it without its grant. */
async function forget(credentials: ReleaseCredentials, accountId: AccountId): Promise<void> {
  try {
    await credentials.forget(accountId);
  } catch {
    // Redis, or a key of the vault, is away: what is left there is of no use to anybody.
  }
}

/** No key opens this account's credentials (any more): nothing can be asked for it, by anybody. */
function isUnreadable(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "BALLAST_VAULT_KEY";
}

/** `refused`: it can never succeed, or Google was tried for long enough. */
async function atGoogle<Answer>(
  asking: Asking,
  ask: (call: CallOptions) => Promise<Answer>,
): Promise<Answer | "refused" | Waiting> {
  const { removal, options, deps, signal } = asking.turn;
  const { clock } = deps;
  try {
    const answer = await ask({
      consumer: options.consumer,
      class: "poll",
      earlierAttempt: asking.earlierAttempt,
      onSent: () => {
        asking.earlierAttempt = "reached-google";
      },
      deadlineMs: options.callDeadlineMs,
      signal,
    });
    asking.earlierAttempt = "none";
    return answer;
  } catch (error) {
    const isOurs = error instanceof Refused;
    if (!isOurs && !(error instanceof CallFailed)) {
      if (isUnreadable(error)) return "refused";
      throw error;
    }
    const isOver = clock.now() - removal.askedAt > options.releaseWithinMs;
    const isHopeless = !isOurs && FAILURE_POLICY[error.failure.kind].isPermanent;
    if (isHopeless) asking.earlierAttempt = "none";
    if (isOver || isHopeless) return "refused";
    const waitMs = (isOurs ? error.retryAfterMs : retryAfterOf(error.failure)) ?? TRY_AGAIN_MS;
    const { accountId, isLeaving } = asking.release;
    const { earlierAttempt } = asking;
    const dueAt = epochMs(clock.now() + waitMs);
    return { accountId, isLeaving, earlierAttempt, dueAt, code: error.code };
  }
}
