import { expect, test } from "vitest";
import {
  createRefreshAsker,
  RefreshNotRequested,
  type RefreshAsker,
} from "../../packages/client/src/request-refresh.ts";
import { createManualClock, type ManualClock } from "../support/manual-clock.ts";

const ENDPOINT = { url: "https://ballast.example.test/base/", token: "secret" };
const target = (googleCalendarId: string) =>
  ({ tenant: "acme", account: "ada", googleCalendarId }) as const;

interface Bench {
  readonly asker: RefreshAsker;
  readonly clock: ManualClock;
  /** The calendars that were asked for, in order. */
  readonly asked: string[];
  readonly urls: string[];
  /** Answers the oldest request that waits for one. */
  readonly answer: (response: Response | Error) => void;
}

function createBench(): Bench {
  const clock = createManualClock();
  const asked: string[] = [];
  const urls: string[] = [];
  const waiting: PromiseWithResolvers<Response>[] = [];
  const send: typeof fetch = (input, init) => {
    const body = JSON.parse(init?.body as string) as { googleCalendarId: string };
    asked.push(body.googleCalendarId);
    urls.push(input as string);
    const reply = Promise.withResolvers<Response>();
    init?.signal?.addEventListener("abort", () => {
      reply.reject(new Error("aborted"));
    });
    waiting.push(reply);
    return reply.promise;
  };
  return {
    asker: createRefreshAsker(ENDPOINT, { clock, fetch: send }),
    clock,
    asked,
    urls,
    answer: (response) => {
      const reply = waiting.shift();
      if (reply === undefined) throw new Error("Nothing waits for an answer");
      if (response instanceof Error) reply.reject(response);
      else reply.resolve(response);
    },
  };
}

const marked = (): Response => new Response("{}", { status: 202 });
const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    (error: unknown) => error,
  );
const settle = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

test("however many writes come while one is asked, one more ask follows it", async () => {
  const { asker, asked, urls, answer } = createBench();
  const first = asker.ask(target("a"));
  const later = [asker.ask(target("a")), asker.ask(target("a")), asker.ask(target("a"))];
  expect(asked).toEqual(["a"]);
  answer(marked());
  await first;
  await settle();
  // The first may have been served before the later writes were made.
  expect(asked).toEqual(["a", "a"]);
  answer(marked());
  await Promise.all(later);
  expect(new Set(urls)).toEqual(new Set(["https://ballast.example.test/base/v1/refresh"]));
});

test("four are asked at a time, and a thousand may wait", async () => {
  const { asker, asked, answer } = createBench();
  const all = Array.from({ length: 1_004 }, (_, index) => asker.ask(target(`c${index}`)));
  expect(asked).toHaveLength(4);
  expect(await caught(asker.ask(target("one too many")))).toBeInstanceOf(RefreshNotRequested);
  for (const [index] of all.entries()) {
    answer(marked());
    await all[index];
    await settle();
  }
  expect(asked).toHaveLength(1_004);
});

test("trouble is tried again, three times in all; a refusal is not", async () => {
  const { asker, clock, asked, answer } = createBench();
  const troubled = caught(asker.ask(target("a")));
  answer(new Error("connection refused"));
  await settle();
  await clock.advance(1_000);
  answer(new Response("", { status: 503 }));
  await settle();
  await clock.advance(1_000);
  answer(new Response("", { status: 429, headers: { "retry-after": "1" } }));
  expect(await troubled).toMatchObject({ status: 429, target: target("a") });
  expect(asked).toEqual(["a", "a", "a"]);

  const refused = caught(asker.ask(target("b")));
  answer(new Response(JSON.stringify({ detail: "unknown calendar" }), { status: 404 }));
  expect(String(await refused)).toContain("unknown calendar");
  expect(asked).toEqual(["a", "a", "a", "b"]);
});

test("closing ends what waits and what is under way, and nothing is asked after", async () => {
  const { asker, asked } = createBench();
  const calendars = ["a", "b", "c", "d", "e", "f"];
  const all = calendars.map((id) => caught(asker.ask(target(id))));
  await asker.close();
  for (const error of await Promise.all(all)) expect(error).toBeInstanceOf(RefreshNotRequested);
  expect(await caught(asker.ask(target("g")))).toBeInstanceOf(RefreshNotRequested);
  expect(asked).toHaveLength(4);
});
