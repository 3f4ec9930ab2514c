/** The simulator in a process of its own, so that what drives it does not stall what counts. */
import { createSimulator } from "../../src/simulator/simulator.ts";
import type { SimulatorOptions } from "../../src/simulator/assemble-simulator.ts";
import type { GoogleReady } from "./google.ts";

async function serve(options: SimulatorOptions): Promise<void> {
  const simulator = await createSimulator(options);
  const ready: GoogleReady = {
    url: simulator.url,
    tokenUrl: simulator.tokenUrl,
    controlUrl: simulator.controlUrl,
    accounts: simulator.accounts().map(({ email, sub, refreshToken, listedById }) => ({
      email,
      sub,
      refreshToken,
      calendarIds: [...listedById.keys()],
    })),
  };
  process.send?.(ready);
}

process.once("message", (options: SimulatorOptions) => {
  serve(options).catch((error: unknown) => {
    process.stderr.write(`simulator: ${String(error)}\n`);
    process.exitCode = 1;
    process.disconnect();
  });
});
