import { requireCalendar } from "./api-call.ts";
import type { ApiAnswer, ApiCall, ApiContext } from "./api-call.ts";
import { isRecord, readBody } from "./check-body.ts";
import { GoogleError, badRequest } from "./google-error.ts";
import { checksum } from "./random.ts";
import type { ChannelResource } from "./wire-resources.ts";
import type { Calendar, World } from "./world.ts";

/** One live push channel. */
export interface Channel {
  readonly id: string;
  readonly resourceId: string;
  readonly resourceUri: string;
  readonly address: string;
  readonly token: string | undefined;
  readonly expirationMs: number;
  readonly calendarId: string;
  readonly accountEmail: string;
  messageNumber: number;
}

/** The channels of a world. */
export interface Channels {
  readonly all: Map<string, Channel>;
  /** The channels that watch a calendar. */
  of(calendarId: string): readonly Channel[];
  watch(call: ApiCall, context: ApiContext): ApiAnswer;
  stop(call: ApiCall): ApiAnswer;
}

const DEFAULT_LIFE_SECONDS = 7 * 86_400;
const MAX_LIFE_SECONDS = 30 * 86_400;
const MAX_ID_LENGTH = 64;
const MAX_TOKEN_LENGTH = 256;

/**
 * Create the channels.
 *
 * State: every channel until it is stopped or its expiration is noticed. `deps.announce` sends the first message, `sync`.
 */
export function createChannels(deps: {
  readonly world: World;
  readonly rootUrl: () => string;
  readonly announce: (channel: Channel) => void;
}): Channels {
  const all = new Map<string, Channel>();
  return {
    all,
    of: (calendarId) =>
      all
        .values()
        .filter((channel) => channel.calendarId === calendarId)
        .toArray(),
    watch(call, context) {
      const calendar = requireCalendar(call, context, "reader");
      const request = readRequest(call);
      const nowMs = deps.world.nowMs();
      const known = all.get(request.id);
      if (known && known.expirationMs > nowMs) {
        throw badRequest(`Channel id ${request.id} not unique`, "channelIdNotUnique");
      }
      if (!calendar.isWatchable) {
        throw badRequest(
          "Push notifications are not supported by this resource.",
          "pushNotSupportedForRequestedResource",
        );
      }
      const channel = newChannel(request, { call, calendar, nowMs, rootUrl: deps.rootUrl() });
      all.set(channel.id, channel);
      deps.announce(channel);
      return { status: 200, body: JSON.stringify(resourceOf(channel)) };
    },
    stop(call) {
      const body = readBody(call.body, "Channel");
      const channel = typeof body["id"] === "string" ? all.get(body["id"]) : undefined;
      if (
        !channel ||
        channel.resourceId !== body["resourceId"] ||
        channel.accountEmail !== call.account.email
      ) {
        const message = `Channel '${String(body["id"])}' not found for project`;
        throw new GoogleError({ status: 404, reason: "notFound", message });
      }
      all.delete(channel.id);
      return { status: 204, body: undefined };
    },
  };
}

interface WatchRequest {
  readonly id: string;
  readonly address: string;
  readonly token: string | undefined;
  readonly expiration: number | undefined;
  readonly ttlSeconds: number | undefined;
}

function readRequest(call: ApiCall): WatchRequest {
  const body = readBody(call.body, "Channel");
  const { id, type, address, token, expiration } = body;
  if (typeof id !== "string" || id === "") throw badRequest("Required", "required");
  if (id.length > MAX_ID_LENGTH || !/^[A-Za-z0-9\-_+/=]+$/.test(id)) {
    throw badRequest("Invalid Value: channel id", "invalid");
  }
  if (type !== "web_hook" && type !== "webhook") {
    throw badRequest(`Unknown channel type: ${String(type)}`, "push.channelUnknown");
  }
  if (typeof token === "string" && token.length > MAX_TOKEN_LENGTH) {
    throw badRequest("Channel token too long", "channelTokenTooLong");
  }
  return {
    id,
    address: readAddress(address),
    token: typeof token === "string" ? token : undefined,
    expiration: typeof expiration === "string" ? Number(expiration) : undefined,
    ttlSeconds: readTtl(body["params"]),
  };
}

function readTtl(params: unknown): number | undefined {
  const ttl = isRecord(params) ? Number(params["ttl"]) : Number.NaN;
  return Number.isFinite(ttl) ? ttl : undefined;
}

/** Google takes https only; here http is taken for addresses that cannot leave the machine. */
function readAddress(text: unknown): string {
  if (typeof text !== "string" || !URL.canParse(text)) {
    throw badRequest("Invalid WebHook callback address", "invalid");
  }
  const address = new URL(text);
  const isLoopback =
    address.hostname === "localhost" ||
    address.hostname === "[::1]" ||
    /^127\.\d+\.\d+\.\d+$/.test(address.hostname);
  if (address.protocol === "https:" || (address.protocol === "http:" && isLoopback)) return text;
  throw badRequest(`WebHook callback must be HTTPS: ${text}`, "push.webhookUrlNotHttps");
}

function newChannel(
  request: WatchRequest,
  at: {
    readonly call: ApiCall;
    readonly calendar: Calendar;
    readonly nowMs: number;
    readonly rootUrl: string;
  },
): Channel {
  const askedMs =
    request.expiration !== undefined && Number.isFinite(request.expiration)
      ? request.expiration - at.nowMs
      : (request.ttlSeconds ?? DEFAULT_LIFE_SECONDS) * 1000;
  const lifeMs = Math.min(Math.max(askedMs, 1000), MAX_LIFE_SECONDS * 1000);
  return {
    id: request.id,
    resourceId: checksum("resource", at.calendar.id).padEnd(27, "x"),
    resourceUri: `${at.rootUrl}calendar/v3/calendars/${encodeURIComponent(at.calendar.id)}/events?alt=json`,
    address: request.address,
    token: request.token,
    // Google rounds down to the second.
    expirationMs: Math.floor((at.nowMs + lifeMs) / 1000) * 1000,
    calendarId: at.calendar.id,
    accountEmail: at.call.account.email,
    messageNumber: 0,
  };
}

function resourceOf(channel: Channel): ChannelResource {
  return {
    kind: "api#channel",
    id: channel.id,
    resourceId: channel.resourceId,
    resourceUri: channel.resourceUri,
    ...(channel.token === undefined ? {} : { token: channel.token }),
    expiration: String(channel.expirationMs),
  };
}
