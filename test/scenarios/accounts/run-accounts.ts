import { epochMs, systemClock } from "../../../src/core/clock.ts";
import { projectId, type AccountId } from "../../../src/core/ids.ts";
import { createCanarySearch, type CanarySearch } from "../../support/canary-search.ts";
import { createBounds, type Scenario, type ScenarioOptions } from "../scenario.ts";
import { openAccountsWorld, type AccountsWorld, type Person } from "./accounts-world.ts";
import { searchCrash, searchPlaces, watchRedis } from "./search-canaries.ts";

/**
 * Everything that happens to accounts, one after the other: a clock that is off, grants revoked singly, scopes and
 * calendars lost, a pause, reconnects, a restart, a token endpoint in trouble, a client that Google refuses, a wave.
 * Who has to reconnect is disconnected once and never asked about again; nobody else is; and no secret is
 * anywhere but sealed.
 */
const SIZES = {
  full: { people: 500, tenants: 20, robots: 10, pollSeconds: 10, wave: 60 },
  short: { people: 24, tenants: 4, robots: 2, pollSeconds: 1, wave: 9 },
} as const;

/** Fewer than what is taken for a wave, over all that is revoked before it. */
const REVOKED = 4;
const SCOPES_LOST = 3;
const WITHIN_MS = 240_000;

export const runAccounts: Scenario = async (options) => {
  const startedAt = Date.now();
  const size = options.short ? SIZES.short : SIZES.full;
  // Filled once the world and its secrets are there.
  const searching: { search: CanarySearch | undefined } = { search: undefined };
  const world = await openAccountsWorld({
    ...size,
    seed: options.seed,
    onLogLine: (line) => searching.search?.look("log lines", line, "accountId="),
  });
  const search = createCanarySearch(world.canaries);
  searching.search = search;
  const run: Run = { ...size, options, world, search, bounds: createBounds(), wrongly: new Set() };
  const monitor = await watchRedis(world.home.redis.url, search);
  try {
    await clockIsOff(run);
    await somePeopleLeave(run);
    await someComeBack(run);
    await tokenEndpointFails(run);
    await clientIsRefused(run);
    await searchPlaces(world, search);
    await waveComes(run);
    await searchPlaces(world, search);
    await searchCrash(world, search);
  } finally {
    monitor.close();
    await world.close();
  }
  return judge(run, startedAt);
};

interface Run {
  readonly options: ScenarioOptions;
  readonly world: AccountsWorld;
  readonly search: CanarySearch;
  readonly bounds: ReturnType<typeof createBounds>;
  /** Accounts that were found disconnected without having lost anything. */
  readonly wrongly: Set<AccountId>;
  readonly pollSeconds: number;
  readonly wave: number;
}

function judge({ world, bounds, search, wrongly, options }: Run, startedAt: number): Result {
  for (const line of search.found()) options.say(`canary: ${line}`);
  for (const place of search.blind()) bounds.atMost(`what must be found in ${place}, unseen`, 1, 0);
  bounds.atLeast("places searched", search.places().length, 12);
  bounds.atMost("disconnectedWrongly", wrongly.size, 0);
  bounds.atMost("canariesFound", search.found().length, 0);
  return {
    figures: {
      accounts: world.people.length,
      revoked: REVOKED,
      scopesLost: SCOPES_LOST,
      wave: waveOf(world, options).length,
      disconnectedWrongly: wrongly.size,
      canariesFound: search.found().length,
      placesSearched: search.places().length,
      requests: world.now(),
      seconds: Math.round((Date.now() - startedAt) / 1_000),
    },
    missed: bounds.missed,
  };
}

type Result = Awaited<ReturnType<Scenario>>;

/** Who plays which part; the service account's come first. */
function cast({
  people,
}: AccountsWorld): Readonly<
  Record<"robots" | "revoked" | "scopeless" | "others", readonly Person[]>
> {
  const humans = people.filter(({ isByRobot }) => !isByRobot);
  return {
    robots: people.filter(({ isByRobot }) => isByRobot),
    revoked: humans.slice(0, REVOKED),
    scopeless: humans.slice(REVOKED, REVOKED + SCOPES_LOST),
    others: humans.slice(REVOKED + SCOPES_LOST),
  };
}

