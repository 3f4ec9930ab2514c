import { CommanderError } from "commander";
import { expect, test } from "vitest";
import { CliError, Interrupted } from "../../src/cli/cli-error.ts";
import { explainError } from "../../src/cli/explain-error.ts";
import { ConfigError } from "../../src/config/config.ts";
import { LedgerUnavailable, Paused, StoreUnavailable } from "../../src/core/refusal.ts";
import { AlreadyRunning } from "../../src/embedded/instance-lock.ts";
import { RedisNotFound } from "../../src/embedded/obtain-redis.ts";
import { HttpAddressRefused } from "../../src/http/create-http-server.ts";
import { KeyFileError } from "../../src/store/key-file.ts";
import { SchemaVersionUnsupported, StoreFailed } from "../../src/store/store-errors.ts";
import { VaultKeyError } from "../../src/store/vault.ts";

const refused = { exitCode: 5, isExplained: true };
const misconfigured = { exitCode: 4, isExplained: true };
const failed = { exitCode: 1, isExplained: true };

test.each([
  [new CliError("No.", { exitCode: 3, code: "X" }), { exitCode: 3, isExplained: true }],
  [new ConfigError(["A should be b"]), misconfigured],
  [new SchemaVersionUnsupported(9, { from: 1, to: 2 }), misconfigured],
  [new VaultKeyError("k1", "gone"), misconfigured],
  [new KeyFileError("unreadable"), misconfigured],
  [new HttpAddressRefused("BALLAST_HTTP_PUBLIC_WITHOUT_TOKENS", "no tokens"), misconfigured],
  [new HttpAddressRefused("BALLAST_HTTP_ADDRESS_UNUSABLE", "taken"), misconfigured],
  [new StoreUnavailable({ message: "gone" }), refused],
  [new LedgerUnavailable({ message: "gone" }), refused],
  [new Paused({ message: "paused" }), refused],
  [new RedisNotFound("none"), refused],
  [Object.assign(new Error("connect"), { code: "ECONNREFUSED" }), refused],
  [new Error("outer", { cause: Object.assign(new Error("in"), { code: "ENOTFOUND" }) }), refused],
  [new AlreadyRunning("/data", 7), failed],
  [new StoreFailed("no such column"), failed],
  [new TypeError("x is undefined"), failed],
  ["a thrown text", failed],
  [new CommanderError(1, "commander.unknownOption", "told"), { exitCode: 2, isExplained: false }],
  [new CommanderError(0, "commander.help", "(help)"), { exitCode: 0, isExplained: false }],
  [new Interrupted("SIGINT"), { exitCode: 130, isExplained: false }],
  [new Interrupted("output closed"), { exitCode: 0, isExplained: false }],
])("%s ends with its exit code, and with a next step where it is explained", (error, expected) => {
  const { exitCode, message, next, code } = explainError(error);
  expect({ exitCode, isExplained: message !== undefined }).toEqual(expected);
  expect(code).not.toBe("");
  if (error instanceof CliError) return;
  expect(next !== undefined).toBe(expected.isExplained);
});
