import type { Clock } from "../core/clock.ts";
import type { KeyUsage } from "../core/key-rotation.ts";

/** What a check looks at: decides what a script is told when it fails. */
export type CheckKind = "machine" | "configuration" | "dependency";

/** What a check found; `next` is what to do about it. */
export type CheckVerdict =
  | { readonly outcome: "ok"; readonly detail: string }
  | { readonly outcome: "warn" | "fail"; readonly detail: string; readonly next: string };

/** One named check and what came of it. */
export type CheckResult = CheckVerdict & { readonly name: string; readonly kind: CheckKind };

/** What the checks ask; each rejects with a readable message when it cannot be asked. */
export interface CheckPorts {
  readonly nodeVersion: string;
  /** Problems end everything; undefined means that the rest of the ports cannot be asked. */
  readonly configuration:
    | { readonly kind: "usable"; readonly warnings: readonly string[] }
    | { readonly kind: "unusable"; readonly problems: readonly string[] };
  readonly readSchema: () => Promise<
    | {
        readonly version: number;
        readonly supported: { readonly from: number; readonly to: number };
      }
    | "absent"
  >;
  /** `none`: nobody named one. */
  readonly readRedis: (
    signal: AbortSignal,
  ) => Promise<{ readonly version: string; readonly evictionPolicy: string } | "none">;
  /** `none`: no Google credentials, so nothing will be asked of Google. */
  readonly askTokenEndpoint: (
    signal: AbortSignal,
  ) => Promise<{ readonly status: number; readonly skewMs: number | undefined } | "none">;
  readonly tryDataDirectory: () => Promise<string>;
  /** Which keys seal what is stored; `none`: there is no database of this schema yet. */
  readonly readKeys: () => Promise<
    | {
        readonly current: string;
        readonly configured: readonly string[];
        readonly usage: readonly KeyUsage[];
      }
    | "none"
  >;
}

const TIMEOUT_MS = 5_000;
/** Google refuses assertions of a clock that is off by minutes; our windows only need durations. */
const SKEW_WARN_MS = 5_000;
const SKEW_FAIL_MS = 120_000;

type Endpoint = Awaited<ReturnType<CheckPorts["askTokenEndpoint"]>>;

