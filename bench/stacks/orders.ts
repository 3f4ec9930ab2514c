import type { RequestClass } from "../../src/core/request.ts";

/** What is compared: Ballast's guarded client, and three ways in which people call Google today. */
export const STACKS = ["ballast", "today", "bullmq-limiter", "bottleneck-cluster"] as const;
export type StackName = (typeof STACKS)[number];

/** What each of the peers is made of, for the table. */
export const STACK_PARTS: Readonly<Record<StackName, string>> = {
  ballast: "guarded client, one ledger",
  today:
    "googleapis defaults + p-retry defaults + BullMQ attempts 5, exponential 1 s, concurrency 50",
  "bullmq-limiter":
    "googleapis defaults + BullMQ's worker limiter, attempts 5, exponential 1 s, concurrency 50",
  "bottleneck-cluster": "googleapis defaults + clustered Bottleneck with reservoirRefresh",
};

/** One account whose calendar is listed: a logical call is one page of it. */
export interface WorkAccount {
  readonly tenant: string;
  readonly name: string;
  readonly refreshToken: string;
  readonly quotaUser: string;
  readonly calendarId: string;
}

/** How much is asked of one tenant's accounts, from one moment of the run to another. */
export interface TenantLoad {
  readonly tenant: string;
  readonly fromMs: number;
  readonly toMs: number;
  /** Either so many calls a second, whether earlier ones have ended or not … */
  readonly perSecond?: number;
  /** … or so many at any time. */
  readonly outstanding?: number;
  /** Ballast's only: another class than the orders'. */
  readonly class?: RequestClass;
}

/** What a forked process is told. */
export interface StackOrders {
  readonly stack: StackName;
  /** Path of Redis's socket. */
  readonly redis: string;
  readonly google: { readonly apiRootUrl: string; readonly tokenUrl: string };
  readonly accounts: readonly WorkAccount[];
  readonly loads: readonly TenantLoad[];
  readonly limit: number;
  readonly windowMs: number;
  /** Ballast's only: the peers know no classes. */
  readonly class: RequestClass;
  /** Ballast's only, a negative control: all classes wait for one pool of so many slots. */
  readonly sharedSlots?: number;
  /** Ballast's only, a negative control: the ledger knows every account as one tenant's, and has nobody to be fair to. */
  readonly isOneTenant?: boolean;
}

/** One logical call that has ended. */
export interface EndedCall {
  readonly tenant: string;
  /** As the load said. */
  readonly class: RequestClass | undefined;
  /** Since the run's begin. */
  readonly endedMs: number;
  readonly tookMs: number;
  readonly isSuccess: boolean;
}

/** What a process tells when its loads have ended. */
export interface StackReport {
  readonly calls: readonly EndedCall[];
  /** Calls that had not ended. */
  readonly unfinished: number;
  /** Why calls failed; a few. */
  readonly reasons: readonly string[];
  /** When a request line was written, by the process' own clock; Ballast's only. */
  readonly sentAtEpochMs: readonly number[];
  /** Requests that Google refused for quota, as the process saw it; Ballast's only. */
  readonly rejected: number;
  /** Requests for access tokens; Ballast's only. */
  readonly tokenRequests: number;
}

/** Make one logical call; rejects when it has failed for good. */
export type Perform = (account: WorkAccount, requestClass?: RequestClass) => Promise<void>;

/** A stack in one process. */
export interface Stack {
  readonly perform: Perform;
  readonly sentAtEpochMs?: readonly number[];
  readonly rejected?: () => number;
  readonly tokenRequests?: () => number;
  /** Ends what is under way and counts it, so that the report tells of every request. */
  readonly settle?: () => Promise<void>;
  close(): Promise<void>;
}