function waveOf(world: AccountsWorld, { short }: ScenarioOptions): readonly Person[] {
  return cast(world).others.slice(0, short ? SIZES.short.wave : SIZES.full.wave);
}

async function until(
  what: string,
  holds: () => boolean | Promise<boolean>,
  withinMs = WITHIN_MS,
): Promise<void> {
  const endsAtMs = systemClock.monotonicMs() + withinMs;
  while (!(await holds())) {
    if (systemClock.monotonicMs() > endsAtMs) throw new Error(`It did not come to: ${what}`);
    await systemClock.sleep(100, new AbortController().signal);
  }
}

async function untilRead(world: AccountsWorld, people: readonly Person[]): Promise<void> {
  const since = world.now();
  await untilReadSince(world, people, since);
}

function untilReadSince(
  world: AccountsWorld,
  people: readonly Person[],
  since: number,
): Promise<void> {
  return until(`${String(people.length)} accounts are read`, () => {
    const read = world.readSince(since);
    return people.every(({ email }) => read.has(email));
  });
}

/** Nobody but these has to reconnect now; and these do. */
async function judgeStates(
  { world, bounds, wrongly, options }: Run,
  when: string,
  expected: readonly Person[],
): Promise<void> {
  const rows = await world.home.store.accounts.list({ state: "needs-reconnect", limit: 1_000 });
  const allowed = new Set(expected.map(({ id }) => id));
  for (const { id, stateReason } of rows) {
    if (allowed.has(id)) continue;
    options.say(`${when}: ${id} was disconnected wrongly (${String(stateReason)})`);
    wrongly.add(id);
  }
  const seen = rows.filter(({ id }) => allowed.has(id)).length;
  bounds.atLeast(`${when}: disconnected as they should be`, seen, expected.length);
  options.say(`${when}: ${String(rows.length)} have to reconnect`);
}

async function troublesOf({ home }: AccountsWorld): Promise<readonly string[]> {
  const troubles = await home.store.projectTroubles.list(systemClock.now());
  return troubles.map(({ code }) => code);
}

async function clockIsOff(run: Run): Promise<void> {
  const { world, bounds } = run;
  const { robots } = cast(world);
  const humans = world.people.filter(({ isByRobot }) => !isByRobot);
  await untilReadSince(world, humans, 0);
  await until("the clock is noticed", async () =>
    (await troublesOf(world)).includes("GCAL_CLOCK_SKEWED"),
  );
  await judgeStates(run, "clock off", []);
  const read = world.readSince(0);
  bounds.atMost(
    "service accounts read with a clock that is off",
    robots.filter(({ email }) => read.has(email)).length,
    0,
  );
  bounds.atMost("alarms of the clock", world.logged("This machine's clock is off"), 1);
  bounds.atLeast("alarms of the clock", world.logged("This machine's clock is off"), 1);
  world.mendClock();
  const since = world.now();
  await until("service accounts are read once the clock is right", async () => {
    await world.nudge(robots);
    const now = world.readSince(since);
    return robots.every(({ email }) => now.has(email));
  });
}

async function somePeopleLeave(run: Run): Promise<void> {
  const { world, bounds } = run;
  const { revoked, scopeless, others } = cast(world);
  world.revoke(revoked, true);
  world.expireTokens(revoked);
  world.simulator.faults.install({
    faults: [
      ...scopeless.map(({ email }) => ({
        match: { account: email, operation: ["events.list", "calendarList.list"] },
        answer: {
          kind: "error" as const,
          status: 403,
          reason: "insufficientPermissions",
          message: "Request had insufficient authentication scopes.",
        },
      })),
      {
        match: { calendar: calendarOf(others[0]), operation: "events.list" },
        answer: { kind: "error" as const, status: 404, reason: "notFound" },
      },
    ],
  });
  const left = [...revoked, ...scopeless];
  await until(
    "they are disconnected",
    async () => (await world.home.store.accounts.countsByState())["needs-reconnect"] >= left.length,
  );
  await judgeStates(run, "some left", left);
  await calendarIsLost(run, others[0]);
  await untilIdle(world, left);
  const since = world.now();
  await untilRead(world, others);
  await untilRead(world, others);
  const asked = world.askedSince(since);
  const loud = left.filter(({ email }) => asked.has(email));
  bounds.atMost("accounts asked about after they were disconnected", loud.length, 0);
  const told = world.logged("Account needs to reconnect");
  bounds.atMost("times that was told", told, left.length);
  bounds.atLeast("times that was told", told, left.length);
}

