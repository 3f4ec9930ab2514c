#!/usr/bin/env node
import { enableCompileCache } from "node:module";
import { join } from "node:path";
import { systemClock } from "../core/clock.ts";
import { Interrupted } from "./cli-error.ts";
import { EXIT } from "./exit-codes.ts";
import { createOutput } from "./output.ts";

/** How long a command that starts nothing may take to come back after Ctrl-C. */
const COME_BACK_MS = 2_000;
/** How long a library's leftover timer may keep a finished process; what was written is out before it ends. */
const LINGER_MS = 200;
const SAME_KEYPRESS_MS = 300;

const interruption = new AbortController();
let drainsItself = false;
let lastSignalMs = -Infinity;

function onSignal(signal: NodeJS.Signals): void {
  // One keypress arrives twice under npm: from the terminal, and passed on by npm.
  const isSameKeypress = performance.now() - lastSignalMs < SAME_KEYPRESS_MS;
  lastSignalMs = performance.now();
  if (isSameKeypress) return;
  // The second Ctrl-C ends at once; exit hooks still end the servers that were started.
  if (interruption.signal.aborted) process.exit(EXIT.interrupted);
  interruption.abort(new Interrupted(signal));
  if (!drainsItself) setTimeout(() => process.exit(EXIT.interrupted), COME_BACK_MS).unref();
}
process.on("SIGINT", onSignal);
process.on("SIGTERM", onSignal);
// The terminal was closed: what was started must not outlive it.
process.on("SIGHUP", onSignal);
for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: NodeJS.ErrnoException) => {
    // Whoever read our output has gone (`| head`, a closed terminal): that ends a command, and is no failure.
    if (error.code !== "EPIPE" && error.code !== "EIO") throw error;
    interruption.abort(new Interrupted("output closed"));
  });
}

// Loading takes half the time of a short command. Not the system's temporary directory: others write there.
enableCompileCache(join(import.meta.dirname, "..", "..", ".cache", "node"));
const { runCli } = await import("./run-cli.ts");

process.exitCode = await runCli(process.argv.slice(2), {
  env: process.env,
  clock: systemClock,
  output: createOutput({ stdout: process.stdout, stderr: process.stderr, env: process.env }),
  interrupted: interruption.signal,
  drainsItself: () => {
    drainsItself = true;
  },
  exit: (code) => process.exit(code),
});
setInterval(() => {
  if (process.stdout.writableLength + process.stderr.writableLength === 0) process.exit();
}, LINGER_MS).unref();
