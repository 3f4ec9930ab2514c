import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Clock } from "../core/clock.ts";
import type { CalendarId } from "../core/ids.ts";
import type { NotificationOutcome } from "../observability/metrics.ts";
import { HttpProblem } from "./http-problem.ts";
import { answerProblem } from "./send-problem.ts";
import type { KnownChannels } from "./known-channels.ts";
import type { NotificationRecorder } from "./record-notifications.ts";

/** What the route asks and tells. */
export interface NotificationRouteDeps {
  readonly isOurs: (channelId: string, token: string) => boolean;
  readonly channels: KnownChannels;
  readonly recorder: NotificationRecorder;
  readonly onNotification: (outcome: NotificationOutcome) => void;
  readonly clock: Clock;
}

const BODY_LIMIT_BYTES = 4_096;
const MAX_ID_LENGTH = 64;
const MAX_TOKEN_LENGTH = 256;
/** Together with writing it down: Google is answered within it. */
const KEEP_WITHIN_MS = 1_000;

/**
 * `POST /google/notifications`: Google says that a calendar changed. 2xx means that this is written down;
 * 503 that it could not be, and Google delivers it again. The token is checked before any store is touched.
 * The body is empty, and never parsed if it is not.
 */
export async function addNotificationRoute(
  server: FastifyInstance,
  deps: NotificationRouteDeps,
): Promise<void> {
  await server.register((scope, _options, done) => {
    scope.removeAllContentTypeParsers();
    scope.addContentTypeParser(
      "*",
      { parseAs: "buffer", bodyLimit: BODY_LIMIT_BYTES },
      (_request, _body, parsed) => {
        parsed(null);
      },
    );
    // No page of ours, so no headers for browsers: they would cost more than the route's own work.
    const options = { bodyLimit: BODY_LIMIT_BYTES, helmet: false } as const;
    scope.post("/google/notifications", options, async (request, reply) => {
      const outcome = await receive(request, deps);
      deps.onNotification(outcome);
      const problem = problemOf(outcome);
      // Not thrown: a database that is away would be a line in the log for each notification.
      if (problem !== undefined) return answerProblem(problem, { request, reply });
      return reply.code(204).send();
    });
    done();
  });
}

function problemOf(outcome: NotificationOutcome): HttpProblem | undefined {
  if (outcome === "malformed") {
    return new HttpProblem("bad-request", { detail: "This is not a notification of Google's." });
  }
  // Nothing is said about whether there is such a channel.
  if (outcome === "forged") return new HttpProblem("route-unknown", { detail: "Nothing is here." });
  if (outcome !== "not-kept") return undefined;
  return new HttpProblem("store-unavailable", {
    detail: "The notification could not be written down in time. Deliver it again.",
    retryAfterSeconds: 1,
  });
}

async function receive(
  request: FastifyRequest,
  deps: NotificationRouteDeps,
): Promise<NotificationOutcome> {
  const channelId = headerOf(request, "x-goog-channel-id", MAX_ID_LENGTH);
  const token = headerOf(request, "x-goog-channel-token", MAX_TOKEN_LENGTH);
  const state = headerOf(request, "x-goog-resource-state", MAX_ID_LENGTH);
  if (channelId === undefined || state === undefined) return "malformed";
  if (token === undefined || !deps.isOurs(channelId, token)) return "forged";
  if (state === "sync") return "sync";
  try {
    const keep = (calendarId: CalendarId | undefined): Promise<NotificationOutcome> =>
      calendarId === undefined
        ? Promise.resolve("unknown")
        : deps.recorder.record({ calendarId, channelId });
    const known = deps.channels.calendarOf(channelId);
    // The recorder keeps to the time by itself, at the cost of one timer for all of a batch.
    if (!(known instanceof Promise)) return await keep(known);
    return await inTime(known.then(keep), deps.clock);
  } catch {
    // The database cannot be asked, or not soon enough: it says so itself, everywhere else.
    return "not-kept";
  }
}

async function inTime<T>(answer: Promise<T>, clock: Clock): Promise<T> {
  const done = new AbortController();
  const late = clock.sleep(KEEP_WITHIN_MS, done.signal).then(() => {
    throw new Error("The database did not answer in time");
  });
  // Whichever comes second is nobody's business any more.
  late.catch(() => undefined);
  answer.catch(() => undefined);
  try {
    return await Promise.race([answer, late]);
  } finally {
    done.abort();
  }
}

function headerOf(request: FastifyRequest, name: string, limit: number): string | undefined {
  const value = request.headers[name];
  const isUsable = typeof value === "string" && value !== "" && value.length <= limit;
  return isUsable ? value : undefined;
}
