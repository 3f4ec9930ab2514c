/**
 * A process that dies of what client libraries throw: an error with the whole request on it, as cause of another,
 * in an AggregateError and as a rejection. Run with the secrets in the environment.
 */
import { Gaxios, GaxiosError } from "gaxios";
import { systemClock } from "../../../src/core/clock.ts";
import { createLogger } from "../../../src/observability/logger.ts";
import { installProcessGuard } from "../../../src/observability/process-guard.ts";

const secrets = Object.entries(process.env)
  .filter(([name]) => name.startsWith("SECRET_"))
  .map(([, value]) => value ?? "");

installProcessGuard(
  { deadlineMs: 1_000 },
  {
    logger: createLogger(
      { level: "trace", format: "json" },
      {
        write: (line) => {
          process.stderr.write(line);
        },
      },
    ),
    clock: systemClock,
    // Long enough that the second error comes meanwhile; then draining fails, too.
    drain: () =>
      systemClock.sleep(100, new AbortController().signal).then(() => {
        throw new Error("crash-marker: draining fails too", { cause: thrown });
      }),
    // oxlint-disable-next-line unicorn/no-process-exit -- a program of its own, and how it ends is what is tried
    exit: (code) => process.exit(code),
  },
);

const thrown = await askInVain();
setInterval(() => undefined, 1_000);
setTimeout(() => {
  throw new Error("crash-marker: a bug with a request on it", { cause: thrown });
}, 0);
setTimeout(rejectUnheard, 20);

/** As a library would: nobody waits for it. */
function rejectUnheard(): void {
  // oxlint-disable-next-line typescript/no-floating-promises -- that nobody hears of it is what is tried
  Promise.reject(new AggregateError([thrown], "crash-marker: several at once"));
}

/** A real GaxiosError: a request with credentials everywhere, answered 400 with some of them quoted. */
async function askInVain(): Promise<unknown> {
  const [refreshToken = "", clientSecret = "", accessToken = "", privateKey = ""] = secrets;
  try {
    await new Gaxios().request({
      url: "https://oauth2.example.test/token",
      method: "POST",
      headers: { authorization: `Bearer ${accessToken}` },
      data: { refresh_token: refreshToken, client_secret: clientSecret, private_key: privateKey },
      retryConfig: { retry: 0 },
      fetchImplementation: () =>
        Promise.resolve(
          Response.json(
            { error: "invalid_grant", error_description: `quoted: ${secrets.join(" ")}` },
            { status: 400 },
          ),
        ),
    });
    return undefined;
  } catch (error) {
    if (!(error instanceof GaxiosError)) throw error;
    return error;
  }
}
