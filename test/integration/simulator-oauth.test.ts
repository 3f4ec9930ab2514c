import { createHash, createSign, generateKeyPairSync } from "node:crypto";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createSimulator } from "../../src/simulator/simulator.ts";
import type { Simulator } from "../../src/simulator/simulator.ts";
import { createManualClock } from "../support/manual-clock.ts";
import { connectClient, control, requestToken } from "../support/simulator-client.ts";

const key = generateKeyPairSync("rsa", {
  modulusLength: 2048,
  publicKeyEncoding: { type: "spki", format: "pem" },
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
});
const serviceAccount = "robot@project.iam.gserviceaccount.com";
const clock = createManualClock(Date.now());
let simulator: Simulator;

beforeAll(async () => {
  simulator = await createSimulator(
    {
      seed: "oauth",
      generate: { accounts: 3, calendars: 0, events: 0 },
      clients: [
        { id: "client", secret: "secret", project: "111" },
        { id: "other", secret: "secret", project: "222" },
      ],
      serviceAccounts: [{ email: serviceAccount, publicKey: key.publicKey, project: "111" }],
    },
    { clock },
  );
});
afterAll(async () => {
  await simulator.close();
});

interface TokenBody {
  readonly access_token: string;
  readonly expires_in: number;
  readonly refresh_token?: string;
  readonly id_token: string;
  readonly error?: string;
}

test("a refresh gives an access token for an hour that dies on time", async () => {
  const client = await connectClient(simulator);
  expect((await client.list("primary")).status).toBe(200);
  await clock.advance(3_599_000);
  const expired = await client.list("primary");
  expect(expired.status).toBe(401);
  expect(expired.body.error?.errors[0]).toMatchObject({
    reason: "authError",
    location: "Authorization",
  });
});

test("every call needs a token that this simulator gave", async () => {
  const client = await connectClient(simulator);
  const forged = `${client.accessToken.slice(0, -2)}xx`;
  for (const authorization of ["", "Bearer nonsense", `Bearer ${forged}`]) {
    const answer = await client.send("users/me/calendarList", { headers: { authorization } });
    expect(answer.status).toBe(401);
  }
  const unattributed = simulator.counters().unattributed;
  expect(unattributed).toBeGreaterThanOrEqual(3);
});

test("a token opens only its own account's calendars", async () => {
  const client = await connectClient(simulator);
  const [, other] = simulator.accounts();
  expect((await client.list(other?.email ?? "")).status).toBe(404);
});

test("a revoked or unknown refresh token is an invalid_grant, a wrong client an invalid_client", async () => {
  const [, , account] = simulator.accounts();
  const { email = "", refreshToken = "" } = account ?? {};
  await control(simulator, "POST accounts", { account: email, isRevoked: true });
  for (const token of [refreshToken, "1//unknown"]) {
    const answer = await requestToken(simulator, { refresh_token: token });
    expect([answer.status, ((await answer.json()) as TokenBody).error]).toEqual([
      400,
      "invalid_grant",
    ]);
  }
  const wrong = await requestToken(simulator, {
    refresh_token: refreshToken,
    client_secret: "wrong",
  });
  expect([wrong.status, ((await wrong.json()) as TokenBody).error]).toEqual([
    401,
    "invalid_client",
  ]);
  await control(simulator, "POST accounts", { account: email, isRevoked: false });
  expect((await requestToken(simulator, { refresh_token: refreshToken })).status).toBe(200);
});

