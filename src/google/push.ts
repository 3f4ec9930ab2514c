/**
 * Opening and stopping push channels, each one logical call through the guard.
 *
 * State: none.
 */
import type { calendar_v3 } from "@googleapis/calendar";
import { epochMs } from "../core/clock.ts";
import { CallFailed } from "../core/failure.ts";
import type { PushChannels } from "../core/push-channels.ts";
import { createGoogleCall, type GoogleCallDeps } from "./google-call.ts";
import type { PushTokens } from "./push-token.ts";
import { textOf } from "./read-page.ts";

const TTL_SECONDS = 30 * 86_400;

/** What channels are opened with. */
export interface PushOptions {
  /** Where Google delivers notifications: https, or http on loopback in front of a simulator. */
  readonly address: string;
}

export interface PushDeps extends GoogleCallDeps {
  readonly client: calendar_v3.Calendar;
  readonly pushTokens: PushTokens;
}

export function createPushChannels({ address }: PushOptions, deps: PushDeps): PushChannels {
  const { client, pushTokens } = deps;
  const callGoogle = createGoogleCall(deps);
  return {
    watch: ({ accountId, googleCalendarId, channelId }, options) => {
      const params = {
        calendarId: googleCalendarId,
        requestBody: {
          id: channelId,
          type: "web_hook",
          address,
          token: pushTokens.tokenOf(channelId),
          params: { ttl: String(TTL_SECONDS) },
        },
      };
      return callGoogle({ accountId, operation: "events.watch" }, options, {
        attempt: (auth, how) => client.events.watch({ ...params, ...auth }, how),
        read: readChannel,
      });
    },
    async stop({ accountId, channelId, resourceId }, options) {
      const requestBody = { id: channelId, resourceId };
      try {
        return await callGoogle({ accountId, operation: "channels.stop" }, options, {
          attempt: (auth, how) => client.channels.stop({ requestBody, ...auth }, how),
          read: () => "stopped" as const,
        });
      } catch (error) {
        if (error instanceof CallFailed && error.failure.kind === "not-found") return "gone";
        throw error;
      }
    },
  };
}

function readChannel(bodyText: unknown): Awaited<ReturnType<PushChannels["watch"]>> {
  const body = parse(bodyText);
  const resourceId = textOf(body["resourceId"]);
  const expiresAt = Number(body["expiration"]);
  if (resourceId === undefined || !Number.isSafeInteger(expiresAt) || expiresAt <= 0) {
    throw malformed("the answer names no resource or no expiration");
  }
  return { resourceId, expiresAt: epochMs(expiresAt) };
}

function parse(bodyText: unknown): Readonly<Record<string, unknown>> {
  if (typeof bodyText !== "string") throw malformed("the body is not text");
  let body: unknown;
  try {
    body = JSON.parse(bodyText);
  } catch {
    // Without its cause: the error quotes the body, and this one holds the channel's token.
    throw malformed("the body is not JSON");
  }
  if (typeof body !== "object" || body === null) throw malformed("the body is not an object");
  return { ...body };
}

function malformed(detail: string): CallFailed {
  return new CallFailed({ kind: "malformed-response", detail }, { operation: "events.watch" });
}
