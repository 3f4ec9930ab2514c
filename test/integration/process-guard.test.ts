import { spawn } from "node:child_process";
import { expect, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { createLogger } from "../../src/observability/logger.ts";
import { installProcessGuard } from "../../src/observability/process-guard.ts";

const source = (name: string): string =>
  JSON.stringify(new URL(`../../src/${name}`, import.meta.url).href);

/** Run a program under the guard in a process of its own. `drain` and `fault` are code. */
async function runGuarded(program: {
  readonly drain: string;
  readonly fault: string;
}): Promise<{ readonly code: number | null; readonly lines: Record<string, unknown>[] }> {
  const code = `
    import { systemClock as clock } from ${source("core/clock.ts")};
    import { createLogger } from ${source("observability/logger.ts")};
    import { installProcessGuard } from ${source("observability/process-guard.ts")};
    const logger = createLogger(
      { level: "info", format: "json" },
      { write: (line) => process.stdout.write(line) },
    );
    const drain = async () => { ${program.drain} };
    installProcessGuard({ deadlineMs: 300 }, { logger, clock, drain, exit: (code) => process.exit(code) });
    setInterval(() => {}, 1000);
    ${program.fault}
  `;
  const child = spawn(process.execPath, ["--input-type=module", "-e", code], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let output = "";
  child.stdout.setEncoding("utf8");
  child.stdout.on("data", (chunk: string) => {
    output += chunk;
  });
  const exitCode = await new Promise<number | null>((resolve) => {
    child.once("close", resolve);
  });
  const lines = output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  return { code: exitCode, lines };
}

const countListeners = (): number =>
  process.listenerCount("uncaughtException") + process.listenerCount("unhandledRejection");

const messages = (lines: readonly Record<string, unknown>[]): unknown[] =>
  lines.map(({ message }) => message);

test("I10: a rejection nobody handled is logged once, drained and ends the process with 1", async () => {
  const { code, lines } = await runGuarded({
    drain: `logger.log("info", "drained")`,
    fault: `Promise.reject(new Error("escaped"));`,
  });
  expect(code).toBe(1);
  expect(messages(lines)).toEqual(["An error nobody caught: draining, then ending", "drained"]);
  expect(lines[0]).toMatchObject({
    level: "fatal",
    origin: "unhandledRejection",
    error: { name: "Error", message: "escaped" },
  });
});

test("I10: so is an exception thrown from a timer", async () => {
  const { code, lines } = await runGuarded({
    drain: `logger.log("info", "drained")`,
    fault: `setTimeout(() => { throw new TypeError("from a timer"); }, 1);`,
  });
  expect(code).toBe(1);
  expect(lines[0]).toMatchObject({ origin: "uncaughtException", error: { name: "TypeError" } });
  expect(messages(lines)).toContain("drained");
});

test("a drain that hangs ends at its deadline, and further errors do not start another", async () => {
  const { code, lines } = await runGuarded({
    drain: `Promise.reject(new Error("second")); await new Promise(() => {});`,
    fault: `Promise.reject(new Error("first"));`,
  });
  expect(code).toBe(1);
  expect(messages(lines)).toEqual([
    "An error nobody caught: draining, then ending",
    "Another error nobody caught, while ending",
    "Draining took too long: ending all the same",
  ]);
});

test("a drain that fails still ends the process with 1", async () => {
  const { code, lines } = await runGuarded({
    drain: `throw new Error("cannot drain");`,
    fault: `Promise.reject(new Error("first"));`,
  });
  expect(code).toBe(1);
  expect(messages(lines)).toContain("Draining failed");
});

test("the guard can be taken away, and leaves no listener behind", () => {
  const before = countListeners();
  const remove = installProcessGuard(
    { deadlineMs: 1 },
    {
      logger: createLogger({ level: "silent", format: "json" }, { write: () => {} }),
      clock: systemClock,
      drain: () => Promise.resolve(),
      exit: () => {},
    },
  );
  expect(countListeners()).toBe(before + 2);
  remove();
  expect(countListeners()).toBe(before);
});
