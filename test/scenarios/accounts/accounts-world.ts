import { DatabaseSync } from "node:sqlite";
import { createHash, generateKeyPairSync, randomBytes } from "node:crypto";
import { epochMs, systemClock } from "../../../src/core/clock.ts";
import type { AccountConnection } from "../../../src/core/account-store.ts";
import { accountName, projectId, tenantId, type AccountId } from "../../../src/core/ids.ts";
import { makeApiToken } from "../../../src/core/token-store.ts";
import { createSimulator, type Simulator } from "../../../src/simulator/simulator.ts";
import { canary, type Canary } from "../../support/canary-search.ts";
import { openScenarioHome, type ScenarioHome } from "../../support/scenario-home.ts";

/** One Google account and ours for it. */
export interface Person {
  readonly index: number;
  readonly email: string;
  readonly refreshToken: string;
  readonly isByRobot: boolean;
  readonly id: AccountId;
}

export interface AccountsWorld {
  readonly simulator: Simulator;
  readonly home: ScenarioHome;
  readonly people: readonly Person[];
  readonly canaries: readonly Canary[];
  readonly secrets: Readonly<
    Record<"clientSecret" | "apiToken" | "tenantToken" | "strayToken" | "privateKey", string>
  >;
  /** Log lines that hold this text. */
  readonly logged: (text: string) => number;
  /** From now on Google's clock and ours agree. */
  readonly mendClock: () => void;
  /** Connect again, by what connected it first. */
  readonly reconnect: (person: Person) => Promise<AccountId>;
  /** The simulator's last sequence number. */
  readonly now: () => number;
  /** Who was read since, by address. */
  readonly readSince: (sequence: number) => ReadonlySet<string>;
  /** Requests of any kind since, by address. */
  readonly askedSince: (sequence: number) => ReadonlyMap<string, number>;
  /** Make all that these accounts have due now. */
  readonly nudge: (people: readonly Person[]) => Promise<void>;
  /** Nobody holds a lease for it: no job is at work that could ask Google. */
  readonly isIdle: (id: AccountId) => boolean;
  /** Each of them has to ask for a new access token. */
  readonly expireTokens: (people: readonly Person[]) => void;
  readonly revoke: (people: readonly Person[], isRevoked: boolean) => void;
  close(): Promise<void>;
}

/** Whose token is planted. */
export const TOKENS_TENANT = tenantId("tenant-0");
const ROBOT = "robot@project.iam.example";
const SCOPE = "https://www.googleapis.com/auth/calendar.readonly";
/** Google tolerates five minutes. */
const CLOCK_OFF_MS = 600_000;

/** A Google with people and a service account, a Ballast that mirrors when they are busy, all secrets known by sight. */
export async function openAccountsWorld(options: {
  readonly people: number;
  readonly robots: number;
  readonly tenants: number;
  readonly pollSeconds: number;
  readonly seed: number;
  readonly onLogLine: (line: string) => void;
}): Promise<AccountsWorld> {
  const clock = { isMended: false };
  const pair = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const secrets = {
    clientSecret: `GOCSPX-canary${randomBytes(9).toString("hex")}`,
    apiToken: `canary-token-${randomBytes(12).toString("hex")}`,
    // Another Ballast's, sent to this one.
    strayToken: makeApiToken(systemClock.now()).token,
    privateKey: pair.privateKey,
  };
  const encryptionKey = randomBytes(32);
  const simulator = await createSimulator(
    {
      seed: options.seed,
      keepRequests: 500_000,
      calendars: { accounts: options.people, calendars: secretCalendars(options.people) },
      serviceAccounts: [{ email: ROBOT, publicKey: pair.publicKey, project: "1" }],
    },
    {
      clock: {
        ...systemClock,
        now: () => epochMs(systemClock.now() - (clock.isMended ? 0 : CLOCK_OFF_MS)),
      },
    },
  );
  const lines: string[] = [];
  const home = await openScenarioHome(
    {
      google: { apiRootUrl: simulator.url, tokenUrl: simulator.tokenUrl },
      unlimited: true,
      role: "all",
      env: {
        GOOGLE_CLIENT_SECRET: secrets.clientSecret,
        BALLAST_ENCRYPTION_KEYS: `k1:${encryptionKey.toString("base64")}`,
        BALLAST_API_TOKENS: `scenario:read+refresh:${sha256(secrets.apiToken)}`,
        BALLAST_HTTP_PORT: "0",
        BALLAST_MIRROR: "busy",
        BALLAST_LOG_LEVEL: "trace",
        BALLAST_POLL_SECONDS: String(options.pollSeconds),
      },
    },
    {
      onRunFinished: () => undefined,
      writeLog: (line) => {
        lines.push(line);
        options.onLogLine(line);
      },
    },
  );
  const people = await connectAll({ home, simulator, ...secrets, ...options });
  const tenantToken = await makeTenantToken(home);
  const leases = watchLeases(home);
  return {
    ...watch(simulator),
    simulator,
    home,
    people,
    secrets: { ...secrets, tenantToken },
    canaries: [
      canary("refresh token", "1//sim-"),
      canary("access token", "ya29.sim"),
      // The readable part of every access token here: an address in base64.
      canary("access token's inside", Buffer.from("user").toString("base64").slice(0, 5)),
      canary("client secret", secrets.clientSecret),
      canary("API token", secrets.apiToken),
      canary("tenant's API token", tenantToken.split(".")[1] ?? tenantToken),
      canary("stray API token", secrets.strayToken.split(".")[1] ?? secrets.strayToken),
      canary("service account's key", pair.privateKey.split("\n")[3] ?? ""),
      canary("service account's key, escaped", "PRIVATE KEY"),
      canary("encryption key", encryptionKey.toString("base64")),
      { name: "encryption key, raw", bytes: encryptionKey },
      canary("an event's title", "canary-title"),
      canary("a guest's address", "canary-guest"),
    ],
    logged: (text) => lines.filter((line) => line.includes(text)).length,
    mendClock: () => {
      clock.isMended = true;
    },
    reconnect: async (person) => {
      const connection = connectionOf(person, { ...options, ...secrets });
      return (await home.store.accounts.connect(connection)).id;
    },
    nudge: (some) => nudge(home, some),
    isIdle: leases.isIdle,
    async close() {
      leases.close();
      await home.close();
      await simulator.close();
    },
  };
}

