import { spawn } from "node:child_process";
import { readFile } from "node:fs/promises";
import { text as readAll } from "node:stream/consumers";
import { Option, type Command } from "commander";
import type { Config } from "../../config/config.ts";
import { accountName, projectId, quotaUser, tenantId } from "../../core/ids.ts";
import { nameArgument, wholeNumber } from "../arguments.ts";
import { askConsent } from "../ask-consent.ts";
import { CliError, usageError } from "../cli-error.ts";
import { runs, type CommandContext } from "../command-context.ts";
import { exchangeToken, type Grant, type TokenEndpoint } from "../exchange-token.ts";
import { EXIT, type ExitCode } from "../exit-codes.ts";
import { readServiceAccountKey, signAssertion } from "../service-account-key.ts";
import { withStore, type Store } from "../with-store.ts";

const READ_SCOPE = "https://www.googleapis.com/auth/calendar.readonly";
const WRITE_SCOPE = "https://www.googleapis.com/auth/calendar.events";
/** Each of these lets us read calendars; a person can untick single ones on Google's page. */
const READING_SCOPES = new Set([READ_SCOPE, "https://www.googleapis.com/auth/calendar"]);

interface Options {
  readonly tenant: string;
  readonly account: string;
  readonly refreshTokenFile?: string;
  readonly serviceAccount?: string;
  readonly subject?: string;
  /** Commander's way of `--no-verify`, `--no-browser`. */
  readonly verify: boolean;
  readonly browser: boolean;
  readonly write?: true;
  readonly timeout: number;
  readonly json?: true;
}

/** `ballast connect`: store an account's credentials and make its calendars known. */
export function addConnectCommand(program: Command, context: CommandContext): void {
  program
    .command("connect")
    .description("Connect a Google account: by consent, a refresh token or a service account")
    .requiredOption(
      "--tenant <tenant>",
      "the customer it belongs to, a name of yours",
      nameArgument,
    )
    .requiredOption(
      "--account <account>",
      "a name for the account, unique in its tenant",
      nameArgument,
    )
    .option("--refresh-token-file <file>", "a file that holds a refresh token; - reads stdin")
    .addOption(
      new Option(
        "--service-account <file>",
        "a service account's JSON key; - reads stdin",
      ).conflicts("refreshTokenFile"),
    )
    .option("--subject <address>", "the user it acts for (domain-wide delegation)", nameArgument)
    .option("--no-verify", "store what is given without trying it")
    .option("--write", "ask for the right to change events, too")
    .option("--no-browser", "print the address of the consent page without opening it")
    .option("--timeout <seconds>", "wait so long for the consent", wholeNumber(1, 3_600), 300)
    .option("--json", "one JSON document")
    .addHelpText(
      "after",
      `
Connecting an account again replaces its credentials and keeps its calendars.

Examples:
  ballast connect --tenant acme --account ada@example.com
  ballast connect --tenant acme --account ada@example.com --refresh-token-file token.txt
  ballast connect --tenant acme --account ada --service-account key.json --subject ada@example.com
  pass show ada-token | ballast connect --tenant acme --account ada@example.com --refresh-token-file -`,
    )
    .action(runs<Options>(context, (options) => connect(options, context)));
}

function connect(options: Options, context: CommandContext): Promise<ExitCode> {
  return withStore(context, async (store, config) => {
    const facts = {
      projectId: projectId("default"),
      tenantId: tenantId(options.tenant),
      name: accountName(options.account),
    };
    const brought = await obtain(options, config, context);
    const now = context.clock.now();
    const row = await store.accounts.connect({ ...facts, ...brought, now });
    await store.accounts.requestDiscovery(row.id, now);
    const { output } = context;
    if (options.json) {
      const { id, tenantId: tenant, name, state, scopes } = row;
      output.json({ account: { id, tenant, name, state, scopes } });
    } else {
      output.data(`Connected ${row.name} of ${row.tenantId} as ${row.id}.`);
      output.say("A running worker finds its calendars within seconds. next: ballast calendars");
    }
    return EXIT.ok;
  });
}

type Brought = Omit<
  Exclude<Parameters<Store["accounts"]["connect"]>[0], { readonly serviceAccount: object }>,
  "projectId" | "tenantId" | "name" | "now"
>;
type BroughtByRobot = Omit<
  Extract<Parameters<Store["accounts"]["connect"]>[0], { readonly serviceAccount: object }>,
  "projectId" | "tenantId" | "name" | "now"
>;

async function obtain(
  options: Options,
  config: Config,
  context: CommandContext,
): Promise<Brought | BroughtByRobot> {
  if (options.serviceAccount !== undefined) return delegate(options, config, context);
  if (options.subject !== undefined) {
    throw usageError("--subject is whom a service account acts for: it needs --service-account.");
  }
  const { sub, refreshToken, scopes } = await obtainGrant(options, config, context);
  return { refreshToken, scopes, quotaUser: sub === undefined ? undefined : quotaUser(sub) };
}