/** The one beside the primary, which the seed has dealt out in order. */
function calendarOf(person: Person | undefined): string {
  return `calendar-${String(person?.index ?? 0)}@group.calendar.google.com`;
}

/** 404, twice; the rest of the account goes on. */
async function calendarIsLost({ world, bounds }: Run, owner: Person | undefined): Promise<void> {
  if (owner === undefined) throw new Error("Nobody is left");
  const { store } = world.home;
  const lost = async (): Promise<number> => {
    const rows = await store.calendars.list({ accountId: owner.id, state: "lost", limit: 10 });
    return rows.length;
  };
  await until("the calendar is lost", async () => {
    await world.nudge([owner]);
    return (await lost()) > 0;
  });
  bounds.atMost("calendars of that account that are lost", await lost(), 1);
  const told = world.logged("Calendar is lost");
  bounds.atLeast("lost calendars told", told, 1);
  bounds.atMost("lost calendars told", told, 1);
  const account = await store.accounts.get(owner.id);
  bounds.atLeast("its account is connected", account?.state === "connected" ? 1 : 0, 1);
}

async function someComeBack(run: Run): Promise<void> {
  const { world, bounds } = run;
  const { store } = world.home;
  const { revoked, scopeless, others } = cast(world);
  const left = [...revoked, ...scopeless];
  const [paused, ...back] = left;
  const alsoPaused = others[1];
  if (paused === undefined || alsoPaused === undefined) throw new Error("Nobody to pause");
  const held = [paused, alsoPaused];
  await pause(world, held);
  const before = await calendarsOf(world, left);
  world.revoke(revoked, false);
  world.simulator.faults.install({ faults: [] });
  const since = world.now();
  let changedIds = 0;
  for (const person of [...left, alsoPaused]) {
    if ((await world.reconnect(person)) !== person.id) changedIds += 1;
  }
  bounds.atMost("accounts with another id after reconnecting", changedIds, 0);
  await untilReadSince(world, back, since);
  bounds.atMost(
    "calendars with another id after reconnecting",
    (await calendarsOf(world, left)).filter((id) => !before.includes(id)).length,
    0,
  );
  await judgeStates(run, "all came back", []);
  await pausesHold(run, held, since);

  await world.home.restart();
  const restarted = world.now();
  await untilRead(world, back);
  await pausesHold(run, held, restarted);
  const now = systemClock.now();
  for (const { id } of held) {
    await store.accounts.setOperatorPause(id, undefined, { actor: "scenario", now });
  }
  await world.nudge(held);
  await untilReadSince(world, held, restarted);
}

/** In force with the ledger's next decision: from then on only what was granted before is on its way. */
async function pause(world: AccountsWorld, held: readonly Person[]): Promise<void> {
  const { store } = world.home;
  const by = { actor: "scenario", now: systemClock.now() };
  for (const { id } of held) await store.accounts.setOperatorPause(id, { reason: "legal" }, by);
  await until("the ledger knows the pauses", async () => {
    const { pauses } = await world.home.app.status();
    return pauses.filter(({ scope }) => scope.startsWith("account:")).length >= held.length;
  });
  await untilIdle(world, held);
}

/** What ran for them when they were paused or disconnected has ended, and nothing else was begun. */
function untilIdle(world: AccountsWorld, people: readonly Person[]): Promise<void> {
  return until(`nothing runs for ${String(people.length)} accounts`, () =>
    Promise.resolve(people.every(({ id }) => world.isIdle(id))),
  );
}

async function calendarsOf(world: AccountsWorld, people: readonly Person[]): Promise<string[]> {
  const ids: string[] = [];
  for (const { id } of people) {
    const rows = await world.home.store.calendars.list({ accountId: id, limit: 100 });
    ids.push(...rows.map((row) => row.id));
  }
  return ids;
}

