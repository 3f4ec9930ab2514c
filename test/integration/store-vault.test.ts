import { mkdir, readdir, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { KeyFileError, loadOrCreateKeyFile, parseVaultKeys } from "../../src/store/key-file.ts";
import { openStore } from "../../src/store/open-store.ts";
import { createVault, VaultKeyError } from "../../src/store/vault.ts";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, projectId, tenantId } from "../../src/core/ids.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const key = (id: string, byte: number) => ({ id, key: new Uint8Array(32).fill(byte) });
const oldKey = key("old", 1);
const newKey = key("new", 2);

test("what is sealed opens only with its key and in its place", () => {
  const vault = createVault([oldKey]);
  const { sealed, keyId } = vault.seal("1//refresh-token", "accounts:acc_1:refresh_token");
  expect(keyId).toBe("old");
  expect(sealed).not.toContain("refresh-token");
  expect(vault.open(sealed, "accounts:acc_1:refresh_token")).toBe("1//refresh-token");
  // Copied to another account's row, it must not open as that account's.
  expect(() => vault.open(sealed, "accounts:acc_2:refresh_token")).toThrow(VaultKeyError);
  const wrong = createVault([key("old", 9)]);
  expect(() => wrong.open(sealed, "accounts:acc_1:refresh_token")).toThrow(/"old"/);
  expect(() => createVault([newKey]).open(sealed, "accounts:acc_1:refresh_token")).toThrow(
    /"old": no key of that name/,
  );
});

test("any changed byte is noticed", () => {
  const vault = createVault([oldKey]);
  const { sealed } = vault.seal("secret", "here");
  const start = "v1.old.".length;
  for (let index = start; index < sealed.length; index += 1) {
    if (sealed[index] === ".") continue;
    const other = sealed[index] === "A" ? "B" : "A";
    // The last character of a part may hold bits that decoding ignores: then nothing was changed.
    const changed = sealed.slice(0, index) + other + sealed.slice(index + 1);
    const isSame = bytesOf(changed) === bytesOf(sealed);
    expect(() => {
      if (!isSame) vault.open(changed, "here");
      else throw new VaultKeyError("old", "unchanged");
    }).toThrow(VaultKeyError);
  }
});

test("two seals of one secret share nothing", () => {
  const vault = createVault([oldKey]);
  expect(vault.seal("secret", "here").sealed).not.toBe(vault.seal("secret", "here").sealed);
});

test("a key can be rotated: the new one seals, both open, and a secret is sealed again once", () => {
  const { sealed } = createVault([oldKey]).seal("secret", "here");
  const both = createVault([newKey, oldKey]);
  expect(both.open(sealed, "here")).toBe("secret");
  const again = both.reseal(sealed, "here");
  expect(again?.keyId).toBe("new");
  expect(createVault([newKey]).open(again?.sealed ?? "", "here")).toBe("secret");
  expect(both.reseal(again?.sealed ?? "", "here")).toBeUndefined();
});

test("a key file is made once, readable by its owner only, and two that make it agree", async () => {
  const path = join(await temporaryDirectory(), "encryption.key");
  const made = await Promise.all([1, 2, 3, 4].map(() => loadOrCreateKeyFile(path)));
  for (const keys of made) expect(keys).toEqual(made[0]);
  expect((await stat(path)).mode & 0o777).toBe(0o600);
  expect(await loadOrCreateKeyFile(path)).toEqual(made[0]);
});

test("a key file that is damaged is an error, never silently a new key", async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, "encryption.key");
  await writeFile(path, "k1:too-short");
  await expect(loadOrCreateKeyFile(path)).rejects.toThrow(/encryption\.key/);
  await mkdir(join(directory, "a-directory"));
  await expect(loadOrCreateKeyFile(join(directory, "a-directory"))).rejects.toThrow(KeyFileError);
  expect(() => parseVaultKeys("")).toThrow(KeyFileError);
  expect(
    parseVaultKeys(
      `b:${Buffer.alloc(32, 2).toString("base64")},a:${Buffer.alloc(32, 1).toString("base64")}`,
    ),
  ).toEqual([
    { id: "b", key: Buffer.alloc(32, 2) },
    { id: "a", key: Buffer.alloc(32, 1) },
  ]);
});

test("no secret is in the bytes of the database or its WAL", async () => {
  const directory = await temporaryDirectory();
  const store = await openStore(
    { url: `sqlite:${join(directory, "store.db")}`, mirror: "full", migrateWhenEmpty: true },
    { clock: systemClock, vault: createVault([oldKey]) },
  );
  const canaries = ["CANARY-first-refresh-token", "CANARY-second-refresh-token"];
  const account = await store.accounts.connect({
    projectId: projectId("default"),
    tenantId: tenantId("acme"),
    name: accountName("visible-name"),
    quotaUser: undefined,
    refreshToken: canaries[0] ?? "",
    scopes: [],
    now: systemClock.now(),
  });
  await store.accounts.replaceRefreshToken(account.id, canaries[1] ?? "");
  const searched = await filesHolding(directory, canaries);
  // The search itself works: what is not secret is found.
  expect(await filesHolding(directory, ["visible-name"])).not.toEqual([]);
  expect(searched).toEqual([]);
  expect(await store.accounts.readGrant(account.id)).toMatchObject({ refreshToken: canaries[1] });
  await store.close();
  expect(await filesHolding(directory, canaries)).toEqual([]);
});

function bytesOf(sealed: string): string {
  const parts = sealed.split(".").slice(2);
  return parts.map((part) => Buffer.from(part, "base64url").toString("hex")).join();
}

async function filesHolding(directory: string, texts: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const name of await readdir(directory)) {
    const bytes = await readFile(join(directory, name));
    if (texts.some((text) => bytes.includes(text))) found.push(name);
  }
  return found;
}