/** Whom Google charges follows from the subject's address: no id token comes with an assertion. */
async function delegate(
  { serviceAccount: file = "-", subject, verify, write }: Options,
  { google }: Config,
  { clock, interrupted }: CommandContext,
): Promise<BroughtByRobot> {
  const key = await readServiceAccountKey(file);
  const scopes = [READ_SCOPE, ...(write ? [WRITE_SCOPE] : [])];
  if (verify) {
    const url = google.oauthTokenUrl;
    const assertion = signAssertion(key, { subject, scopes, audience: url, now: clock.now() });
    const grant = { grant_type: "urn:ietf:params:oauth:grant-type:jwt-bearer", assertion };
    await exchangeToken({ url, client: undefined }, grant, interrupted);
  }
  const serviceAccount = { kind: "service-account", ...key, subject, scopes } as const;
  return { serviceAccount, scopes, quotaUser: undefined };
}

type StorableGrant = Grant & { readonly refreshToken: string };

async function obtainGrant(
  options: Options,
  config: Config,
  context: CommandContext,
): Promise<StorableGrant> {
  const { refreshTokenFile } = options;
  if (refreshTokenFile === undefined) return consent(options, config, context);
  const refreshToken = await readRefreshToken(refreshTokenFile);
  if (!options.verify) return { refreshToken, scopes: [], sub: undefined };
  const grant = await exchangeToken(
    endpointOf(config),
    { grant_type: "refresh_token", refresh_token: refreshToken },
    context.interrupted,
  );
  requireReading(grant);
  return { ...grant, refreshToken: grant.refreshToken ?? refreshToken };
}

async function consent(
  options: Options,
  config: Config,
  { clock, output, interrupted }: CommandContext,
): Promise<StorableGrant> {
  const endpoint = endpointOf(config);
  const grant = await askConsent(
    {
      authUrl: config.google.oauthAuthUrl,
      endpoint,
      clientId: endpoint.client.id,
      scopes: ["openid", READ_SCOPE, ...(options.write ? [WRITE_SCOPE] : [])],
      loginHint: options.account.includes("@") ? options.account : undefined,
      timeoutMs: options.timeout * 1_000,
    },
    {
      clock,
      signal: interrupted,
      showAddress: (url) => {
        output.say(`Open this page and allow access:\n  ${url}`);
        if (options.browser && output.isTerminal) openBrowser(url);
      },
    },
  );
  requireReading(grant);
  if (grant.refreshToken !== undefined) return { ...grant, refreshToken: grant.refreshToken };
  throw new CliError("Google gave no refresh token, so access would end within the hour.", {
    exitCode: EXIT.configuration,
    code: "BALLAST_NO_REFRESH_TOKEN",
    next: "remove the access at https://myaccount.google.com/permissions, then the same again",
  });
}

function endpointOf({ google }: Config): TokenEndpoint & { readonly client: object } {
  if (google.client !== undefined) return { url: google.oauthTokenUrl, client: google.client };
  throw new CliError(
    "GOOGLE_CLIENT_ID and GOOGLE_CLIENT_SECRET are not set: tokens belong to an OAuth client.",
    {
      exitCode: EXIT.configuration,
      code: "BALLAST_NO_CLIENT",
      next: "set both (an OAuth client of type Desktop app, from your Google Cloud project), then the same again",
    },
  );
}

/** An answer without scopes comes from endpoints that do not say; Google does. */
function requireReading({ scopes }: Grant): void {
  if (scopes.length === 0 || scopes.some((scope) => READING_SCOPES.has(scope))) return;
  throw new CliError(`The right to read calendars was not given; given: ${scopes.join(" ")}.`, {
    exitCode: EXIT.configuration,
    code: "BALLAST_SCOPE_MISSING",
    next: "ballast connect without a token, and allow reading calendars on the page",
  });
}

async function readRefreshToken(file: string): Promise<string> {
  let content: string;
  try {
    content = file === "-" ? await readAll(process.stdin) : await readFile(file, "utf8");
  } catch (error) {
    throw unusableToken(
      `The refresh token's file ${file} cannot be read: ${error instanceof Error ? error.message : ""}`,
      error,
    );
  }
  const token = content.trim();
  if (/^[\x21-\x7e]{1,2048}$/.test(token)) return token;
  // The value itself is a secret, so only its shape is told.
  throw unusableToken(
    `What ${file === "-" ? "stdin" : file} holds is no refresh token: ${String(token.length)} characters${/\s/.test(token) ? ", with spaces or several lines" : ""}.`,
    undefined,
  );
}

function unusableToken(message: string, cause: unknown): CliError {
  return new CliError(message, {
    exitCode: EXIT.configuration,
    code: "BALLAST_REFRESH_TOKEN_FILE",
    next: "give a file with the refresh token alone on one line",
    cause,
  });
}

function openBrowser(url: string): void {
  const command = process.platform === "darwin" ? "open" : "xdg-open";
  const child = spawn(command, [url], { stdio: "ignore", detached: true });
  // No browser here is no failure: the address has been printed.
  child.on("error", () => undefined);
  child.unref();
}
