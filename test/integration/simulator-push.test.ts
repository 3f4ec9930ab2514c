import { createServer } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, beforeEach, expect, test } from "vitest";
import { vi } from "vitest";
import { createSimulator } from "../../src/simulator/simulator.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";
import { connectClient, control } from "../support/simulator-client.ts";
import type { SimulatorAnswer, SimulatorClient } from "../support/simulator-client.ts";

interface Received {
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

let simulator: Simulator;
let client: SimulatorClient;
let received: Received[] = [];
/** What the receiver answers, one after the other; 204 when none is left. */
let answers: number[] = [];
let address = "";

const receiver = createServer((request, response) => {
  let body = "";
  request.on("data", (chunk: Buffer) => {
    body += chunk.toString();
  });
  request.on("end", () => {
    received.push({ headers: request.headers, body });
    response.writeHead(answers.shift() ?? 204).end();
  });
});

beforeEach(async () => {
  received = [];
  answers = [];
  await new Promise<void>((resolve) => {
    receiver.listen(0, "127.0.0.1", resolve);
  });
  address = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/google/notifications`;
  simulator = await createSimulator({
    seed: "push",
    generate: { accounts: 1, calendars: 1, events: 0 },
    push: { retryDelayMs: 5 },
  });
  client = await connectClient(simulator);
});
afterEach(async () => {
  await simulator.close();
  receiver.closeAllConnections();
  await new Promise((resolve) => {
    receiver.close(resolve);
  });
});

function watch(body: object = {}): Promise<SimulatorAnswer> {
  return client.post("calendars/primary/events/watch", {
    id: "channel-1",
    type: "web_hook",
    address,
    token: "secret-token",
    ...body,
  });
}

function change(): void {
  simulator.changes.apply(1, { calendars: [client.account.email] });
}

function states(): unknown[] {
  return received.map(({ headers }) => headers["x-goog-resource-state"]);
}

test("a channel hears sync first, then of every change, with Google's headers and no body", async () => {
  const channel = (await watch()).body as unknown as Record<string, string>;
  expect(channel).toMatchObject({ kind: "api#channel", id: "channel-1", token: "secret-token" });
  // A week, unless asked otherwise.
  expect(Number(channel["expiration"]) - Date.now()).toBeGreaterThan(6.99 * 86_400_000);
  await vi.waitFor(() => expect(states()).toEqual(["sync"]), 60_000);
  change();
  await vi.waitFor(() => expect(states()).toEqual(["sync", "exists"]), 60_000);
  const [first, second] = received;
  expect(first?.headers).toMatchObject({
    "x-goog-channel-id": "channel-1",
    "x-goog-channel-token": "secret-token",
    "x-goog-channel-expiration": new Date(Number(channel["expiration"])).toUTCString(),
    "x-goog-resource-id": channel["resourceId"],
    "x-goog-resource-uri": channel["resourceUri"],
    "x-goog-message-number": "1",
    "content-length": "0",
  });
  expect(first?.body).toBe("");
  expect(Number(second?.headers["x-goog-message-number"])).toBeGreaterThan(1);
});

test("delivery is tried again on 500, 502, 503 and 504, and given up on anything else", async () => {
  answers = [500, 502, 503, 504];
  await watch();
  await vi.waitFor(() => expect(received).toHaveLength(5), 60_000);
  answers = [404];
  change();
  await vi.waitFor(() => expect(simulator.counters().push.failed).toBe(1), 60_000);
  expect(received).toHaveLength(6);
  expect(simulator.counters().push).toMatchObject({ delivered: 1, retried: 4 });
});

function rule(answer: object): Promise<unknown> {
  return control(simulator, "POST faults", {
    faults: [{ match: { operation: "push.deliver", times: 1 }, answer }],
  });
}

test("notifications are dropped, delayed and doubled on demand", async () => {
  await watch();
  await vi.waitFor(() => expect(received).toHaveLength(1), 60_000);
  await rule({ kind: "drop" });
  change();
  await vi.waitFor(() => expect(simulator.counters().push.dropped).toBe(1), 60_000);
  await rule({ kind: "duplicate" });
  change();
  await vi.waitFor(() => expect(received).toHaveLength(3), 60_000);
  expect(received[1]?.headers["x-goog-message-number"]).toBe(
    received[2]?.headers["x-goog-message-number"],
  );
  await rule({ kind: "latency", latency: { distribution: "fixed", ms: 80 } });
  const startedMs = performance.now();
  change();
  await vi.waitFor(() => expect(received).toHaveLength(4), 60_000);
  expect(performance.now() - startedMs).toBeGreaterThan(75);
});

function stop(resourceId: string | undefined): Promise<SimulatorAnswer> {
  return client.post("channels/stop", { id: "channel-1", resourceId });
}

test("a stopped channel is silent, and only its owner with its resource id can stop it", async () => {
  const { resourceId } = (await watch()).body as unknown as Record<string, string>;
  await vi.waitFor(() => expect(received).toHaveLength(1), 60_000);
  expect((await stop("wrong")).status).toBe(404);
  expect((await stop(resourceId)).status).toBe(204);
  change();
  expect((await stop(resourceId)).status).toBe(404);
  await simulator.close();
  expect(received).toHaveLength(1);
});

test("a channel falls silent when it expires", async () => {
  await watch({ params: { ttl: "1" } });
  await vi.waitFor(() => expect(received).toHaveLength(1), 60_000);
  await vi.waitFor(() => {
    change();
    expect(simulator.channels.all.size).toBe(0);
  }, 60_000);
  const heard = received.length;
  change();
  await simulator.close();
  expect(received.length).toBeLessThanOrEqual(heard + 1);
});

function reason(answer: SimulatorAnswer): unknown {
  return [answer.status, answer.body.error?.errors[0]?.reason];
}

test("the channels of a deleted calendar hear that it does not exist", async () => {
  const calendar = simulator.accounts()[0]?.list.items[1]?.calendarId ?? "";
  const path = `calendars/${encodeURIComponent(calendar)}/events/watch`;
  await client.post(path, { id: "channel-2", type: "web_hook", address });
  await vi.waitFor(() => expect(states()).toEqual(["sync"]), 60_000);
  await control(simulator, "POST calendars", { id: calendar, isDeleted: true });
  await vi.waitFor(() => expect(states()).toEqual(["sync", "not_exists"]), 60_000);
});

test("what cannot be watched is refused as Google does", async () => {
  await watch();
  expect(reason(await watch())).toEqual([400, "channelIdNotUnique"]);
  const calendar = client.account.email;
  await control(simulator, "POST calendars", { id: calendar, isWatchable: false });
  expect(reason(await watch({ id: "other" }))).toEqual([
    400,
    "pushNotSupportedForRequestedResource",
  ]);
  for (const bad of [
    { address: "http://example.com/hook" },
    { address: "nonsense" },
    { id: "x".repeat(65) },
    { type: "mail" },
    { token: "x".repeat(257) },
  ]) {
    expect((await watch({ id: "fresh", ...bad })).status).toBe(400);
  }
});
