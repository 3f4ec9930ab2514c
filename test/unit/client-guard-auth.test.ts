import { Compute, ExternalAccountClient, GoogleAuth, JWT, OAuth2Client } from "google-auth-library";
import { expect, test } from "vitest";
import { createGuardedCalendar, createGuardedClient } from "../../packages/client/src/index.ts";
import { guardAuth, type GuardableAuth } from "../../packages/client/src/guard-auth.ts";
import { systemClock } from "../../src/core/clock.ts";
import { accountId, consumer, projectId, quotaUser, tenantId } from "../../src/core/ids.ts";
import type { Guard } from "../../src/core/request.ts";

const TOKEN_URL = "https://token.example.test/token";
const ATTRIBUTION = {
  projectId: projectId("default"),
  tenantId: tenantId("acme"),
  accountId: accountId("acme/ada"),
  quotaUser: quotaUser("u"),
  consumer: consumer("booking-api"),
};

const unreachable = (): Promise<never> => Promise.reject(new Error("no Redis"));

function guarded(auth: GuardableAuth): ReturnType<typeof guardAuth> {
  const guard: Guard = {
    call: (_call, attempt) => attempt(new AbortController().signal),
    fetch: () => Promise.resolve(new Response("{}", { status: 503 })),
  };
  const usualCall = { class: "interactive", deadlineMs: 1_000 } as const;
  return guardAuth(
    auth,
    { attribution: ATTRIBUTION, usualCall, tokenUrl: TOKEN_URL },
    { guard, clock: systemClock, exchange: { read: unreachable, claim: unreachable } },
  );
}

test("an auth that fetches tokens past its transporter is refused, by name", () => {
  const external = ExternalAccountClient.fromJSON({
    type: "external_account",
    audience: "a",
    subject_token_type: "t",
    token_url: TOKEN_URL,
    credential_source: { file: "/dev/null" },
  });
  for (const [auth, name] of [
    [new Compute(), "Compute"],
    [external, "IdentityPoolClient"],
    [new GoogleAuth(), "GoogleAuth"],
  ] as const) {
    expect(() => guarded(auth as unknown as GuardableAuth)).toThrow(`${name} cannot be guarded`);
  }
});

test("an auth with a refresh handler or a transport of its own is refused", () => {
  const handled = new OAuth2Client();
  handled.refreshHandler = () => Promise.resolve({ access_token: "x", expiry_date: 0 });
  expect(() => guarded(handled)).toThrow(/refreshHandler/);
  const routed = new OAuth2Client({ transporterOptions: { fetchImplementation: fetch } });
  expect(() => guarded(routed)).toThrow(/transport of its own/);
});

test("an OAuth2Client and a JWT are guarded until they are given back", () => {
  for (const auth of [new OAuth2Client(), new JWT({ email: "robot@example", key: "k" })]) {
    const before = { ...auth.transporter.defaults };
    const guardedAuth = guarded(auth);
    expect(auth.transporter.defaults).toMatchObject({ retry: false, retryConfig: { retry: 0 } });
    expect(() => guarded(auth)).toThrow(/another guarded calendar/);
    guardedAuth.release();
    expect(auth.transporter.defaults).toEqual(before);
  }
});

test("options that cannot work are refused before anything is opened, all problems at once", () => {
  const broken = { redis: "", project: "", consumer: "x" };
  expect(() => createGuardedClient(broken)).toThrow(/redis: .*project: /);
  const account = { tenant: "t", account: "a", quotaUser: "u", class: "interactive" } as const;
  const client = { redis: "/nowhere", project: "p", consumer: "c" };
  expect(() => createGuardedCalendar({ ...client, ...account })).toThrow(
    /give either credentials or auth/,
  );
});