/** I12: whatever happened meanwhile. */
async function pausesHold(
  { world, bounds }: Run,
  held: readonly Person[],
  since: number,
): Promise<void> {
  const asked = world.askedSince(since);
  const loud = held.filter(({ email }) => asked.has(email));
  bounds.atMost("paused accounts that were asked about", loud.length, 0);
  const { paused } = await world.home.store.accounts.countsByState();
  bounds.atLeast("accounts still paused", paused, held.length);
}

/** 5xx, and answers cut in half: what client libraries put into their errors then is not for the log. */
async function tokenEndpointFails(run: Run): Promise<void> {
  const { world, bounds } = run;
  const match = { operation: "oauth.token" };
  world.simulator.faults.install({
    faults: [
      { match: { ...match, times: 3 }, answer: { kind: "malformed" } },
      { match: { ...match, times: 3 }, answer: { kind: "truncated", bytes: 120 } },
      { match, answer: { kind: "error", status: 503, reason: "backendError" } },
    ],
  });
  const since = world.now();
  world.expireTokens(world.people);
  await world.nudge(world.people);
  const failed = (): number =>
    world.simulator.log
      .after(since, 500_000)
      .filter(({ operation, outcome }) => operation === "oauth.token" && outcome === "injected")
      .length;
  // More may never come: then the breaker is open, and only probes go out.
  await until("the token endpoint has failed often", () => failed() >= 8);
  bounds.atLeast("failed token requests", failed(), 8);
  await judgeStates(run, "token endpoint down", []);
  world.simulator.faults.install({ faults: [] });
  await recovers(world);
}

/** All are read again, whatever they waited for. */
async function recovers(world: AccountsWorld): Promise<void> {
  const since = world.now();
  const late = (): Person[] => {
    const read = world.readSince(since);
    return world.people.filter(({ email }) => !read.has(email));
  };
  await until("all are read again", async () => {
    await world.nudge(late());
    await systemClock.sleep(2_000, new AbortController().signal);
    return late().length === 0;
  });
}

async function clientIsRefused(run: Run): Promise<void> {
  const { world, bounds } = run;
  world.simulator.faults.install({
    faults: [
      {
        match: { operation: "oauth.token" },
        answer: {
          kind: "error",
          status: 401,
          reason: "invalid_client",
          message: "The OAuth client was not found.",
        },
      },
    ],
  });
  const since = world.now();
  world.expireTokens(world.people);
  await world.nudge(world.people);
  await until("the client's trouble is known", async () =>
    (await troublesOf(world)).includes("GCAL_CLIENT_MISCONFIGURED"),
  );
  await systemClock.sleep(3_000, new AbortController().signal);
  const requests = world.simulator.log
    .after(since, 500_000)
    .filter(({ operation }) => operation === "oauth.token").length;
  // One at a time finds out, and those that were on their way.
  bounds.atMost("token requests for a client that is refused", requests, 40);
  const told = world.logged("does not accept this project's OAuth client");
  bounds.atLeast("alarms of the client", told, 1);
  bounds.atMost("alarms of the client", told, 1);
  await judgeStates(run, "client refused", []);
  const { sentence } = await world.home.app.status();
  bounds.atLeast("the status says so", sentence.includes("OAuth client") ? 1 : 0, 1);
  world.simulator.faults.install({ faults: [] });
  await recovers(world);
}

async function waveComes(run: Run): Promise<void> {
  const { world, bounds, options } = run;
  const { deadGrants } = world.home.store;
  const wave = waveOf(world, options);
  world.revoke(wave, true);
  world.expireTokens(wave);
  await world.nudge(wave);
  await until("the wave is held", async () => {
    return (await deadGrants.holds(systemClock.now())).length > 0;
  });
  await untilRead(world, cast(world).others.slice(wave.length));
  await judgeStates(run, "wave", []);
  const held = world.logged("Many accounts' credentials are refused at once");
  bounds.atLeast("alarms of the wave", held, 1);
  bounds.atMost("alarms of the wave", held, 1);
  world.revoke(wave, false);
  const now = systemClock.now();
  await deadGrants.resume(projectId("default"), {
    actor: "scenario",
    reason: "over",
    now,
    until: epochMs(now + 3_600_000),
  });
  await recovers(world);
  await judgeStates(run, "after the wave", []);
}
