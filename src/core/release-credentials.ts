import type { AccountId } from "./ids.ts";
import type { CallOptions } from "./request.ts";

/** What is done with the credentials of an account that leaves. */
export interface ReleaseCredentials {
  /**
   * End them at Google. `gone`: Google did not know them any more; `not-revocable`: a service account's key, which is
   * not ours to end. Throws `CallFailed` or `Refused`.
   */
  revoke(accountId: AccountId, call: CallOptions): Promise<"revoked" | "gone" | "not-revocable">;
  /** Take its access token from where the fleet shares them. */
  forget(accountId: AccountId): Promise<void>;
}
