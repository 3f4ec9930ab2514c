import { createHmac } from "node:crypto";
import { once } from "node:events";
import { createServer } from "node:net";
import { onTestFinished, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { systemClock } from "../../src/core/clock.ts";
import { decodeCursor } from "../../src/core/change-wire.ts";
import { tenantId, type CalendarId } from "../../src/core/ids.ts";
import { makeWebhookSecret } from "../../src/core/webhook-secret.ts";
import { createPostWebhook, type PostWebhookOptions } from "../../src/operate/post-webhook.ts";
import {
  createWebhookSender,
  type SendWebhooksOptions,
  type WebhookOutcome,
  type WebhookSender,
} from "../../src/operate/send-webhooks.ts";
import { event, must, openTestStore, type TestStore } from "../conformance/store-fixture.ts";
import {
  startScriptedServer,
  type Answer,
  type ScriptedServer,
} from "../support/scripted-server.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

vi.setConfig({ testTimeout: 60_000 });

const ACME = tenantId("acme");
const OPTIONS: SendWebhooksOptions = {
  concurrency: 4,
  batch: 3,
  leaseMs: 60_000,
  firstRetryMs: 1_000,
  mostRetryMs: 60_000,
  giveUpAfterMs: 3_600_000,
  lookAtAllEveryMs: 0,
};
const bodySchema = z.object({
  type: z.enum(["changes", "changes.forgotten"]),
  data: z.object({
    tenant: z.string(),
    previous: z.string(),
    next: z.string(),
    changes: z.array(z.object({ kind: z.string(), eventId: z.string().optional() })),
  }),
});

interface World {
  readonly store: TestStore;
  readonly calendar: CalendarId;
  readonly receiver: ScriptedServer;
  readonly secret: string;
  readonly outcomes: WebhookOutcome[];
  readonly sender: WebhookSender;
  /** Everything that is due now, to its end. */
  sendDue(): Promise<void>;
}

function createSender(
  store: TestStore,
  outcomes: WebhookOutcome[],
  changes: { readonly post?: PostWebhookOptions; readonly lookAtAllEveryMs?: number } = {},
): WebhookSender {
  const { post = { timeoutMs: 30_000, allowPrivate: true }, lookAtAllEveryMs = 0 } = changes;
  return createWebhookSender(
    { ...OPTIONS, lookAtAllEveryMs },
    {
      ...store,
      post: createPostWebhook(post, { clock: systemClock }),
      random: () => 0.5,
      onOutcome: (outcome) => {
        outcomes.push(outcome);
      },
      onError: (error) => {
        throw error;
      },
      onFree: () => undefined,
    },
  );
}

async function openWorld(
  answer: (count: number) => Answer,
  post?: PostWebhookOptions,
): Promise<World> {
  const store = await openTestStore(`sqlite:${await temporaryDirectory()}/hooks.db`);
  const calendar = await store.connectOne();
  await store.refresh(calendar, { items: [] });
  const receiver = await startScriptedServer((_arrival, count) => answer(count));
  onTestFinished(() => receiver.close());
  const secret = makeWebhookSecret();
  const by = { actor: "olga", now: store.now() };
  await store.webhooks.set(ACME, { url: `${receiver.url}hook`, secret }, by);
  const outcomes: WebhookOutcome[] = [];
  const sender = createSender(store, outcomes, post === undefined ? {} : { post });
  const sendDue = async (): Promise<void> => {
    while ((await sender.look()) !== "idle") await sender.stop(new AbortController().signal);
  };
  return { store, calendar, receiver, secret, outcomes, sender, sendDue };
}

async function change({ store, calendar }: World, ...ids: readonly string[]): Promise<void> {
  await store.refresh(calendar, { kind: "incremental", items: ids.map((id) => event(id)) });
}

function told({ receiver }: World): readonly (string | undefined)[] {
  return receiver.arrivals.flatMap(({ body }) =>
    bodySchema.parse(JSON.parse(body)).data.changes.map(({ eventId }) => eventId),
  );
}

describe("a tenant's webhook", () => {
  test("is told every change in order, in bounded requests that follow each other, signed", async () => {
    const world = await openWorld(() => ({ status: 204 }));
    await change(world, "a", "b", "c", "d", "e");
    await change(world, "f");
    await world.sendDue();
    expect(told(world)).toEqual(["a", "b", "c", "d", "e", "f"]);
    const bodies = world.receiver.arrivals.map(({ body }) => bodySchema.parse(JSON.parse(body)));
    expect(bodies.map(({ data }) => data.changes.length)).toEqual([3, 3]);
    expect(bodies[1]?.data.previous).toBe(bodies[0]?.data.next);
    expect(decodeCursor(ACME, bodies[1]?.data.next ?? "")).toBe(
      await world.store.changes.head(ACME),
    );
    for (const { headers, body, method, path } of world.receiver.arrivals) {
      expect([method, path]).toEqual(["POST", "/hook"]);
      const id = String(headers["webhook-id"]);
      const key = Buffer.from(world.secret.slice("whsec_".length), "base64");
      const signed = `${id}.${String(headers["webhook-timestamp"])}.${body}`;
      const signature = createHmac("sha256", key).update(signed).digest("base64");
      expect(headers["webhook-signature"]).toBe(`v1,${signature}`);
      expect(Number(headers["webhook-timestamp"])).toBe(Math.floor(world.store.now() / 1_000));
    }
    await world.sendDue();
    expect(world.receiver.arrivals).toHaveLength(2);
  });

  test("that does not answer 2xx is sent the same again, later each time, until it does", async () => {
    const world = await openWorld((count) => ({ status: count < 4 ? 500 : 200 }));
    await change(world, "a");
    const waitsMs: number[] = [];
    for (let tries = 1; tries <= 3; tries += 1) {
      await world.sendDue();
      expect(world.receiver.arrivals).toHaveLength(tries);
      const { dueAt } = must(await world.store.webhooks.get(ACME));
      waitsMs.push(dueAt - world.store.now());
      await world.store.clock.advance(dueAt - world.store.now() - 1);
      await world.sendDue();
      expect(world.receiver.arrivals).toHaveLength(tries);
      await world.store.clock.advance(1);
    }
    expect(waitsMs).toEqual([1_000, 2_000, 4_000]);
    // What came meanwhile goes with it.
    await change(world, "b");
    await world.sendDue();
    expect(told(world)).toEqual(["a", "a", "a", "a", "b"]);
    expect(world.outcomes.map(({ outcome }) => outcome)).toEqual([
      "failed",
      "failed",
      "failed",
      "delivered",
    ]);
    expect(await world.store.webhooks.get(ACME)).toMatchObject({ state: "active", failures: 0 });
  });

  test("that says when to come back is not asked before, within an hour", async () => {
    const world = await openWorld(() => ({ status: 429, headers: { "retry-after": "30" } }));
    await change(world, "a");
    await world.sendDue();
    expect(must(await world.store.webhooks.get(ACME)).dueAt).toBe(world.store.now() + 30_000);
  });

  test("that redirects is not followed", async () => {
    const elsewhere = await startScriptedServer(() => ({ status: 200 }));
    onTestFinished(() => elsewhere.close());
    const world = await openWorld(() => ({ status: 307, headers: { location: elsewhere.url } }));
    await change(world, "a");
    await world.sendDue();
    expect(world.receiver.arrivals).toHaveLength(1);
    expect(elsewhere.arrivals).toHaveLength(0);
    expect(world.outcomes).toMatchObject([{ outcome: "failed", reason: "status-307" }]);
  });

  test("is disabled, once and with the reason, when it took nothing for too long; resumed it misses nothing", async () => {
    let isUp = false;
    const world = await openWorld(() => ({ status: isUp ? 200 : 503 }));
    await change(world, "a");
    await world.sendDue();
    await world.store.clock.advance(OPTIONS.giveUpAfterMs);
    await change(world, "b");
    await world.sendDue();
    await world.store.clock.advance(OPTIONS.giveUpAfterMs);
    await world.sendDue();
    expect(world.outcomes.map(({ outcome }) => outcome)).toEqual(["failed", "disabled"]);
    expect(await world.store.webhooks.get(ACME)).toMatchObject({
      state: "disabled",
      reason: "status-503",
    });
    isUp = true;
    world.receiver.arrivals.length = 0;
    await world.store.webhooks.resume(ACME, { actor: "olga", now: world.store.now() });
    await world.sendDue();
    expect(told(world)).toEqual(["a", "b"]);
  });

  test("that answers 410 is not sent anything more", async () => {
    const world = await openWorld(() => ({ status: 410 }));
    await change(world, "a");
    await world.sendDue();
    expect(await world.store.webhooks.get(ACME)).toMatchObject({ state: "disabled" });
  });

  test("whose changes were forgotten is told so, and goes on", async () => {
    const world = await openWorld(() => ({ status: 200 }));
    await change(world, "a");
    await world.store.changes.forget(world.store.later(1), 100);
    await world.sendDue();
    await change(world, "b");
    await world.sendDue();
    const bodies = world.receiver.arrivals.map(({ body }) => bodySchema.parse(JSON.parse(body)));
    expect(bodies.map(({ type }) => type)).toEqual(["changes.forgotten", "changes"]);
    expect(told(world)).toEqual(["b"]);
  });

  test("that never answers holds up nobody else, and is given back when the process stops", async () => {
    const world = await openWorld(() => ({ hang: true }));
    const { store } = world;
    const quick = await startScriptedServer(() => ({ status: 200 }));
    onTestFinished(() => quick.close());
    const { calendars } = await store.connect("globex", "gil", ["gil@example.test"]);
    const set = { url: quick.url, secret: makeWebhookSecret() };
    await store.webhooks.set(tenantId("globex"), set, { actor: "olga", now: store.now() });
    await change(world, "a");
    expect(await world.sender.look()).toBe("took");
    await vi.waitFor(() => expect(world.receiver.arrivals).toHaveLength(1), { timeout: 30_000 });
    // One at a time for a tenant, in all processes.
    await change(world, "b");
    const other = createSender(store, world.outcomes);
    expect(await other.look()).toBe("idle");
    await store.refresh(must(calendars[0]), { items: [event("x")] });
    expect(await world.sender.look()).toBe("took");
    await vi.waitFor(() => expect(world.outcomes).toHaveLength(1), { timeout: 30_000 });
    expect(world.outcomes).toMatchObject([{ outcome: "delivered", claim: { tenantId: "globex" } }]);
    await world.sender.stop(AbortSignal.abort());
    expect(world.outcomes.at(-1)).toMatchObject({ outcome: "released" });
    expect(await other.look()).toBe("took");
    await other.stop(AbortSignal.abort());
  });

  test("is found by what is new alone, and then by nothing: a look costs no step for each webhook", async () => {
    const world = await openWorld(() => ({ status: 200 }));
    const { store, outcomes } = world;
    const sender = createSender(store, outcomes, { lookAtAllEveryMs: 1e9 });
    const claims = vi.spyOn(store.webhooks, "claimDue");
    expect(await sender.look()).toBe("idle");
    expect(claims).toHaveBeenCalledTimes(1);
    expect(await sender.look()).toBe("idle");
    expect(claims).toHaveBeenCalledTimes(1);
    await change(world, "a", "b", "c", "d");
    expect(await sender.look()).toBe("took");
    // Perhaps while it is on its way; and more than one request has room for.
    await change(world, "e");
    do await sender.stop(new AbortController().signal);
    while ((await sender.look()) !== "idle");
    expect(told(world)).toEqual(["a", "b", "c", "d", "e"]);
  });

  test("that is slower than its time is failing, as one is that cuts the connection", async () => {
    const hanging = await openWorld(() => ({ hang: true }), { timeoutMs: 50, allowPrivate: true });
    await change(hanging, "a");
    await hanging.sendDue();
    const cutting = await openWorld(() => ({ cut: true }));
    await change(cutting, "a");
    await cutting.sendDue();
    expect([...hanging.outcomes, ...cutting.outcomes]).toMatchObject([
      { outcome: "failed", reason: "timeout" },
      { outcome: "failed", reason: "connection-failed" },
    ]);
  });
});

/** Name servers that never answer. */
function silent(_name: string, signal: AbortSignal): Promise<readonly string[]> {
  return new Promise((resolve) => {
    signal.addEventListener("abort", () => resolve([]), { once: true });
  });
}

test("a receiver that switches protocols has failed, as one that closes the connection has", async () => {
  const receiver = createServer((socket) => {
    socket.once("data", () => {
      socket.end("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    });
  });
  receiver.listen(0, "127.0.0.1");
  await once(receiver, "listening");
  onTestFinished(() => {
    receiver.close();
  });
  const address = receiver.address();
  if (address === null || typeof address === "string") throw new Error("No port");
  const post = createPostWebhook({ timeoutMs: 30_000, allowPrivate: true }, { clock: systemClock });
  const url = `http://127.0.0.1:${String(address.port)}/`;
  const signal = new AbortController().signal;
  expect(await post({ url, headers: {}, body: "{}" }, signal)).toEqual({
    kind: "failed",
    reason: "connection-failed",
  });
});

describe("a webhook's address", () => {
  const post = { url: "https://app.example/hook", headers: {}, body: "{}" };
  const never = new AbortController().signal;

  test.each([["127.0.0.1"], ["169.254.169.254"], ["::1", "10.0.0.1"]])(
    "is not called when its name leads to %s",
    async (...addresses) => {
      const send = createPostWebhook(
        { timeoutMs: 30_000, allowPrivate: false },
        { clock: systemClock, resolve: () => Promise.resolve(addresses) },
      );
      expect(await send(post, never)).toEqual({ kind: "failed", reason: "address-refused" });
    },
  );

  test("whose name leads nowhere is failing", async () => {
    const send = createPostWebhook(
      { timeoutMs: 30_000, allowPrivate: false },
      { clock: systemClock, resolve: () => Promise.resolve([]) },
    );
    expect(await send(post, never)).toEqual({ kind: "failed", reason: "name-unknown" });
  });

  test("whose name servers are silent is failing when its time is over", async () => {
    const send = createPostWebhook(
      { timeoutMs: 50, allowPrivate: false },
      { clock: systemClock, resolve: silent },
    );
    expect(await send(post, never)).toEqual({ kind: "failed", reason: "timeout" });
  });

  test("is called at the addresses that were judged, and its name is not looked up again", async () => {
    const receiver = await startScriptedServer(() => ({ status: 200 }));
    onTestFinished(() => receiver.close());
    const { port } = new URL(receiver.url);
    const send = createPostWebhook(
      { timeoutMs: 30_000, allowPrivate: false },
      {
        clock: systemClock,
        resolve: () => Promise.resolve(["10.0.0.1", "127.0.0.1"]),
        isReachable: (address) => address === "127.0.0.1",
      },
    );
    // It was reached, and speaks no TLS.
    const result = await send({ ...post, url: `https://no-such-name.example:${port}/` }, never);
    expect(result).toEqual({ kind: "failed", reason: "tls-failed" });
    expect(receiver.connections()).toBe(1);
  });

  test("is not called where it is none of the public ones, whatever was written to the database", async () => {
    const receiver = await startScriptedServer(() => ({ status: 200 }));
    onTestFinished(() => receiver.close());
    const send = createPostWebhook(
      { timeoutMs: 30_000, allowPrivate: false },
      { clock: systemClock },
    );
    const result = await send({ ...post, url: receiver.url }, never);
    expect(result).toEqual({ kind: "failed", reason: "address-refused" });
    expect(receiver.connections()).toBe(0);
  });
});
