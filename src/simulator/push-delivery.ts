import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { Clock } from "../core/clock.ts";
import type { Channel } from "./channels.ts";
import type { FaultPlan } from "./faults.ts";
import type { Random } from "./random.ts";

/** What a notification says about the resource. */
export type ResourceState = "sync" | "exists" | "not_exists";

/** Sends notifications, for real. */
export interface PushDelivery {
  /** Tell a channel. Changes that come while it is being told lead to one more notification, not to one each. */
  notify(channel: Channel, state: ResourceState): void;
  counters(): PushCounters;
  close(): Promise<void>;
}

/** What became of the notifications. */
export interface PushCounters {
  readonly delivered: number;
  readonly failed: number;
  readonly retried: number;
  readonly dropped: number;
  readonly duplicated: number;
}

/** How deliveries behave. */
export interface PushOptions {
  /** Between a change and its notification. */
  readonly delayMs: number;
  /** Before the first repetition; doubles with each. */
  readonly retryDelayMs: number;
  readonly maxRetries: number;
  readonly timeoutMs: number;
}

const TRY_AGAIN = new Set([500, 502, 503, 504]);

/** What deliveries are made with. */
interface PushDeps {
  readonly clock: Clock;
  readonly random: Random;
  readonly planFault: (channel: Channel) => FaultPlan;
}

interface Outbox {
  isSending: boolean;
  readonly waiting: Set<ResourceState>;
}

/**
 * Create the deliveries.
 *
 * State: per channel whether a message is on its way and which states wait; one message of a channel at a time. Faults with
 * operation `push.deliver` drop, delay and double messages. `close` gives up on what waits.
 */
export function createPushDelivery(options: PushOptions, deps: PushDeps): PushDelivery {
  const outboxes = new Map<string, Outbox>();
  const closing = new AbortController();
  const running = new Set<Promise<void>>();
  const counts = { delivered: 0, failed: 0, retried: 0, dropped: 0, duplicated: 0 };

  const deliver = createDeliver(options, { ...deps, counts, signal: closing.signal });
  const drain = async (channel: Channel, outbox: Outbox): Promise<void> => {
    outbox.isSending = true;
    try {
      for (const state of takeWaiting(outbox)) await deliver(channel, state);
    } catch (error) {
      if (!closing.signal.aborted) throw error;
    } finally {
      outbox.isSending = false;
      if (outbox.waiting.size === 0) outboxes.delete(channel.id);
    }
  };

  return {
    notify(channel, state) {
      if (closing.signal.aborted) return;
      let outbox = outboxes.get(channel.id);
      if (!outbox) {
        outbox = { isSending: false, waiting: new Set() };
        outboxes.set(channel.id, outbox);
      }
      outbox.waiting.add(state);
      if (outbox.isSending) return;
      const run = drain(channel, outbox)
        .catch(() => {
          counts.failed += 1;
        })
        .finally(() => {
          running.delete(run);
        });
      running.add(run);
    },
    counters: () => ({ ...counts }),
    async close() {
      closing.abort();
      await Promise.allSettled(running);
    },
  };
}

type Counts = { -readonly [name in keyof PushCounters]: PushCounters[name] };

/** One message to one channel: faults, copies, repetitions. */
function createDeliver(
  options: PushOptions,
  deps: PushDeps & { readonly counts: Counts; readonly signal: AbortSignal },
): (channel: Channel, state: ResourceState) => Promise<void> {
  const { counts, signal, clock } = deps;
  const sendUntilTaken = async (channel: Channel, state: ResourceState): Promise<void> => {
    for (let attempt = 0; ; attempt++) {
      const status = await post(channel, state, { timeoutMs: options.timeoutMs, signal });
      if (status >= 200 && status < 300) {
        counts.delivered += 1;
        return;
      }
      if (!TRY_AGAIN.has(status) || attempt >= options.maxRetries) {
        counts.failed += 1;
        return;
      }
      counts.retried += 1;
      await clock.sleep(options.retryDelayMs * 2 ** attempt, signal);
    }
  };
  return async (channel, state) => {
    const plan = deps.planFault(channel);
    await clock.sleep(options.delayMs + plan.delayMs, signal);
    if (plan.answer?.kind === "drop") {
      counts.dropped += 1;
      return;
    }
    const copies = plan.answer?.kind === "duplicate" ? 2 : 1;
    counts.duplicated += copies - 1;
    channel.messageNumber += 1 + deps.random.integer(3);
    for (let copy = 0; copy < copies; copy++) await sendUntilTaken(channel, state);
  };
}

function* takeWaiting(outbox: Outbox): Generator<ResourceState> {
  // A state added while another one is told is taken, too: a set hands out what comes in behind.
  for (const state of outbox.waiting) {
    outbox.waiting.delete(state);
    yield state;
  }
}

/** The status the receiver answered; 0 when it did not. */
function post(
  channel: Channel,
  state: ResourceState,
  limits: { readonly timeoutMs: number; readonly signal: AbortSignal },
): Promise<number> {
  const send = channel.address.startsWith("https:") ? httpsRequest : httpRequest;
  return new Promise((resolve) => {
    const request = send(
      channel.address,
      {
        method: "POST",
        headers: headersOf(channel, state),
        timeout: limits.timeoutMs,
        signal: limits.signal,
      },
      (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode ?? 0));
        response.on("error", () => resolve(0));
      },
    );
    request.on("timeout", () => {
      request.destroy();
    });
    request.on("error", () => resolve(0));
    request.end();
  });
}

function headersOf(channel: Channel, state: ResourceState): Record<string, string> {
  return {
    Accept: "*/*",
    "Content-Length": "0",
    "User-Agent": "APIs-Google; (+https://developers.google.com/webmasters/APIs-Google.html)",
    "X-Goog-Channel-ID": channel.id,
    "X-Goog-Channel-Expiration": new Date(channel.expirationMs).toUTCString(),
    "X-Goog-Message-Number": String(state === "sync" ? 1 : channel.messageNumber + 1),
    "X-Goog-Resource-ID": channel.resourceId,
    "X-Goog-Resource-State": state,
    "X-Goog-Resource-URI": channel.resourceUri,
    ...(channel.token === undefined ? {} : { "X-Goog-Channel-Token": channel.token }),
  };
}
