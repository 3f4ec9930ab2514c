// Writes an event and reads it back, inside the shared budget. Run with the variables below set.
import { createGuardedCalendar, LedgerUnavailable } from "@ballast/client";

const env = process.env;
const { calendar, close } = createGuardedCalendar({
  redis: env.REDIS_URL,
  project: env.PROJECT,
  tenant: env.TENANT,
  account: env.ACCOUNT,
  quotaUser: env.QUOTA_USER,
  consumer: "booking-api",
  class: "interactive",
  credentials: {
    clientId: env.GOOGLE_CLIENT_ID,
    clientSecret: env.GOOGLE_CLIENT_SECRET,
    refreshToken: env.REFRESH_TOKEN,
  },
  refresh: { url: env.BALLAST_URL, token: env.BALLAST_TOKEN },
  google: { apiRootUrl: env.GOOGLE_API_ROOT_URL, tokenUrl: env.GOOGLE_OAUTH_TOKEN_URL },
  onError: (error) => console.error(error.message),
});

try {
  const { data: event } = await calendar.events.insert({
    calendarId: env.CALENDAR_ID,
    requestBody: {
      summary: "Lunch",
      start: { dateTime: "2026-03-02T12:00:00Z" },
      end: { dateTime: "2026-03-02T13:00:00Z" },
    },
  });
  const { data: read } = await calendar.events.get({
    calendarId: env.CALENDAR_ID,
    eventId: event.id,
  });
  console.log(JSON.stringify({ summary: read.summary, node: process.version }));
} catch (error) {
  if (!(error instanceof LedgerUnavailable)) throw error;
  console.error(`Nothing was sent; ask again in ${error.retryAfterMs} ms: ${error.message}`);
  process.exitCode = 1;
} finally {
  await close();
}
