import { expect, onTestFinished, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { tenantId } from "../../src/core/ids.ts";
import { createRemovalHandlers } from "../../src/http/removal-routes.ts";
import { createManualClock } from "../support/manual-clock.ts";
import { openApiWorld, OPERATORS } from "../scenarios/isolation/api-world.ts";

test("DELETE previews until it is confirmed, once a second for a token, and what goes is gone from the API", async () => {
  const world = await openApiWorld();
  onTestFinished(() => world.close());
  const send = async (
    method: string,
    path: string,
    as: string = OPERATORS.all,
  ): Promise<{ status: number; body: Record<string, unknown>; headers: Headers }> => {
    const response = await fetch(new URL(path, world.server.url), {
      method,
      headers: { authorization: `Bearer ${as}` },
    });
    const body = (await response.json()) as Record<string, unknown>;
    return { status: response.status, body, headers: response.headers };
  };
  const [acme, globex] = world.inhabitants;
  const theirs = await world.tokenOf("acme", ["read", "refresh"]);

  const preview = await send("DELETE", "/v1/tenants/acme");
  expect(preview).toMatchObject({
    status: 202,
    body: { preview: { tenant: "acme", accounts: 1, calendars: 2 }, removal: null },
  });
  const typo = await send("DELETE", "/v1/tenants/acme?confirm=amce");
  expect(typo).toMatchObject({ status: 400, body: { code: "invalid-parameter" } });
  expect((await send("DELETE", "/v1/tenants/acme?confirm=acme", theirs)).status).toBe(403);
  expect(await world.store.removals.list(10)).toEqual([]);

  const calendar = String(globex.calendars[0]);
  const one = await send("DELETE", `/v1/calendars/${calendar}?confirm=${calendar}`);
  expect(one).toMatchObject({
    status: 202,
    body: { removal: { kind: "calendar", subject: calendar, tenant: "globex", revoke: false } },
  });
  expect((await send("GET", `/v1/calendars/${calendar}`)).status).toBe(404);
  // Another token has its own pace; this one has to wait.
  const other = OPERATORS.operate;
  const tenant = await send(
    "DELETE",
    "/v1/tenants/acme?confirm=acme&revoke=true&reason=over",
    other,
  );
  expect(tenant).toMatchObject({
    status: 202,
    body: { removal: { kind: "tenant", revoke: true, reason: "over", askedBy: "operate" } },
  });
  const { body } = await send("GET", "/v1/removals");
  expect(body["removals"]).toMatchObject([{ kind: "calendar" }, { kind: "tenant" }]);

  const { id } = (await world.store.removals.list(10))[1] ?? { id: "" };
  await world.store.removals.markSome(id, { limit: 10, now: systemClock.now() });
  expect((await send("GET", `/v1/calendars/${String(acme.calendars[0])}`)).status).toBe(404);
});

test("a token removes one thing a second at most; a preview costs nothing", async () => {
  const world = await openApiWorld();
  onTestFinished(() => world.close());
  const clock = createManualClock();
  const handlers = createRemovalHandlers({ removals: world.store.removals, clock });
  const remove = (tenant: string, tokenId: string, confirm?: string): Promise<unknown> =>
    handlers.removeTenant({
      caller: { tokenId, name: tokenId, tenantId: undefined, scopes: ["operate"] },
      params: { tenant: tenantId(tenant) },
      query: { confirm, revoke: "false", reason: undefined },
      body: undefined,
      chargeTarget: () => undefined,
      chargeFor: () => undefined,
      signal: new AbortController().signal,
    });
  await remove("acme", "one", "acme");
  await remove("globex", "one");
  await expect(remove("globex", "one", "globex")).rejects.toMatchObject({
    code: "too-many-requests",
    retryAfterSeconds: 1,
  });
  expect((await world.store.removals.list(10)).map(({ subject }) => subject)).toEqual(["acme"]);
  await remove("globex", "two", "globex");
  await clock.advance(1_000);
  await remove("initech", "one", "initech");
  expect(await world.store.removals.list(10)).toHaveLength(3);
});