test("consent in the browser ends at the loopback address with a code that works once, for its verifier", async () => {
  const [account] = simulator.accounts();
  const verifier = "v".repeat(50);
  const redirectUri = "http://127.0.0.1:41999/callback";
  const query = new URLSearchParams({
    client_id: "client",
    redirect_uri: redirectUri,
    response_type: "code",
    scope: "https://www.googleapis.com/auth/calendar",
    state: "s&1",
    code_challenge: createHash("sha256").update(verifier).digest("base64url"),
    code_challenge_method: "S256",
  });
  const page = await (await fetch(`${simulator.authUrl}?${query.toString()}`)).text();
  const link =
    /href="([^"]*login_hint=user1[^"]*)"/.exec(page)?.[1]?.replaceAll("&amp;", "&") ?? "";
  const consent = async (): Promise<URL> => {
    const answer = await fetch(new URL(link, simulator.authUrl), { redirect: "manual" });
    expect(answer.status).toBe(302);
    return new URL(answer.headers.get("location") ?? "");
  };
  const exchange = async (
    code: string | null,
    codeVerifier: string,
  ): Promise<[number, TokenBody]> => {
    const answer = await requestToken(simulator, {
      grant_type: "authorization_code",
      code: code ?? "",
      redirect_uri: redirectUri,
      code_verifier: codeVerifier,
    });
    return [answer.status, (await answer.json()) as TokenBody];
  };
  const back = await consent();
  expect(back.searchParams.get("state")).toBe("s&1");
  const [status, tokens] = await exchange(back.searchParams.get("code"), verifier);
  expect(status).toBe(200);
  const claims = JSON.parse(
    Buffer.from(tokens.id_token.split(".")[1] ?? "", "base64url").toString(),
  ) as { sub: string };
  expect(claims.sub).toBe(account?.sub);
  const refreshed = await requestToken(simulator, { refresh_token: tokens.refresh_token ?? "" });
  expect(refreshed.status).toBe(200);
  expect((await exchange(back.searchParams.get("code"), verifier))[0]).toBe(400);
  const second = await consent();
  const [wrongStatus, wrong] = await exchange(second.searchParams.get("code"), "wrong");
  expect([wrongStatus, wrong.error]).toEqual([400, "invalid_grant"]);
  query.set("redirect_uri", "https://example.com/");
  expect((await fetch(`${simulator.authUrl}?${query.toString()}`)).status).toBe(400);
});

test("a service account acts for a user, signed with its key, and is charged itself unless it names a quota user", async () => {
  const [account] = simulator.accounts();
  const ask = (privateKey: string): Promise<Response> => {
    return requestToken(simulator, {
      grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer",
      assertion: signedAssertion(privateKey, account?.email ?? ""),
    });
  };
  const granted = (await (await ask(key.privateKey)).json()) as TokenBody;
  const send = (query: string): Promise<Response> =>
    fetch(`${simulator.url}calendar/v3/calendars/primary/events${query}`, {
      headers: { authorization: `Bearer ${granted.access_token}` },
    });
  expect((await send("")).status).toBe(200);
  expect((await send("?quotaUser=hashed")).status).toBe(200);
  const charged = simulator.counters().mostArrivals.byQuotaUser;
  expect(charged[serviceAccount]).toBe(1);
  expect(charged["hashed"]).toBe(1);
  const stranger = generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({
    type: "pkcs8",
    format: "pem",
  });
  expect((await ask(String(stranger))).status).toBe(400);
});

function encode(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}

function signedAssertion(privateKey: string, subject: string): string {
  const nowSeconds = Math.floor(clock.now() / 1000);
  const text = `${encode({ alg: "RS256", typ: "JWT" })}.${encode({
    iss: serviceAccount,
    sub: subject,
    aud: simulator.tokenUrl,
    iat: nowSeconds,
    exp: nowSeconds + 3600,
  })}`;
  return `${text}.${createSign("RSA-SHA256").update(text).sign(privateKey, "base64url")}`;
}

test("quota windows are kept per project: another client's requests count against its own", async () => {
  simulator.resetCounters();
  const [account] = simulator.accounts();
  for (const id of ["client", "other"]) {
    const answer = await requestToken(simulator, {
      refresh_token: account?.refreshToken ?? "",
      client_id: id,
    });
    const { access_token: token } = (await answer.json()) as TokenBody;
    await fetch(`${simulator.url}calendar/v3/users/me/calendarList`, {
      headers: { authorization: `Bearer ${token}` },
    });
  }
  expect(simulator.counters().mostArrivals.byProject).toEqual({ "111": 1, "222": 1 });
});
