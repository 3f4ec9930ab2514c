import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { systemClock } from "../core/clock.ts";
import type { Clock } from "../core/clock.ts";
import { assembleSimulator } from "./assemble-simulator.ts";
import type { ServerPlace, SimulatorOptions, SimulatorParts } from "./assemble-simulator.ts";
import type { Account } from "./world.ts";

/** A running simulator. */
export interface Simulator extends Omit<SimulatorParts, "handle" | "push"> {
  /** Google's API root, for `rootUrl` or `GOOGLE_API_ROOT_URL`. Ends with a slash. */
  readonly url: string;
  readonly tokenUrl: string;
  /** The consent page. */
  readonly authUrl: string;
  /** Where the control routes begin. */
  readonly controlUrl: string;
  /** Its accounts, with the refresh tokens that open them. */
  accounts(): readonly Account[];
  /** Stop everything it started; the state file, if any, is written last. */
  close(): Promise<void>;
}

const STALL_RESOLUTION_MS = 10;

/** Start a simulator. Whoever starts it closes it. */
export async function createSimulator(
  options: SimulatorOptions = {},
  deps: { readonly clock?: Clock } = {},
): Promise<Simulator> {
  const stall = monitorEventLoopDelay({ resolution: STALL_RESOLUTION_MS });
  const place: ServerPlace = {
    rootUrl: "",
    longestStallMs: () => Math.max(0, stall.max / 1e6 - STALL_RESOLUTION_MS),
    resetStall: () => stall.reset(),
  };
  const clock = deps.clock ?? systemClock;
  const { handle, push, ...parts } = await assembleSimulator(options, { clock, place });
  const server = createServer(handle);
  server.keepAliveTimeout = 65_000;
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, options.host ?? "127.0.0.1", resolve);
  });
  stall.enable();
  place.rootUrl = rootUrlOf(server.address());
  return {
    ...parts,
    url: place.rootUrl,
    tokenUrl: `${place.rootUrl}token`,
    authUrl: `${place.rootUrl}o/oauth2/v2/auth`,
    controlUrl: `${place.rootUrl}_control/`,
    accounts: () => [...parts.world.accounts.values()],
    async close() {
      stall.disable();
      await parts.changes.stop();
      await push.close();
      await new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      });
      await parts.save();
    },
  };
}

function rootUrlOf(address: string | AddressInfo | null): string {
  if (address === null || typeof address === "string") throw new Error("Not listening on a port");
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return `http://${host}:${address.port}/`;
}
