import { GaxiosError } from "gaxios";
import { expect, test } from "vitest";
import { CallFailed } from "../../src/core/failure.ts";
import { describeError } from "../../src/observability/describe-error.ts";
import { createLogger, type Logger } from "../../src/observability/logger.ts";
import { createMetrics } from "../../src/observability/metrics.ts";
import { METRIC_NAMES } from "../../src/observability/metric-names.ts";
import { createRunRecorder } from "../../src/observability/run-record.ts";

function record(format: "json" | "text"): { readonly logger: Logger; readonly output: string[] } {
  const output: string[] = [];
  const logger = createLogger(
    { level: "info", format },
    {
      write: (line) => {
        output.push(line);
      },
    },
  );
  return { logger, output };
}

/** As google-auth-library and the Calendar client throw them: with the whole request hanging on. */
function googleError(): GaxiosError {
  const config = {
    url: new URL("https://www.googleapis.com/calendar/v3/calendars/ann%40example.org/events"),
    headers: new Headers({ authorization: "Bearer ya29.A0ARrdaM-secret" }),
    data: { summary: "Salary talk", attendees: [{ email: "bob@example.org" }] },
  };
  return new GaxiosError(
    "request to https://www.googleapis.com/calendar/v3/calendars/ann%40example.org/events?access_token=ya29.abc failed",
    config,
  );
}

test("an error of Google's client is logged with its causes and without its request", () => {
  const { logger, output } = record("json");
  const error = new CallFailed(
    { kind: "timed-out" },
    { operation: "events.list", cause: googleError() },
  );
  logger.log("error", "Job run", { error });

  const [line = ""] = output;
  expect(JSON.parse(line)).toMatchObject({
    error: {
      name: "CallFailed",
      code: "GCAL_TIMED_OUT",
      kind: "timed-out",
      operation: "events.list",
      cause: { message: expect.stringContaining("/calendars/[address]/events") as unknown },
    },
  });
  for (const secret of ["ya29", "ann", "example.org", "Salary", "authorization", "Bearer"]) {
    expect(line).not.toContain(secret);
  }
});

test("a private field is hidden however deep it lies; a number of that name is not", () => {
  const { logger, output } = record("json");
  logger.log("info", "State", {
    request: { headers: { Authorization: "Bearer abc.def" }, list: [{ refreshToken: "1//0abc" }] },
    refreshToken: 3,
    database: "postgres://ballast:hunter2@db/ballast",
    calendar: "team@group.calendar.google.com",
    note: "asked with 1//0gabcdefghijklmnop and ya29.xyz",
  });
  const [line = ""] = output;
  expect(JSON.parse(line)).toMatchObject({
    request: { headers: { Authorization: "[hidden]" }, list: [{ refreshToken: "[hidden]" }] },
    refreshToken: 3,
    database: "postgres://ballast:[hidden]@db/ballast",
    calendar: "[address]",
    note: "asked with [hidden] and [hidden]",
  });
});

test("causes end somewhere, even where an error is its own cause", () => {
  const error = new Error("round");
  error.cause = error;
  expect(JSON.stringify(describeError(error)).match(/round/g)).toHaveLength(6);
  expect(describeError("a string")).toEqual({ name: "NotAnError", message: "a string" });
});

test("lines below the level are not written, and fields are inherited", () => {
  const { logger, output } = record("json");
  const worker = logger.with({ worker: 3 });
  worker.log("debug", "Nobody sees this");
  worker.log("info", "Started", { concurrency: 10 });
  expect(output).toHaveLength(1);
  expect(JSON.parse(output[0] ?? "")).toMatchObject({
    level: "info",
    message: "Started",
    worker: 3,
    concurrency: 10,
  });
});

test("at a terminal a line is short and names the causes", () => {
  const { logger, output } = record("text");
  logger.log("warn", "Database slow", {
    waitMs: 12,
    error: new Error("timeout", { cause: new Error("pool is full") }),
  });
  expect(output[0]).toMatch(
    /^\d\d:\d\d:\d\d warn {2}Database slow {2}waitMs=12\n +Error: timeout\n +because Error: pool is full\n$/,
  );
});

test("a job run is one wide line, its figures are counted, and no metric is unnamed", async () => {
  const { logger, output } = record("json");
  const metrics = createMetrics({ withProcess: false });
  const recordRun = createRunRecorder({ logger, metrics });
  const run = { queue: "background", job: "refresh-calendar", jobId: "1", queueWaitMs: 5 };
  recordRun({
    ...run,
    outcome: "published",
    durationMs: 120,
    facts: { calendarId: "cal_1", class: "poll", requests: 1 },
    error: undefined,
  });
  recordRun({ ...run, outcome: "set-aside", durationMs: 1, facts: {}, error: undefined });
  metrics.requestFinished({
    operation: "events.list",
    class: "poll",
    attempt: "first",
    outcome: "failed",
    reason: "rate-limited",
    durationMs: 80,
  });
  metrics.permitWaited({ class: "poll", outcome: "granted", waitMs: 3 });
  metrics.refreshFinished({ kind: "full", outcome: "published", durationMs: 9, eventsChanged: 4 });
  metrics.setCalendars({ fresh: 7 });
  metrics.setCalendars({ stale: 1 });
  metrics.setBacklog({ push: 2 });

  expect(output).toHaveLength(2);
  expect(JSON.parse(output[0] ?? "")).toMatchObject({
    message: "Job run",
    outcome: "published",
    calendarId: "cal_1",
    requests: 1,
  });
  const figures = await metrics.render();
  expect(figures).toContain(
    'ballast_jobs_total{queue="background",job="refresh-calendar",outcome="published"} 1',
  );
  expect(figures).toContain('ballast_unparseable_jobs_total{queue="background"} 1');
  expect(figures).toContain('ballast_calendars{state="fresh"} 0');
  expect(figures).toContain('ballast_calendars{state="stale"} 1');
  const rendered = [...figures.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1]);
  expect(new Set(rendered)).toEqual(new Set(Object.values(METRIC_NAMES)));
});
