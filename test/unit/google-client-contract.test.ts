import nock from "nock";
import { afterEach, beforeEach, expect, test } from "vitest";
import { bearer, createCalendarClient } from "../../src/google/google-client.ts";

/**
 * What the generated client puts on the wire, whoever answers. nock answers an unmatched request with
 * an error of its own, which a retry policy might take for the server's: so every test also fails when
 * there was one.
 */
const ROOT = "https://calendar.example.test/";
const unmatched: string[] = [];
const noteUnmatched = (request: Request): void => {
  unmatched.push(request.url);
};

beforeEach(() => {
  unmatched.length = 0;
  nock.disableNetConnect();
  nock.emitter.on("no match", noteUnmatched);
});

afterEach(() => {
  nock.emitter.off("no match", noteUnmatched);
  nock.cleanAll();
  nock.enableNetConnect();
  if (unmatched.length > 0) throw new Error(`Unmatched requests: ${unmatched.join(", ")}`);
});

const client = createCalendarClient({ rootUrl: ROOT }, { fetch: globalThis.fetch });
const auth = bearer("token-value");

test("a listing asks with exactly its parameters and the bearer token", async () => {
  const scope = nock(ROOT, { reqheaders: { authorization: "Bearer token-value" } })
    .get("/calendar/v3/calendars/primary/events")
    .query({ singleEvents: "false", maxResults: "2500", syncToken: "CPDAlvWDx70CEPDAlvWDx70CGAU=" })
    .reply(200, { items: [], nextSyncToken: "next" });
  await client.events.list({
    auth,
    calendarId: "primary",
    singleEvents: false,
    maxResults: 2500,
    syncToken: "CPDAlvWDx70CEPDAlvWDx70CGAU=",
  });
  expect(scope.isDone()).toBe(true);
});

test.for(["team:a/b#c%2F@group.calendar.google.com", "büro ☕", "100%", "a+b&c=d"])(
  "the calendar id %s is encoded once",
  async (calendarId) => {
    const paths: string[] = [];
    nock(ROOT)
      .get((path) => {
        paths.push(path);
        return true;
      })
      .reply(200, { items: [] });
    await client.events.list({ auth, calendarId });
    const [, encoded] = /\/calendars\/([^/]+)\/events/.exec(paths[0] ?? "") ?? [];
    expect(decodeURIComponent(encoded ?? "")).toBe(calendarId);
  },
);

test.for([401, 403, 429, 500, 503])("an answer of %i is one request", async (status) => {
  const asked: string[] = [];
  nock(ROOT)
    .persist()
    .get(/.*/)
    .query(true)
    .reply(() => {
      asked.push("GET");
      return [status, { error: { code: status, message: "no", errors: [{ reason: "no" }] } }];
    });
  await expect(client.events.list({ auth, calendarId: "primary" })).rejects.toThrow("no");
  expect(asked).toEqual(["GET"]);
});

test("a broken connection is one request", async () => {
  const asked: string[] = [];
  nock(ROOT)
    .persist()
    .get(/.*/)
    .query(() => {
      asked.push("GET");
      return true;
    })
    .replyWithError("connection reset");
  await expect(client.events.list({ auth, calendarId: "primary" })).rejects.toThrow(
    /connection reset|fetch failed/,
  );
  expect(asked).toEqual(["GET"]);
});
