/**
 * Who calls, by the `authorization` header.
 *
 * State: tokens of the database as they were found, absent ones too, each for HELD_MS from before it was
 * looked up: a revoked token is refused within that time, in every process. At most MOST_HELD of them.
 */
import { timingSafeEqual } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import type { TenantId } from "../core/ids.ts";
import {
  digestOfToken,
  idOfToken,
  type StoredApiToken,
  type TokenStore,
} from "../core/token-store.ts";
import { findOperator, type ApiToken } from "./bearer-tokens.ts";
import { createGroupWork } from "./group-work.ts";
import { HttpProblem } from "./http-problem.ts";

/** Who sent a request. */
export interface Caller {
  /** Of this token alone: what its limit is counted by. */
  readonly tokenId: string;
  /** The program; tokens of one name share their tenant's limit for it. */
  readonly name: string;
  /** Undefined: an operator, of every tenant. */
  readonly tenantId: TenantId | undefined;
  readonly scopes: readonly string[];
}

export interface TokenVerifier {
  /** Throws the problem that says what is wrong with it. */
  verify(header: string | undefined): Promise<Caller>;
  close(): Promise<void>;
}

const HELD_MS = 2_000;
const MOST_HELD = 10_000;
const NOTED_EVERY_MS = 3_600_000;
const LOOK_UPS = { what: "Looking tokens up", gatherMs: 0, groupLimit: 500, mostWaiting: 2_000 };
const NOTES = { what: "Noting tokens' use", gatherMs: 1_000, groupLimit: 500, mostWaiting: 10_000 };
/** Compared with when there is no such token, so that the time taken does not tell. */
const NOBODY = Buffer.alloc(32);

interface Held {
  readonly token: StoredApiToken | undefined;
  readonly atMs: number;
}

export function createTokenVerifier(
  operators: readonly ApiToken[],
  deps: {
    readonly tokens: Pick<TokenStore, "find" | "noteUsed">;
    readonly clock: Clock;
    readonly onError: (error: unknown) => void;
  },
): TokenVerifier {
  const { tokens, clock, onError } = deps;
  const held = new Map<string, Held>();
  const notedAtMs = new Map<string, number>();
  const lookUps = createGroupWork<string, Held>(LOOK_UPS, {
    clock,
    merge: (id) => id,
    run: async (ids) => {
      const atMs = clock.monotonicMs();
      const found = new Map((await tokens.find(ids)).map((token) => [token.id, token]));
      return ids.map((id) => ({ token: found.get(id), atMs }));
    },
  });
  const notes = createGroupWork<string, true>(NOTES, {
    clock,
    merge: (id) => id,
    run: async (ids) => {
      await tokens.noteUsed(ids, clock.now(), NOTED_EVERY_MS);
      return ids.map(() => true);
    },
  });

  const find = async (id: string): Promise<StoredApiToken | undefined> => {
    const known = held.get(id);
    if (known !== undefined && clock.monotonicMs() - known.atMs < HELD_MS) return known.token;
    const found = await lookUps.add(id, id);
    keepBounded(held, id, found);
    return found.token;
  };

  const noteUse = (token: StoredApiToken): void => {
    const nowMs = clock.monotonicMs();
    const wasNoted =
      token.lastUsedAt !== undefined && clock.now() - token.lastUsedAt < NOTED_EVERY_MS;
    const last = notedAtMs.get(token.id);
    if (wasNoted || (last !== undefined && nowMs - last < NOTED_EVERY_MS)) return;
    keepBounded(notedAtMs, token.id, nowMs);
    // Nobody waits for it, and a note that fails is made with the next hour's.
    notes.add(token.id, token.id).catch(onError);
  };

  return {
    async verify(header) {
      const presented = presentedToken(header);
      const digest = digestOfToken(presented);
      const id = idOfToken(presented);
      if (id === undefined) return findOperator(digest, operators);
      const token = await find(id);
      const expected = token === undefined ? NOBODY : Buffer.from(token.sha256, "hex");
      const isEqual = expected.length === digest.length && timingSafeEqual(expected, digest);
      if (token === undefined || !isEqual || token.revokedAt !== undefined) throw unknownToken();
      noteUse(token);
      const { name, tenantId, scopes } = token;
      return { tokenId: id, name, tenantId, scopes };
    },
    async close() {
      await Promise.all([lookUps.close(), notes.close()]);
    },
  };
}

function keepBounded<Value>(map: Map<string, Value>, key: string, value: Value): void {
  map.delete(key);
  map.set(key, value);
  const [oldest] = map.keys();
  if (map.size > MOST_HELD && oldest !== undefined) map.delete(oldest);
}

function presentedToken(header: string | undefined): string {
  const [, presented] = /^Bearer +([\x21-\x7e]{1,512})$/i.exec(header ?? "") ?? [];
  if (presented !== undefined) return presented;
  throw new HttpProblem("token-missing", { detail: "Send `Authorization: Bearer TOKEN`." });
}

/** The same whether there is no such token, its secret is another, or it was revoked. */
function unknownToken(): HttpProblem {
  return new HttpProblem("token-unknown", {
    detail: "This token is not known, or it was revoked.",
  });
}
