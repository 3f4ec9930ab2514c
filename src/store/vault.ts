import { hkdfSync, randomBytes } from "node:crypto";
import { openBytes, sealBytes } from "../core/seal-bytes.ts";

/** A master key and the name it is known by beside everything it sealed. */
export interface VaultKey {
  readonly id: string;
  /** 32 bytes. */
  readonly key: Uint8Array;
}

/** What is stored of a secret; useless without the master key named `keyId`. */
export interface SealedSecret {
  readonly keyId: string;
  readonly sealed: string;
}

/** Seals secrets before they touch the database. Each is bound to the row it belongs to. */
export interface Vault {
  readonly currentKeyId: string;
  /** Newest first. */
  readonly keyIds: readonly string[];
  /** Whether what that key sealed can be opened here. */
  knows(keyId: string): boolean;
  /** `context` names the row and column; the same one opens it. */
  seal(secret: string, context: string): SealedSecret;
  open(sealed: string, context: string): string;
  /** Wrapped by the current key instead of an older one; undefined when it is already. For key rotation. */
  reseal(sealed: string, context: string): SealedSecret | undefined;
  /** A key of 32 bytes from each master key, for one purpose and no other; the current one's first. */
  deriveKeys(purpose: string): readonly Uint8Array[];
}

/** A secret cannot be opened: its key is missing, is another one, or the row was tampered with. */
export class VaultKeyError extends Error {
  override readonly name = "VaultKeyError";
  readonly code = "BALLAST_VAULT_KEY";
  readonly keyId: string;

  constructor(keyId: string, problem: string) {
    super(
      `A stored credential cannot be opened with the encryption key "${keyId}": ${problem}. ` +
        "Give back the key it was sealed with (BALLAST_ENCRYPTION_KEYS, or the key file), or connect the account again.",
    );
    this.keyId = keyId;
  }
}

const FORMAT = "v1";
const KEY_BYTES = 32;

export interface VaultDeps {
  /** The keys as they are now, asked when something is sealed with one that is not known. */
  readonly reload?: (() => readonly VaultKey[]) | undefined;
}

/** The first key seals; all of them open. */
export function createVault(keys: readonly VaultKey[], { reload }: VaultDeps = {}): Vault {
  let ring = createRing(keys);

  /** Another process may have made a new key since; from then on it seals here, too. */
  function find(keyId: string): VaultKey | undefined {
    if (!ring.byId.has(keyId) && reload !== undefined) ring = createRing(reload());
    return ring.byId.get(keyId);
  }

  function unwrap(sealed: string, context: string): Opened {
    const [format, keyId = "", wrapped = "", body = ""] = sealed.split(".");
    if (format !== FORMAT) throw new VaultKeyError(keyId, "the stored form is not one we know");
    const master = find(keyId);
    if (master === undefined) throw new VaultKeyError(keyId, "no key of that name is configured");
    const dataKey = decrypt(master, wrapped, context);
    return { keyId, dataKey, body };
  }

  function wrap(dataKey: Uint8Array, body: string, context: string): SealedSecret {
    const sealing = ring.current;
    const wrapped = sealBytes(sealing.key, dataKey, context);
    return { keyId: sealing.id, sealed: [FORMAT, sealing.id, wrapped, body].join(".") };
  }

  return {
    get currentKeyId() {
      return ring.current.id;
    },
    get keyIds() {
      return ring.keys.map(({ id }) => id);
    },
    knows: (keyId) => find(keyId) !== undefined,
    deriveKeys: (purpose) =>
      ring.keys.map(({ key }) => new Uint8Array(hkdfSync("sha256", key, "", purpose, KEY_BYTES))),
    seal(secret, context) {
      const dataKey = randomBytes(KEY_BYTES);
      return wrap(dataKey, sealBytes(dataKey, Buffer.from(secret, "utf8"), context), context);
    },
    open(sealed, context) {
      const { keyId, dataKey, body } = unwrap(sealed, context);
      return Buffer.from(decrypt({ id: keyId, key: dataKey }, body, context)).toString("utf8");
    },
    reseal(sealed, context) {
      const { keyId, dataKey, body } = unwrap(sealed, context);
      return keyId === ring.current.id ? undefined : wrap(dataKey, body, context);
    },
  };
}

interface Ring {
  readonly keys: readonly VaultKey[];
  readonly current: VaultKey;
  readonly byId: ReadonlyMap<string, VaultKey>;
}

function createRing(keys: readonly VaultKey[]): Ring {
  const [current] = keys;
  if (current === undefined) throw new Error("The vault needs at least one encryption key");
  for (const { id, key } of keys) requireUsable(id, key);
  return { keys, current, byId: new Map(keys.map((key) => [key.id, key])) };
}

interface Opened {
  readonly keyId: string;
  readonly dataKey: Uint8Array;
  readonly body: string;
}

function requireUsable(id: string, key: Uint8Array): void {
  if (!/^[A-Za-z0-9_-]{1,64}$/.test(id)) {
    throw new Error(`Encryption key name "${id}" must be 1 to 64 letters, digits, "-" or "_"`);
  }
  if (key.length !== KEY_BYTES) {
    throw new Error(`Encryption key "${id}" has ${key.length} bytes; it must have ${KEY_BYTES}`);
  }
}

function decrypt(key: VaultKey, text: string, context: string): Uint8Array {
  const opened = openBytes(key.key, text, context);
  if (opened === "cut-short") throw new VaultKeyError(key.id, "it is cut short");
  if (opened === "not-ours") {
    throw new VaultKeyError(
      key.id,
      "the key is not the one it was sealed with, or the row was changed",
    );
  }
  return opened;
}
