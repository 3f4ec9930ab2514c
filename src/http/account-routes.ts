import { z } from "zod";
import type { AccountRow, AccountStore } from "../core/account-store.ts";
import type { Clock } from "../core/clock.ts";
import { quotaUser, type ProjectId } from "../core/ids.ts";
import type { TenantStore } from "../core/tenant-store.ts";
import { iso, isoOrNull, moment, named, pageFields, toPage } from "./api-fields.ts";
import { defineRoute, type ApiHandler } from "./define-route.ts";
import { HttpProblem } from "./http-problem.ts";
import { isVisible, ownTenant, unknownAccount } from "./visible.ts";

const READ_SCOPE = "https://www.googleapis.com/auth/calendar.readonly";
const states = z.enum(["connected", "needs-reconnect", "paused", "removed"]);

const accountSchema = z
  .strictObject({
    id: z.string(),
    tenant: z.string(),
    name: z.string(),
    state: states,
    /** A code of docs/failure-modes.md, or an operator's words. */
    reason: z.string().nullable(),
    since: moment,
    by: z.enum(["refresh-token", "service-account"]),
    scopes: z.array(z.string()),
    connectedAt: moment,
    /** When its list of calendars was last read. */
    discoveredAt: moment.nullable(),
  })
  .meta({ id: "Account" });
const oneAccount = z.strictObject({ schemaVersion: z.literal(1), account: accountSchema });

const access = { scope: "read", for: "tenants" } as const;

/** `GET /v1/accounts` */
export const listAccounts = defineRoute({
  method: "GET",
  path: "/v1/accounts",
  summary: "The accounts that the token may see, with their state and its reason, in order of id.",
  access,
  query: z.strictObject({
    tenant: named.tenant.optional(),
    state: states.optional(),
    limit: pageFields.limit,
    after: named.accountId.optional(),
  }),
  answer: z.strictObject({
    schemaVersion: z.literal(1),
    accounts: z.array(accountSchema),
    next: z.string().nullable(),
  }),
  problems: ["unknown-tenant"],
});

/** `GET /v1/accounts/{accountId}` */
export const getAccount = defineRoute({
  method: "GET",
  path: "/v1/accounts/{accountId}",
  summary: "One account.",
  access,
  params: z.strictObject({ accountId: named.accountId }),
  answer: oneAccount,
  problems: ["unknown-account"],
});

/** `POST /v1/accounts` */
export const connectAccount = defineRoute({
  method: "POST",
  path: "/v1/accounts",
  summary:
    "Connect an account by a refresh token of the configured OAuth client, or connect it again: its ids, its calendars and an operator's pause are kept. Whether Google takes the token is found out by the first sync.",
  access: { scope: "operate", for: "operators" },
  body: z.strictObject({
    tenant: named.tenant,
    account: named.accountName,
    refreshToken: z
      .string()
      .regex(/^[\x21-\x7e]{1,2048}$/, "should be a refresh token of Google's, without spaces")
      .meta({ example: "1//refresh-token" }),
    /** What the person granted; left out: not known. */
    scopes: z
      .array(z.string().regex(/^[\x21-\x7e]{1,256}$/))
      .max(50)
      .default([]),
    /** Google's number for the account (`sub` of its id token): whom Google charges. */
    sub: z
      .string()
      .regex(/^[\x21-\x7e]{1,255}$/)
      .optional(),
  }),
  status: 201,
  answer: oneAccount,
  problems: ["being-removed"],
});

/** `GET /v1/accounts/{accountId}/reconnect-url` */
export const getReconnectUrl = defineRoute({
  method: "GET",
  path: "/v1/accounts/{accountId}/reconnect-url",
  summary:
    "Google's consent page for the account's person. Google then sends them to `redirectUri` with a code, which your program exchanges for a refresh token; POST /v1/accounts takes that.",
  access,
  params: z.strictObject({ accountId: named.accountId }),
  query: z.strictObject({
    redirectUri: z
      .url({ protocol: /^https?$/ })
      .max(1_024)
      .meta({ example: "https://app.example/google/callback" }),
    /** Comes back with the code; by it your program knows its own request again. */
    state: z.string().min(8).max(512).meta({ example: "a-random-state" }),
  }),
  answer: z.strictObject({ schemaVersion: z.literal(1), url: z.url() }),
  problems: ["unknown-account", "reconnect-impossible"],
});

