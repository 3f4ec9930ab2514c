import type { ChangePosition } from "./change-store.ts";
import type { EpochMs } from "./clock.ts";
import type { TenantId } from "./ids.ts";

/** `failing`: tried again at `dueAt`, further away each time. `disabled`: no more, until an operator says so. */
export type WebhookState = "active" | "failing" | "disabled";

/** Where a tenant's changes are sent; never its secret. */
export interface WebhookRow {
  readonly tenantId: TenantId;
  readonly url: string;
  readonly state: WebhookState;
  /** What the last failure was, or why it was disabled. */
  readonly reason: string | undefined;
  /** Changes up to here were taken by the receiver. */
  readonly position: ChangePosition;
  /** Tried no earlier. */
  readonly dueAt: EpochMs;
  /** In a row. */
  readonly failures: number;
  readonly failingSince: EpochMs | undefined;
  readonly deliveredAt: EpochMs | undefined;
  readonly createdAt: EpochMs;
  readonly createdBy: string;
}

/** The right to send one tenant's changes: nobody else does so until it ends. */
export interface WebhookClaim extends Pick<
  WebhookRow,
  "tenantId" | "url" | "position" | "failures" | "failingSince"
> {
  readonly fence: number;
  /** What it is signed with; undefined: no key opens it. */
  readonly secret: string | undefined;
}

/** How all webhooks are. */
export interface WebhookHealth {
  readonly byState: Readonly<Record<WebhookState, number>>;
  /** When the oldest change was written that a webhook, not disabled, has yet to deliver. */
  readonly oldestWaitingAt: EpochMs | undefined;
}

interface WebhookActor {
  readonly actor: string;
  readonly now: EpochMs;
}

/**
 * One webhook a tenant. What is to be sent is the feed behind its position, which moves only when the receiver
 * has taken it: at least once, in order. Whatever an operator does is recorded in the same transaction.
 */
export interface WebhookStore {
  /**
   * A new one begins behind the newest change; one that is there keeps its place, gets the new address and
   * secret, and is tried at once, also when it was disabled.
   */
  set(
    tenantId: TenantId,
    webhook: { readonly url: string; readonly secret: string },
    by: WebhookActor,
  ): Promise<"created" | "replaced" | "unknown-tenant">;
  /** Try again now with the same address and secret, also when it was disabled. */
  resume(tenantId: TenantId, by: WebhookActor): Promise<"resumed" | "unknown-webhook">;
  remove(tenantId: TenantId, by: WebhookActor): Promise<"removed" | "unknown-webhook">;
  get(tenantId: TenantId): Promise<WebhookRow | undefined>;
  /** In order of tenant; at most `limit`, up to 1000. */
  list(page: {
    readonly after?: TenantId | undefined;
    readonly limit: number;
  }): Promise<readonly WebhookRow[]>;
  /**
   * Those that are due, claimed by nobody, and have something to send: the longest due first. With `newsAfter`
   * only of tenants that have a change of a higher number, which costs what there is of those, and not a step
   * for each webhook.
   */
  claimDue(claim: {
    readonly now: EpochMs;
    readonly limit: number;
    readonly leaseMs: number;
    readonly newsAfter?: ChangePosition | undefined;
  }): Promise<readonly WebhookClaim[]>;
  /** The receiver has taken everything up to `position`. */
  markDelivered(
    claim: WebhookClaim,
    delivery: { readonly position: ChangePosition; readonly now: EpochMs },
  ): Promise<"marked" | "fenced-out">;
  /** It did not: tried again at `dueAt`, or, with `disable`, no more (recorded). */
  markFailed(
    claim: WebhookClaim,
    failure: {
      readonly reason: string;
      readonly dueAt: EpochMs;
      readonly now: EpochMs;
      readonly disable: boolean;
    },
  ): Promise<"marked" | "fenced-out">;
  /** Nothing is known of the delivery; somebody may try at once. */
  release(claim: WebhookClaim): Promise<void>;
  health(): Promise<WebhookHealth>;
}
