import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import {
  ApiRefused,
  ApiUnreachable,
  createApiClient,
  type ApiClient,
} from "../../packages/client/src/api-client.ts";
import { API_OPERATIONS } from "../../packages/client/src/api-operations.ts";
import { API_ROUTES } from "../../src/http/api-routes.ts";
import { openApiWorld, OPERATORS, type ApiWorld } from "../scenarios/isolation/api-world.ts";
import { API_CLIENT_FILE, writeApiClientSource } from "../support/api-client-source.ts";

let world: ApiWorld;
let client: ApiClient;
beforeAll(async () => {
  world = await openApiWorld();
  client = createApiClient({ url: `${world.server.url}/`, token: OPERATORS.all });
});
afterAll(() => world.close());

test("the checked-in file is what the document says now; else: npm run generate:client", async () => {
  expect(await readFile(API_CLIENT_FILE, "utf8")).toBe(await writeApiClientSource());
  expect(Object.keys(API_OPERATIONS).toSorted()).toEqual(Object.keys(API_ROUTES).toSorted());
});

test("the client asks with path, query and body, and answers as the types say", async () => {
  const [id = ""] = world.inhabitants[0].calendars;
  const range = { from: "2026-01-05T00:00:00Z", to: "2026-01-06T00:00:00Z" };
  const busy = await client.getBusy({ calendarId: [id], ...range });
  const posted = await client.askBusy({ calendarIds: [id], ...range });
  expect(busy.busy.map(({ from }) => from)).toEqual([
    "2026-01-05T09:00:00.000Z",
    "2026-01-05T12:00:00.000Z",
  ]);
  expect(posted.busy).toEqual(busy.busy);
  const { tenant } = await client.getTenant({ tenant: "acme" });
  expect(tenant.id).toBe("acme");
  const { mark } = await client.requestRefresh({ calendarId: id });
  expect(mark).toBeGreaterThan(0);
  const { account } = await client.connectAccount({
    tenant: "a/b c",
    account: "ann",
    refreshToken: "1//token",
  });
  expect((await client.getTenant({ tenant: "a/b c" })).tenant.id).toBe("a/b c");
  expect((await client.listAccounts({ tenant: "a/b c" })).accounts).toEqual([account]);
});

test("a refusal has Ballast's code; what is not Ballast's answer is told apart", async () => {
  const refused = await client.getTenant({ tenant: "nobody" }).catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(ApiRefused);
  expect(refused).toMatchObject({ code: "unknown-tenant", status: 404 });
  const other = createServer((_request, response) => {
    response.end("<html>");
  });
  await new Promise<void>((resolve) => {
    other.listen(0, "127.0.0.1", resolve);
  });
  const address = other.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const url = `http://127.0.0.1:${String(port)}`;
  const elsewhere = createApiClient({ url, token: "t" });
  await expect(elsewhere.listTenants({})).rejects.toBeInstanceOf(ApiUnreachable);
  await new Promise<void>((resolve) => {
    other.close(() => resolve());
  });
  await expect(elsewhere.listTenants({})).rejects.toBeInstanceOf(ApiUnreachable);
  const stopped = AbortSignal.abort(new Error("enough"));
  await expect(client.listTenants({}, stopped)).rejects.toThrow("enough");
});
