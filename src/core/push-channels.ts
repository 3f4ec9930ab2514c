import type { EpochMs } from "./clock.ts";
import type { AccountId, GoogleCalendarId } from "./ids.ts";
import type { CallOptions } from "./request.ts";

/**
 * Opens and stops push channels at Google. Every method makes one logical call through the guard and
 * throws `CallFailed` (Google said no) or `Refused` (we did not ask).
 */
export interface PushChannels {
  /** Watch a calendar's events. The answer's expiration holds, whatever was asked for. */
  watch(
    target: {
      readonly accountId: AccountId;
      readonly googleCalendarId: GoogleCalendarId;
      readonly channelId: string;
    },
    options: CallOptions,
  ): Promise<{ readonly resourceId: string; readonly expiresAt: EpochMs }>;
  /** `gone`: Google knows no such channel (any more). */
  stop(
    target: {
      readonly accountId: AccountId;
      readonly channelId: string;
      readonly resourceId: string;
    },
    options: CallOptions,
  ): Promise<"stopped" | "gone">;
}
