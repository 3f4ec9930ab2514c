// The same from CommonJS, for a program that acts for many accounts: one client, one connection to Redis.
const { createGuardedClient, CallFailed } = require("@ballast/client");

const env = process.env;
const client = createGuardedClient({
  redis: env.REDIS_URL,
  project: env.PROJECT,
  consumer: "booking-api",
  refresh: { url: env.BALLAST_URL, token: env.BALLAST_TOKEN },
  google: { apiRootUrl: env.GOOGLE_API_ROOT_URL, tokenUrl: env.GOOGLE_OAUTH_TOKEN_URL },
  onError: (error) => console.error(error.message),
});

async function listFor(account) {
  const { calendar } = client.forAccount({
    tenant: env.TENANT,
    account,
    quotaUser: env.QUOTA_USER,
    class: "interactive",
    credentials: {
      clientId: env.GOOGLE_CLIENT_ID,
      clientSecret: env.GOOGLE_CLIENT_SECRET,
      refreshToken: env.REFRESH_TOKEN,
    },
  });
  try {
    const { data } = await calendar.events.list({ calendarId: env.CALENDAR_ID, maxResults: 10 });
    return data.items.length;
  } catch (error) {
    if (error instanceof CallFailed && error.failure.kind === "not-found") return 0;
    throw error;
  }
}

async function main() {
  try {
    const events = await listFor(env.ACCOUNT);
    console.log(JSON.stringify({ events, node: process.version }));
  } finally {
    await client.close();
  }
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
