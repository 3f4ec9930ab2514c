/** What the package exports; its types and error codes are versioned with it. */
export type { calendar_v3 } from "@googleapis/calendar";
export { CallFailed, type Failure, type FailureKind } from "../../../src/core/failure.ts";
export {
  BatchRefused,
  BreakerOpen,
  BudgetSpent,
  ClassNotAllowed,
  DeadlinePassed,
  LedgerUnavailable,
  Paused,
  QueueFull,
  Refused,
  Unattributed,
  type RefusalCode,
} from "../../../src/core/refusal.ts";
export type { RequestClass } from "../../../src/core/request.ts";
export type { RequestRecord } from "../../../src/quota/request-observer.ts";
export type { ClientCredentials, GuardedAccountOptions } from "./account-options.ts";
export type { GuardableAuth } from "./guard-auth.ts";
export type { GuardedAccount } from "./guarded-account.ts";
export { createGuardedCalendar, type GuardedCalendar } from "./guarded-calendar.ts";
export {
  createGuardedClient,
  type GuardedClient,
  type GuardedClientOptions,
  type RedisPlace,
} from "./guarded-client.ts";
export {
  RefreshNotRequested,
  type RefreshEndpoint,
  type RefreshTarget,
} from "./request-refresh.ts";
export {
  ApiRefused,
  ApiUnreachable,
  createApiClient,
  type ApiClient,
  type ApiClientOptions,
} from "./api-client.ts";
export type { ApiOperations, ApiProblemCode } from "./api-operations.ts";
