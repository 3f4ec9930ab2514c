import { join } from "node:path";
import type { Config } from "../config/config.ts";
import { accountName, projectId, quotaUser, tenantId } from "../core/ids.ts";
import { openAppStore } from "../operator-app.ts";
import { runSimulator } from "../simulator/run-simulator.ts";
import type { CommandContext } from "./command-context.ts";
import type { Starting } from "./run-service.ts";

const ACCOUNTS = 9;
/** Besides each account's primary one: 63 calendars, some of them shared with a second account. */
const CALENDARS_EACH = 6;
const EVENTS_EACH = 40;
/** So that something can be seen to happen, at a rate that no quota notices. */
const CHANGES_PER_SECOND = 2;
const POLL_MS = 15_000;
const TENANTS = ["acme", "globex", "initech"];

/** The simulator that stands in for Google, and the configuration that points at it. */
export interface DemoGoogle {
  readonly config: Config;
  readonly url: string;
  /** Connect its accounts, once the database is there. Those that are connected already are left alone. */
  connectAccounts(): Promise<void>;
}

/** Run the simulator in this process, its world kept in the data directory, so that sync tokens hold over restarts. */
export async function startDemoGoogle(
  { config, started }: Starting,
  { clock }: CommandContext,
): Promise<DemoGoogle> {
  const simulator = await runSimulator({
    seed: "ballast demo",
    accounts: ACCOUNTS,
    calendars: CALENDARS_EACH,
    events: EVENTS_EACH,
    stateFile: join(config.dataDirectory, "demo-google.json"),
    changesPerSecond: CHANGES_PER_SECOND,
  });
  started.push({ name: "simulator", run: () => simulator.close() });
  const demoConfig: Config = {
    ...config,
    pollIntervalMs: Math.min(config.pollIntervalMs, POLL_MS),
    google: {
      client: { id: "demo", secret: "demo" },
      apiRootUrl: simulator.url,
      oauthTokenUrl: simulator.tokenUrl,
      oauthAuthUrl: simulator.authUrl,
    },
  };
  return {
    config: demoConfig,
    url: simulator.url,
    async connectAccounts() {
      const store = await openAppStore(demoConfig, { clock });
      try {
        for (const [index, { email, sub, refreshToken }] of simulator.accounts().entries()) {
          const tenant = tenantId(TENANTS[index % TENANTS.length] ?? "acme");
          const name = accountName(email);
          if ((await store.accounts.find(tenant, name)) !== undefined) continue;
          await store.accounts.connect({
            projectId: projectId("default"),
            tenantId: tenant,
            name,
            quotaUser: quotaUser(sub),
            refreshToken,
            scopes: ["https://www.googleapis.com/auth/calendar.readonly"],
            now: clock.now(),
          });
        }
      } finally {
        await store.close();
      }
    },
  };
}
