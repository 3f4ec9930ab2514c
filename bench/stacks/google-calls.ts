import { calendar, type calendar_v3 } from "@googleapis/calendar";
import { OAuth2Client } from "google-auth-library";
import type { StackOrders, WorkAccount } from "./orders.ts";

/** The official client with everything as it comes, one for each account: what most programs do. */
export function createPlainClients({
  google,
}: Pick<StackOrders, "google">): (account: WorkAccount) => Promise<void> {
  const clients = new Map<string, calendar_v3.Calendar>();
  const clientOf = (account: WorkAccount): calendar_v3.Calendar => {
    const known = clients.get(account.name);
    if (known) return known;
    const auth = new OAuth2Client({
      clientId: "bench-client",
      clientSecret: "bench-secret",
      endpoints: { oauth2TokenUrl: google.tokenUrl },
    });
    auth.setCredentials({ refresh_token: account.refreshToken });
    const created = calendar({ version: "v3", rootUrl: google.apiRootUrl, auth });
    clients.set(account.name, created);
    return created;
  };
  return async (account) => {
    await clientOf(account).events.list({ calendarId: account.calendarId, maxResults: 2_500 });
  };
}