/** What the accounts' routes need. */
export interface AccountRoutesDeps {
  readonly tenants: Pick<TenantStore, "get">;
  readonly accounts: Pick<AccountStore, "get" | "find" | "list" | "connect" | "requestDiscovery">;
  readonly projectId: ProjectId;
  /** Google's consent page and whose it is; undefined: no OAuth client is configured. */
  readonly consent: { readonly authUrl: string; readonly clientId: string } | undefined;
  readonly clock: Pick<Clock, "now">;
}

/** The handlers of the accounts' routes. */
export function createAccountHandlers(deps: AccountRoutesDeps): {
  readonly listAccounts: ApiHandler<typeof listAccounts>;
  readonly getAccount: ApiHandler<typeof getAccount>;
  readonly connectAccount: ApiHandler<typeof connectAccount>;
  readonly getReconnectUrl: ApiHandler<typeof getReconnectUrl>;
} {
  const { accounts, tenants, clock } = deps;
  const find: FindAccount = async ({ caller, params, chargeTarget }) => {
    const row = await accounts.get(params.accountId);
    if (!isVisible(caller, row)) throw unknownAccount();
    chargeTarget(row.tenantId);
    return row;
  };
  return {
    async listAccounts({ caller, query: { tenant, state, after, limit }, chargeTarget }) {
      const own = await ownTenant(caller, tenant, tenants);
      if (own !== undefined) chargeTarget(own);
      const rows = await accounts.list({ tenantId: own, state, after, limit: limit + 1 });
      const { page, next } = toPage(rows, limit);
      return { body: { schemaVersion: 1, accounts: page.map(shown), next } };
    },
    async getAccount(request) {
      return { body: { schemaVersion: 1, account: shown(await find(request)) } };
    },
    async connectAccount({ body, chargeTarget }) {
      chargeTarget(body.tenant);
      const now = clock.now();
      const row = await accounts.connect({
        projectId: deps.projectId,
        tenantId: body.tenant,
        name: body.account,
        quotaUser: body.sub === undefined ? undefined : quotaUser(body.sub),
        refreshToken: body.refreshToken,
        scopes: body.scopes,
        now,
      });
      await accounts.requestDiscovery(row.id, now);
      return { body: { schemaVersion: 1, account: shown(row) } };
    },
    async getReconnectUrl(request) {
      const row = await find(request);
      return { body: { schemaVersion: 1, url: consentUrl(row, request.query, deps.consent) } };
    },
  };
}

type FindAccount = (
  request: Pick<Parameters<ApiHandler<typeof getAccount>>[0], "caller" | "params" | "chargeTarget">,
) => Promise<AccountRow>;

function consentUrl(
  row: AccountRow,
  { redirectUri, state }: { readonly redirectUri: string; readonly state: string },
  consent: AccountRoutesDeps["consent"],
): string {
  if (consent === undefined || row.grantKind === "service-account") {
    throw new HttpProblem("reconnect-impossible", {
      detail:
        consent === undefined
          ? "No OAuth client is configured: GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are not set."
          : "It is connected by a service account; `ballast connect --service-account` connects it again.",
    });
  }
  const scopes = new Set(["openid", ...(row.scopes.length === 0 ? [READ_SCOPE] : row.scopes)]);
  const url = new URL(consent.authUrl);
  const query = {
    client_id: consent.clientId,
    redirect_uri: redirectUri,
    response_type: "code",
    scope: [...scopes].join(" "),
    // Offline: a refresh token; consent: also when access was given before, or Google sends none.
    access_type: "offline",
    prompt: "consent",
    state,
    ...(row.name.includes("@") ? { login_hint: row.name } : {}),
  };
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  return url.href;
}

function shown(row: AccountRow): z.input<typeof accountSchema> {
  return {
    id: row.id,
    tenant: row.tenantId,
    name: row.name,
    state: row.state,
    reason: row.stateReason ?? null,
    since: iso(row.stateSince),
    by: row.grantKind,
    scopes: [...row.scopes],
    connectedAt: iso(row.connectedAt),
    discoveredAt: isoOrNull(row.discoveredAt),
  };
}