/** Run every check, each with a deadline of its own; none can keep another from being run. */
export async function runChecks(
  ports: CheckPorts,
  deps: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<readonly CheckResult[]> {
  const one = (
    name: string,
    kind: CheckKind,
    check: (signal: AbortSignal) => Promise<CheckVerdict> | CheckVerdict,
  ): Promise<CheckResult> => runCheck({ name, kind, check }, deps);

  const first = [
    one("node", "machine", () => checkNode(ports.nodeVersion)),
    one("configuration", "configuration", () => checkConfiguration(ports)),
  ];
  if (ports.configuration.kind === "unusable") return Promise.all(first);
  // Asked once, judged twice: whether it answers, and what time it has.
  let endpoint: Promise<Endpoint> | undefined;
  const ask = (signal: AbortSignal): Promise<Endpoint> =>
    (endpoint ??= ports.askTokenEndpoint(signal));
  return Promise.all([
    ...first,
    one("data directory", "machine", async () => ok(await ports.tryDataDirectory())),
    one("database", "dependency", () => checkDatabase(ports)),
    one("encryption keys", "configuration", async () => judgeKeys(await ports.readKeys())),
    one("redis", "dependency", (signal) => checkRedis(ports, signal)),
    one("token endpoint", "dependency", async (signal) => judgeEndpoint(await ask(signal))),
    one("clock", "machine", (signal) => checkClock(ask(signal))),
  ]);
}

async function runCheck(
  {
    name,
    kind,
    check,
  }: {
    readonly name: string;
    readonly kind: CheckKind;
    readonly check: (signal: AbortSignal) => Promise<CheckVerdict> | CheckVerdict;
  },
  { clock, signal }: { readonly clock: Clock; readonly signal: AbortSignal },
): Promise<CheckResult> {
  const ended = new AbortController();
  const late = new AbortController();
  const tooLate = async (): Promise<CheckVerdict> => {
    await clock.sleep(TIMEOUT_MS, AbortSignal.any([signal, ended.signal]));
    late.abort(new Error("No answer in time"));
    return fail(`no answer within ${String(TIMEOUT_MS / 1_000)} s`, NEXT_BY_KIND[kind]);
  };
  const run = async (): Promise<CheckVerdict> => {
    try {
      return await check(AbortSignal.any([signal, late.signal]));
    } catch (error) {
      return fail(error instanceof Error ? error.message : String(error), NEXT_BY_KIND[kind]);
    }
  };
  const deadline = tooLate();
  // When the check comes first the sleep is ended, which rejects it: nobody waits for that.
  deadline.catch(() => undefined);
  const verdict = await Promise.race([run(), deadline]);
  ended.abort(new Error("The check has ended"));
  return { name, kind, ...verdict };
}

const NEXT_BY_KIND: Readonly<Record<CheckKind, string>> = {
  machine: "correct it on this machine, then run ballast doctor again",
  configuration: "ballast config print",
  dependency: "check that it runs and that its address is right: ballast config print",
};

function ok(detail: string): CheckVerdict {
  return { outcome: "ok", detail };
}

function warn(detail: string, next: string): CheckVerdict {
  return { outcome: "warn", detail, next };
}

function fail(detail: string, next: string): CheckVerdict {
  return { outcome: "fail", detail, next };
}

function checkNode(version: string): CheckVerdict {
  const [major = 0, minor = 0] = version.replace(/^v/, "").split(".").map(Number);
  const isSupported = major >= 26 || (major === 24 && minor >= 11);
  return isSupported
    ? ok(`Node ${version}`)
    : fail(`Node ${version}; 24.11 or later is needed`, "npm ci    (brings its own Node 24)");
}

function checkConfiguration({ configuration }: CheckPorts): CheckVerdict {
  if (configuration.kind === "unusable") {
    return fail(configuration.problems.join("; "), "ballast config print");
  }
  const { warnings } = configuration;
  return warnings.length === 0
    ? ok("every variable is usable")
    : warn(warnings.join("; "), "ballast config print");
}

async function checkDatabase(ports: CheckPorts): Promise<CheckVerdict> {
  const schema = await ports.readSchema();
  if (schema === "absent") {
    return warn("there is none yet", "ballast start    (makes one)");
  }
  const { version, supported } = schema;
  const range = `this build runs with ${String(supported.from)} to ${String(supported.to)}`;
  const detail = `schema version ${String(version)}; ${range}`;
  if (version > supported.to) return fail(detail, "use the build that migrated it, or a newer one");
  return version < supported.from ? fail(detail, "ballast migrate plan") : ok(detail);
}

function list(keys: readonly KeyUsage[]): string {
  return keys.map(({ keyId, secrets }) => `${keyId} (${String(secrets)} accounts)`).join(", ");
}

/** A key that is gone takes with it what it sealed; one that seals nothing can go. */
function judgeKeys(keys: Awaited<ReturnType<CheckPorts["readKeys"]>>): CheckVerdict {
  if (keys === "none") return ok("nothing is stored yet");
  const { current, configured, usage } = keys;
  const missing = usage.filter(({ isKnown }) => !isKnown);
  if (missing.length > 0) {
    return fail(
      `not configured, and still needed: ${list(missing)}`,
      "give that key back to BALLAST_ENCRYPTION_KEYS (or the key file), after the newest; then ballast keys rotate",
    );
  }
  const old = usage.filter(({ keyId }) => keyId !== current);
  if (old.length > 0) {
    return warn(`${current} is the newest; still in use: ${list(old)}`, "ballast keys rotate");
  }
  const idle = configured.filter((keyId) => keyId !== current);
  return ok(
    idle.length === 0
      ? `all that is stored is encrypted with ${current}`
      : `all that is stored is encrypted with ${current}; no longer needed for it: ${idle.join(", ")}`,
  );
}

async function checkRedis(ports: CheckPorts, signal: AbortSignal): Promise<CheckVerdict> {
  const redis = await ports.readRedis(signal);
  if (redis === "none") {
    return ok("none named: `ballast start` runs a private one");
  }
  const [major = 0, minor = 0] = redis.version.split(".").map(Number);
  if (major < 6 || (major === 6 && minor < 2)) {
    return fail(`Redis ${redis.version}; 6.2 or later is needed`, "use a newer Redis or Valkey");
  }
  return redis.evictionPolicy === "noeviction"
    ? ok(`Redis ${redis.version}, noeviction`)
    : fail(
        `its maxmemory-policy is ${redis.evictionPolicy}: it would drop jobs and quota windows when full`,
        "redis-cli config set maxmemory-policy noeviction    (and in its configuration file)",
      );
}

function judgeEndpoint(endpoint: Endpoint): CheckVerdict {
  if (endpoint === "none") {
    return ok("not needed: no Google credentials are set, so the simulator is synced");
  }
  return endpoint.status < 500
    ? ok("answers")
    : warn(`answers ${String(endpoint.status)}`, "try again; tokens already held go on working");
}

async function checkClock(asked: Promise<Endpoint>): Promise<CheckVerdict> {
  let endpoint: Endpoint;
  try {
    endpoint = await asked;
  } catch {
    // The endpoint's own check says why; that says nothing about this clock.
    return warn(
      "not compared: the token endpoint does not answer",
      "compare it with another clock",
    );
  }
  if (endpoint === "none") return ok("not compared: nothing outside is asked");
  const { skewMs } = endpoint;
  if (skewMs === undefined) return warn("the answer had no date", "compare it with another clock");
  const detail = `${(skewMs / 1_000).toFixed(1)} s ${skewMs < 0 ? "behind" : "ahead of"} Google's`;
  const next = "turn on time synchronisation: timedatectl set-ntp true";
  if (Math.abs(skewMs) > SKEW_FAIL_MS) return fail(detail, next);
  return Math.abs(skewMs) > SKEW_WARN_MS ? warn(detail, next) : ok(detail);
}
