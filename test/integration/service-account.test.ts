import { generateKeyPairSync } from "node:crypto";
import { expect, onTestFinished, test } from "vitest";
import { epochMs, systemClock, type Clock } from "../../src/core/clock.ts";
import type { Grant } from "../../src/core/credentials-source.ts";
import { CallFailed } from "../../src/core/failure.ts";
import { accountId, consumer, googleCalendarId } from "../../src/core/ids.ts";
import { createSimulator, type Simulator } from "../../src/simulator/simulator.ts";
import { createTestSource, type TestSource } from "../support/test-source.ts";

const ROBOT = "robot@project.iam.example";
const keys = generateKeyPairSync("rsa", {
  modulusLength: 2048,
  publicKeyEncoding: { type: "spki", format: "pem" },
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
});

interface World {
  readonly simulator: Simulator;
  readonly as: (subject: string, privateKey?: string) => TestSource;
}

async function openWorld(clock: Clock = systemClock): Promise<World> {
  const simulator = await createSimulator(
    {
      seed: "robot",
      generate: { accounts: 2, calendars: 1, events: 1 },
      serviceAccounts: [{ email: ROBOT, publicKey: keys.publicKey, project: "1" }],
    },
    { clock },
  );
  onTestFinished(() => simulator.close());
  return {
    simulator,
    as: (subject, privateKey = keys.privateKey) => {
      const grant: Grant = {
        kind: "service-account",
        clientEmail: ROBOT,
        privateKey,
        subject,
        scopes: ["https://www.googleapis.com/auth/calendar.readonly"],
      };
      const source = createTestSource({
        apiRootUrl: simulator.url,
        tokenUrl: simulator.tokenUrl,
        grant,
      });
      onTestFinished(() => source.guard.close());
      return source;
    },
  };
}

function list({ source }: TestSource, calendar: string): Promise<unknown> {
  return source.listEvents(
    { accountId: accountId("acc_1"), googleCalendarId: googleCalendarId(calendar) },
    { syncToken: undefined, pageToken: undefined, pageSize: 10 },
    {
      consumer: consumer("test"),
      class: "interactive",
      earlierAttempt: "none",
      deadlineMs: 10_000,
      signal: new AbortController().signal,
    },
  );
}

/** Google's time, this much ahead of ours. */
function ahead(ms: number): Clock {
  return { ...systemClock, now: () => epochMs(systemClock.now() + ms) };
}

test("acts for a person by domain-wide delegation, and names whom Google is to charge, hashed", async () => {
  const { simulator, as } = await openWorld();
  const [user] = simulator.accounts();
  const address = user?.email ?? "";
  expect(await list(as(address), address)).toMatchObject({ nextPageToken: undefined });
  const { mostArrivals, unattributed } = simulator.counters();
  expect(unattributed).toBe(0);
  const [charged = "", ...others] = Object.keys(mostArrivals.byQuotaUser);
  expect(others).toEqual([]);
  expect(charged).toMatch(/^[0-9a-f]{40}$/);
});

test.for([600_000, -7_200_000])(
  "a clock that is off by %d ms is told from a grant that is dead",
  async (skewMs) => {
    const { simulator, as } = await openWorld(ahead(-skewMs));
    const [user] = simulator.accounts();
    const refused = list(as(user?.email ?? ""), user?.email ?? "");
    await expect(refused).rejects.toMatchObject({ failure: { kind: "clock-skewed" } });
    const error = await refused.catch((error_: unknown) => error_);
    const failure = error instanceof CallFailed ? error.failure : undefined;
    const told = failure?.kind === "clock-skewed" ? failure.skewMs : undefined;
    expect(Math.abs(Number(told) - skewMs)).toBeLessThan(2_000);
  },
);

test("Google's text need not name the clock: the time in its answer does", async () => {
  const { simulator, as } = await openWorld(ahead(-600_000));
  simulator.faults.install({
    faults: [
      {
        match: { operation: "oauth.token" },
        answer: { kind: "error", status: 400, reason: "invalid_grant", message: "Bad Request" },
      },
    ],
  });
  const [user] = simulator.accounts();
  await expect(list(as(user?.email ?? ""), user?.email ?? "")).rejects.toMatchObject({
    failure: { kind: "clock-skewed" },
  });
});

test("with clocks that agree an invalid_grant is the account's", async () => {
  const { simulator, as } = await openWorld();
  simulator.faults.install({
    faults: [
      {
        match: { operation: "oauth.token" },
        answer: { kind: "error", status: 400, reason: "invalid_grant", message: "Bad Request" },
      },
    ],
  });
  const [user] = simulator.accounts();
  await expect(list(as(user?.email ?? ""), user?.email ?? "")).rejects.toMatchObject({
    failure: { kind: "credentials-revoked" },
  });
});

test("a key that Google does not know, and a person it may not act for, are the project's fault", async () => {
  const { simulator, as } = await openWorld();
  const strange = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const [user] = simulator.accounts();
  const address = user?.email ?? "";
  for (const source of [as(address, strange.privateKey), as("nobody@elsewhere.example")]) {
    await expect(list(source, address)).rejects.toMatchObject({
      failure: { kind: "client-misconfigured" },
    });
  }
});
