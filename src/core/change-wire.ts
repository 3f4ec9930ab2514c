import { createHash } from "node:crypto";
import type { AccountState } from "./account-store.ts";
import type { AccountChange, Change, ChangePosition } from "./change-store.ts";
import type { TenantId } from "./ids.ts";

/*
 * Changes as others see them: in answers of GET /v1/changes and in webhooks. A cursor is a tenant's: given for
 * another one it is refused, instead of silently skipping what lies between two unrelated numbers.
 */

const TAG_BYTES = 4;
const NUMBER_BYTES = 6;
const MOST = 2 ** (8 * NUMBER_BYTES) - 1;

/** A change as a JSON object; `at` is RFC 3339. */
export type ChangeDocument =
  | {
      readonly kind: Extract<Change, { readonly eventId: string }>["kind"];
      readonly accountId: string;
      readonly calendarId: string;
      readonly eventId: string;
      readonly generation: number;
      readonly at: string;
    }
  | {
      readonly kind: Exclude<Change["kind"], `event-${string}` | AccountChange["kind"]>;
      readonly accountId: string;
      readonly calendarId: string;
      readonly generation: number;
      readonly at: string;
    }
  | {
      readonly kind: AccountChange["kind"];
      readonly accountId: string;
      readonly state: AccountState;
      readonly reason: string | null;
      readonly at: string;
    };

/** A change in the form in which it leaves. */
export function describeChange(change: Change): ChangeDocument {
  const at = new Date(change.at).toISOString();
  return "state" in change ? { ...change, reason: change.reason ?? null, at } : { ...change, at };
}

/** A place in the tenant's feed as a text that says nothing to others. */
export function encodeCursor(tenantId: TenantId, position: ChangePosition): string {
  const bytes = Buffer.alloc(TAG_BYTES + NUMBER_BYTES);
  tagOf(tenantId).copy(bytes);
  bytes.writeUIntBE(Math.min(position, MOST), TAG_BYTES, NUMBER_BYTES);
  return bytes.toString("base64url");
}

/** Undefined: it is no cursor, or another tenant's. */
export function decodeCursor(tenantId: TenantId, text: string): ChangePosition | undefined {
  if (!/^[A-Za-z0-9_-]{14}$/.test(text)) return undefined;
  const bytes = Buffer.from(text, "base64url");
  if (!bytes.subarray(0, TAG_BYTES).equals(tagOf(tenantId))) return undefined;
  return bytes.readUIntBE(TAG_BYTES, NUMBER_BYTES);
}

function tagOf(tenantId: TenantId): Buffer {
  return createHash("sha256").update(`changes\0${tenantId}`).digest().subarray(0, TAG_BYTES);
}
