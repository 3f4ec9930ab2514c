import { createHash, randomBytes } from "node:crypto";
import type { EpochMs } from "./clock.ts";
import type { TenantId } from "./ids.ts";

/** What a token may do. `operate` belongs to operators alone: no tenant's token has it. */
export const TENANT_SCOPES = ["read", "refresh"] as const;

/** A right that a tenant's token can be given. */
export type TenantScope = (typeof TENANT_SCOPES)[number];

/** A token of the HTTP API as the database knows it; never the token itself. */
export interface ApiTokenRow {
  /** The public half, `tok_…`: safe to list and to log. */
  readonly id: string;
  /** The program that holds it: limits are shared by a tenant's tokens of one name. */
  readonly name: string;
  /** Undefined: an operator's, of every tenant. */
  readonly tenantId: TenantId | undefined;
  readonly scopes: readonly string[];
  readonly createdAt: EpochMs;
  readonly createdBy: string;
  /** Within an hour. */
  readonly lastUsedAt: EpochMs | undefined;
  readonly revokedAt: EpochMs | undefined;
}

/** A row with what a presented token is compared with. */
export interface StoredApiToken extends ApiTokenRow {
  /** SHA-256 of the whole token, hexadecimal. */
  readonly sha256: string;
}

/** Who makes or revokes a token, for the operator log. */
export interface TokenActor {
  readonly actor: string;
  readonly now: EpochMs;
}

/** Tokens of the HTTP API. Each that is made or revoked is recorded in the same transaction. */
export interface TokenStore {
  create(
    token: Pick<StoredApiToken, "id" | "name" | "tenantId" | "scopes" | "sha256">,
    by: TokenActor,
  ): Promise<"created" | "unknown-tenant">;
  /** In order of id, which is the order of making; at most `limit`, up to 1000. */
  list(filter: {
    readonly tenantId?: TenantId | undefined;
    readonly after?: string | undefined;
    readonly limit: number;
  }): Promise<readonly ApiTokenRow[]>;
  /** Of these ids, those that exist, revoked ones too; one statement however many, at most 1000. */
  find(ids: readonly string[]): Promise<readonly StoredApiToken[]>;
  /** Whether there is a token that was not revoked. */
  hasUsable(): Promise<boolean>;
  revoke(
    id: string,
    by: TokenActor & { readonly reason?: string | undefined },
  ): Promise<"revoked" | "revoked-before" | "unknown-token">;
  /** Note that these were used at `now`, unless that was noted within `everyMs`. */
  noteUsed(ids: readonly string[], now: EpochMs, everyMs: number): Promise<void>;
}

const SECRET_BYTES = 32;
const TOKEN = /^(tok_[0-9a-f]{12,64})\.([A-Za-z0-9_-]{43})$/;

/** A new token: `tok_ID.SECRET`, shown once; what is stored of it is `id` and `sha256`. */
export function makeApiToken(now: EpochMs): {
  readonly id: string;
  readonly token: string;
  readonly sha256: string;
} {
  // Its time first, so that a list is in the order of making.
  const time = Math.max(0, Math.floor(now)).toString(16).padStart(12, "0");
  const id = `tok_${time}${randomBytes(8).toString("hex")}`;
  const token = `${id}.${randomBytes(SECRET_BYTES).toString("base64url")}`;
  return { id, token, sha256: digestOfToken(token).toString("hex") };
}

/** The public half of a presented token; undefined: it is not of our form, an operator's perhaps. */
export function idOfToken(token: string): string | undefined {
  return TOKEN.exec(token)?.[1];
}

/** SHA-256 of a whole token: 256 random bits need no slow hash. */
export function digestOfToken(token: string): Buffer {
  return createHash("sha256").update(token).digest();
}
