#!/usr/bin/env node
/* oxlint-disable typescript/no-unsafe-call, typescript/no-unsafe-member-access, typescript/no-unsafe-argument, typescript/no-unsafe-assignment -- plain JavaScript, which the type checker does not read: old Nodes must parse this file */
/**
 * The entry of `ballast`: runs on whatever Node the system has, so it may use only what old ones can parse.
 *
 * States: suitable Node → the CLI runs in this process. Unsuitable → the Node 24 that `npm ci` put into
 * node_modules runs this file again as our child, and we only pass on signals and the exit code.
 */
import { spawn } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join, sep } from "node:path";
import { fileURLToPath } from "node:url";

const CONFIG_PROBLEM = 4;
/** Ctrl-C reaches us from the terminal and again from npm, which passes it on: one keypress, one signal. */
const SAME_KEYPRESS_MS = 300;
const FORWARDED = ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR2", "SIGWINCH"];

const here = dirname(fileURLToPath(import.meta.url));

/** The same range as `engines` in package.json. */
function isSuitable(version) {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return (major === 24 && minor >= 11) || major >= 26;
}

function findLocalNode() {
  const platform = `node-${process.platform}-${process.arch}`;
  for (let directory = here; ; directory = dirname(directory)) {
    const candidate = [directory, "node_modules", platform, "bin", "node"].join(sep);
    if (existsSync(candidate)) return candidate;
    if (dirname(directory) === directory) return undefined;
  }
}

/** @param {string} node */
function runAgainOn(node) {
  // A group of its own: what the terminal sends to ours reaches the child only through us, once.
  const child = spawn(node, [fileURLToPath(import.meta.url), ...process.argv.slice(2)], {
    detached: true,
    stdio: ["inherit", "inherit", "inherit", "ipc"],
  });
  let lastInterruptMs = -Infinity;
  for (const signal of FORWARDED) {
    process.on(signal, () => {
      if (signal === "SIGINT") {
        const nowMs = performance.now();
        const isSameKeypress = nowMs - lastInterruptMs < SAME_KEYPRESS_MS;
        lastInterruptMs = nowMs;
        if (isSameKeypress) return;
      }
      child.kill(signal);
    });
  }
  child.on("error", (error) => {
    fail(`${node} could not be started: ${error.message}`);
  });
  child.on("exit", (code, signal) => {
    process.exit(code === null ? 128 + constants.signals[signal] : code);
  });
}

function endWithParent() {
  if (process.channel === undefined) return;
  process.once("disconnect", () => {
    process.kill(process.pid, "SIGTERM");
  });
  process.channel.unref();
}

/** @param {string} message */
function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(CONFIG_PROBLEM);
}

if (isSuitable(process.versions.node)) {
  endWithParent();
  // Sources in a checkout, built files in a package.
  await import(existsSync(join(here, "ballast.ts")) ? "./ballast.ts" : "./ballast.js");
} else {
  const local = findLocalNode();
  if (local === undefined || realpathSync(local) === realpathSync(process.execPath)) {
    fail(
      `Ballast needs Node 24.11 or later (24.x, or 26 and up); this is ${process.version}.\n` +
        "On Linux (x64, arm64) `npm ci` in the checkout brings one along, without `--omit=optional`.\n" +
        "Elsewhere install Node 24 and run the command again.",
    );
  } else {
    runAgainOn(local);
  }
}
