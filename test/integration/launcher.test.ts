import { spawn, type ChildProcessByStdio } from "node:child_process";
import { once } from "node:events";
import { chmod, copyFile, mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type { Readable } from "node:stream";
import { expect, onTestFinished, test } from "vitest";
import { identifyProcess } from "../../src/embedded/process-identity.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const LAUNCHER = join(import.meta.dirname, "..", "..", "src", "cli", "launcher.mjs");

/** Stands for the CLI: says who runs it, counts interrupts, ends with 7 when asked to. */
const CLI = `
let interrupts: number = 0;
process.on("SIGINT", () => { interrupts += 1; console.log("interrupt " + interrupts); });
process.on("SIGTERM", () => { console.log("terminated"); process.exit(7); });
console.log("ready " + process.pid + " " + process.argv.slice(2).join(","));
if (process.argv.includes("--version")) process.exit(0);
setInterval(() => {}, 1000);
`;

/** Makes a process believe that it runs on this Node. */
function pretend(version: string): string[] {
  const code = `Object.defineProperty(process, "versions", { value: { ...process.versions, node: "${version}" } })`;
  return ["--import", `data:text/javascript,${encodeURIComponent(code)}`];
}

async function makeCheckout(options: { readonly withLocalNode: boolean }): Promise<string> {
  const checkout = await temporaryDirectory();
  const cli = join(checkout, "src", "cli");
  await mkdir(cli, { recursive: true });
  await copyFile(LAUNCHER, join(cli, "launcher.mjs"));
  await writeFile(join(cli, "ballast.ts"), CLI);
  await writeFile(join(checkout, "package.json"), `{ "type": "module" }`);
  if (options.withLocalNode) {
    const platform = `node-${process.platform}-${process.arch}`;
    const bin = join(checkout, "node_modules", platform, "bin");
    await mkdir(bin, { recursive: true });
    await writeFile(join(bin, "node"), `#!/bin/sh\nexec '${process.execPath}' "$@"\n`);
    await chmod(join(bin, "node"), 0o755);
  }
  return join(cli, "launcher.mjs");
}

interface Launched {
  readonly child: ChildProcessByStdio<null, Readable, Readable>;
  readonly nextLine: () => Promise<string>;
  readonly ended: Promise<{ readonly code: unknown; readonly output: string }>;
}

function launch(args: readonly string[]): Launched {
  // A group of its own, as a shell makes one for each command.
  const child = spawn(process.execPath, [...args], {
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
  });
  onTestFinished(() => {
    child.kill("SIGKILL");
  });
  let output = "";
  const collect = (chunk: Buffer): void => {
    output += chunk.toString();
  };
  child.stdout.on("data", collect);
  child.stderr.on("data", collect);
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  return {
    child,
    nextLine: async () => String((await lines.next()).value),
    ended: once(child, "close").then(([code]: unknown[]) => ({ code, output })),
  };
}

test("a suitable Node runs the CLI in its own process", async () => {
  const launcher = await makeCheckout({ withLocalNode: false });
  const { child, ended } = launch([launcher, "status", "--version"]);
  expect(await ended).toEqual({
    code: 0,
    output: `ready ${String(child.pid)} status,--version\n`,
  });
});

test.each(["20.20.2", "24.10.0", "25.3.0"])(
  "Node %s hands over to the one that npm ci brought, with arguments and exit code",
  async (version) => {
    const launcher = await makeCheckout({ withLocalNode: true });
    const { child, nextLine, ended } = launch([...pretend(version), launcher, "status", "--json"]);
    const [, pid, args] = (await nextLine()).split(" ");
    expect(args).toBe("status,--json");
    expect(Number(pid)).not.toBe(child.pid);

    child.kill("SIGTERM");
    expect(await ended).toMatchObject({ code: 7 });
  },
);

test("one Ctrl-C reaches the CLI once, although the terminal and npm both pass it on", async () => {
  const launcher = await makeCheckout({ withLocalNode: true });
  const { child, nextLine, ended } = launch([...pretend("20.20.2"), launcher, "start"]);
  await nextLine();

  process.kill(-(child.pid ?? 0), "SIGINT");
  child.kill("SIGINT");
  expect(await nextLine()).toBe("interrupt 1");
  child.kill("SIGTERM");

  const { code, output } = await ended;
  expect(code).toBe(7);
  expect(output).toMatch(/^ready.*\ninterrupt 1\nterminated\n$/);
});

test("a launcher that is killed outright does not leave the CLI behind", async () => {
  const launcher = await makeCheckout({ withLocalNode: true });
  const { child, nextLine } = launch([...pretend("20.20.2"), launcher, "worker"]);
  const pid = Number((await nextLine()).split(" ")[1]);
  child.kill("SIGKILL");
  await expect.poll(() => identifyProcess(pid), { timeout: 60_000 }).toBeUndefined();
});

test("without a suitable Node it says what to do and ends with 4", async () => {
  const launcher = await makeCheckout({ withLocalNode: false });
  const { ended } = launch([...pretend("20.20.2"), launcher, "start"]);
  const { code, output } = await ended;
  expect(code).toBe(4);
  expect(output).toContain("needs Node 24.11");
  expect(output).toContain("npm ci");
});