/** One for each person, beside the primary one; every fifth is shared with the next person. */
function secretCalendars(count: number): {
  readonly id: string;
  readonly summary: string;
  readonly timeZone: string;
  readonly events: Record<string, unknown>[];
}[] {
  return Array.from({ length: count }, (_, index) => ({
    id: `calendar-${String(index)}`,
    summary: `canary-title of calendar ${String(index)}`,
    timeZone: "UTC",
    events: [
      {
        summary: `canary-title ${String(index)}`,
        start: { dateTime: "2026-05-04T10:00:00Z" },
        end: { dateTime: "2026-05-04T11:00:00Z" },
        attendees: [{ email: `canary-guest-${String(index)}@elsewhere.example` }],
      },
    ],
  }));
}

interface Connecting {
  readonly tenants: number;
  readonly privateKey: string;
}

function connectionOf(
  { index, email, refreshToken, isByRobot }: Omit<Person, "id">,
  { tenants, privateKey }: Connecting,
): AccountConnection {
  const facts = {
    projectId: projectId("default"),
    tenantId: tenantId(`tenant-${String(index % tenants)}`),
    name: accountName(`account-${String(index)}`),
    quotaUser: undefined,
    scopes: [SCOPE],
    now: systemClock.now(),
  };
  if (!isByRobot) return { ...facts, refreshToken };
  const serviceAccount = {
    kind: "service-account",
    clientEmail: ROBOT,
    privateKey,
    subject: email,
    scopes: [SCOPE],
  } as const;
  return { ...facts, serviceAccount };
}

async function connectAll(
  world: Connecting & {
    readonly home: ScenarioHome;
    readonly simulator: Simulator;
    readonly robots: number;
  },
): Promise<readonly Person[]> {
  const people: Person[] = [];
  for (const [index, { email, refreshToken }] of world.simulator.accounts().entries()) {
    const person = { index, email, refreshToken, isByRobot: index < world.robots };
    const { id } = await world.home.store.accounts.connect(connectionOf(person, world));
    people.push({ ...person, id });
  }
  return people;
}

/** As `ballast tokens create` makes one: what is kept of it is its hash. */
async function makeTenantToken({ store }: ScenarioHome): Promise<string> {
  const now = systemClock.now();
  const { token, ...stored } = makeApiToken(now);
  const made = await store.tokens.create(
    { ...stored, name: "booking", tenantId: TOKENS_TENANT, scopes: ["read", "refresh"] },
    { actor: "scenario", now },
  );
  if (made !== "created") throw new Error(`The tenant's token: ${made}`);
  return token;
}

function watch(
  simulator: Simulator,
): Pick<AccountsWorld, "now" | "readSince" | "askedSince" | "expireTokens" | "revoke"> {
  const since = (sequence: number): ReturnType<typeof simulator.log.after> =>
    simulator.log.after(sequence, 500_000);
  return {
    now: () => since(0).at(-1)?.sequence ?? 0,
    readSince: (sequence) =>
      new Set(
        since(sequence)
          .filter(({ operation, status }) => operation === "events.list" && status === 200)
          .map(({ account }) => account),
      ),
    askedSince: (sequence) => {
      const asked = new Map<string, number>();
      for (const { account } of since(sequence)) asked.set(account, (asked.get(account) ?? 0) + 1);
      return asked;
    },
    expireTokens: (people) => {
      for (const { email } of people) {
        const account = simulator.world.accounts.get(email);
        if (account) account.tokensDeadBeforeMs = simulator.world.nowMs() + 1;
      }
    },
    revoke: (people, isRevoked) => {
      for (const { email } of people) {
        const account = simulator.world.accounts.get(email);
        if (account) account.isRevoked = isRevoked;
      }
    },
  };
}

function watchLeases({ config }: ScenarioHome): {
  readonly isIdle: AccountsWorld["isIdle"];
  close(): void;
} {
  if (config.database.kind !== "sqlite") throw new Error("This scenario looks into SQLite");
  const db = new DatabaseSync(config.database.path, { readOnly: true, timeout: 0 });
  const held = db.prepare(
    `select 1 from calendars where account_id = ? and lease_until is not null
     union all select 1 from accounts where id = ? and discovery_lease_until is not null`,
  );
  return {
    isIdle: (id) => held.get(id, id) === undefined,
    close: () => db.close(),
  };
}

async function nudge({ store }: ScenarioHome, people: readonly Person[]): Promise<void> {
  for (const { id } of people) {
    const dueAt = systemClock.now();
    await store.accounts.requestDiscovery(id, dueAt);
    const calendars = await store.calendars.list({ accountId: id, limit: 100 });
    const wishes = calendars.map(
      (calendar) => ({ calendarId: calendar.id, class: "interactive", dueAt }) as const,
    );
    if (wishes.length > 0) await store.calendars.requestMany(wishes);
  }
}

function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}
