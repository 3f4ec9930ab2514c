import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { link, open, readFile, rename, rm } from "node:fs/promises";
import type { VaultKey } from "./vault.ts";

/** The encryption keys cannot be read. */
export class KeyFileError extends Error {
  override readonly name = "KeyFileError";
  readonly code = "BALLAST_KEY_FILE";
}

/**
 * The keys of embedded mode: `name:base64` lines, the newest first, mode 0600. Made on first use;
 * two processes starting at once end up with the same key.
 */
export async function loadOrCreateKeyFile(path: string): Promise<readonly VaultKey[]> {
  const existing = await readKeyFile(path);
  if (existing !== undefined) return existing;
  await createKeyFile(path);
  const created = await readKeyFile(path);
  if (created === undefined) throw new KeyFileError(`The key file ${path} vanished while starting`);
  return created;
}

/** The keys as they are now; at once, because a secret waits to be opened. */
export function readKeysNow(path: string): readonly VaultKey[] {
  return parseVaultKeys(readFileSync(path, "utf8"));
}

/** Puts a new key before the others, in one step: a reader sees the file with it or without it. */
export async function addKey(path: string): Promise<VaultKey> {
  const draft = `${path}.next`;
  const file = await openDraft(draft);
  try {
    const known = parseVaultKeys(await readFile(path, "utf8"));
    const added = { id: newKeyId(known), key: randomBytes(32) };
    const lines = [added, ...known].map(
      ({ id, key }) => `${id}:${Buffer.from(key).toString("base64")}\n`,
    );
    await file.writeFile(lines.join(""));
    await file.sync();
    await rename(draft, path);
    return added;
  } catch (error) {
    await rm(draft, { force: true });
    throw error;
  } finally {
    await file.close();
  }
}

/** Two that add at once would each write the file without the other's key, which by then seals something. */
async function openDraft(draft: string): Promise<Awaited<ReturnType<typeof open>>> {
  try {
    return await open(draft, "wx", 0o600);
  } catch (error) {
    if (!isNodeError(error, "EEXIST")) throw error;
    throw new KeyFileError(
      `${draft} exists: another \`ballast keys rotate\` is adding a key, or one was killed while it did. Remove that file when none runs`,
      { cause: error },
    );
  }
}

/** By the day, and a letter more where that day has made one already. */
function newKeyId(known: readonly VaultKey[]): string {
  const day = `k${new Date().toISOString().slice(0, 10).replaceAll("-", "")}`;
  const taken = new Set(known.map(({ id }) => id));
  for (let n = 1; ; n += 1) {
    const id = n === 1 ? day : `${day}-${String(n)}`;
    if (!taken.has(id)) return id;
  }
}

/** `name:base64` separated by commas or lines, as `BALLAST_ENCRYPTION_KEYS` holds them too. */
export function parseVaultKeys(text: string): readonly VaultKey[] {
  const entries = text.split(/[\n,]/).map((entry) => entry.trim());
  const keys = entries
    .filter((entry) => entry !== "")
    .map((entry) => {
      const [id = "", base64 = ""] = entry.split(":");
      const key = Buffer.from(base64, "base64");
      if (id === "" || key.length !== 32) {
        throw new KeyFileError(
          "An encryption key must read name:base64 with 32 bytes; make one with `openssl rand -base64 32`",
        );
      }
      return { id, key };
    });
  if (keys.length === 0) throw new KeyFileError("No encryption key was found");
  return keys;
}

async function readKeyFile(path: string): Promise<readonly VaultKey[] | undefined> {
  try {
    return parseVaultKeys(await readFile(path, "utf8"));
  } catch (error) {
    if (isNodeError(error, "ENOENT")) return undefined;
    if (error instanceof KeyFileError) {
      throw new KeyFileError(`${path}: ${error.message}`, { cause: error });
    }
    throw new KeyFileError(`The key file ${path} cannot be read`, { cause: error });
  }
}

async function createKeyFile(path: string): Promise<void> {
  const draft = `${path}.${randomBytes(6).toString("hex")}`;
  const id = newKeyId([]);
  const file = await open(draft, "wx", 0o600);
  try {
    await file.writeFile(`${id}:${randomBytes(32).toString("base64")}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  try {
    // Unlike a rename, a link never replaces a key that another process has just made.
    await link(draft, path);
  } catch (error) {
    if (!isNodeError(error, "EEXIST")) throw error;
  } finally {
    await rm(draft, { force: true });
  }
}

function isNodeError(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
