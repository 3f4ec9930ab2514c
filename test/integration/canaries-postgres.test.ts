import { generateKeyPairSync, randomBytes } from "node:crypto";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, projectId, tenantId } from "../../src/core/ids.ts";
import { openStore } from "../../src/store/open-store.ts";
import { createVault } from "../../src/store/vault.ts";
import { freshPostgresDatabase } from "../conformance/fresh-postgres.ts";
import { bytesUnder, canary, createCanarySearch } from "../support/canary-search.ts";
import { runOnPostgres } from "../support/postgres-cluster.ts";

vi.setConfig({ testTimeout: 180_000 });

const unique = (): string => randomBytes(12).toString("hex");

test("no secret is in the files of Postgres or its WAL: connected, replaced, rotated", async () => {
  const { privateKey } = generateKeyPairSync("rsa", {
    modulusLength: 2048,
    publicKeyEncoding: { type: "spki", format: "pem" },
    privateKeyEncoding: { type: "pkcs8", format: "pem" },
  });
  const tokens = [`1//first-${unique()}`, `1//second-${unique()}`] as const;
  const keys = ["k1", "k2"].map((id) => ({ id, key: randomBytes(32) }));
  const marker = `tenant-${unique()}`;
  const search = createCanarySearch([
    ...tokens.map((token) => canary(token.slice(0, 9), token)),
    canary("private key", privateKey.split("\n")[5] ?? ""),
    ...keys.map(({ id, key }) => ({ name: `key ${id}`, bytes: key })),
    ...keys.map(({ id, key }) => canary(`key ${id} in base64`, key.toString("base64"))),
  ]);
  const url = await freshPostgresDatabase();
  const [k1, k2] = keys;
  if (k1 === undefined || k2 === undefined) throw new Error("No keys");
  const store = await openStore(
    { url, mirror: "full", migrateWhenEmpty: true },
    { clock: systemClock, vault: createVault([k1]) },
  );
  onTestFinished(() => store.close());
  const facts = { projectId: projectId("default"), tenantId: tenantId(marker), scopes: [] };
  const connection = { ...facts, quotaUser: undefined, now: systemClock.now() };
  const { id } = await store.accounts.connect({
    ...connection,
    name: accountName("ann"),
    refreshToken: tokens[0],
  });
  await store.accounts.replaceRefreshToken(id, tokens[1]);
  await store.accounts.connect({
    ...connection,
    name: accountName("robot"),
    serviceAccount: {
      kind: "service-account",
      clientEmail: "robot@project.iam.example",
      privateKey,
      subject: "ann@example.test",
      scopes: [],
    },
  });
  const next = await openStore(
    { url, mirror: "full", migrateWhenEmpty: false },
    { clock: systemClock, vault: createVault([k2, k1]) },
  );
  onTestFinished(() => next.close());
  expect(await next.keyRotation.rotateSome({ after: undefined, limit: 10 })).toMatchObject({
    rotated: 2,
  });
  expect(await next.accounts.readGrant(id)).toMatchObject({ refreshToken: tokens[1] });

  await runOnPostgres(url, "checkpoint");
  const directory = new URL(url).searchParams.get("host") ?? "";
  for (const part of ["base", "pg_wal"]) {
    for (const [, bytes] of await bytesUnder(join(directory, "data", part))) {
      search.look(part, bytes, marker);
    }
  }
  expect(search.blind()).toEqual([]);
  expect(search.places()).toEqual(["base", "pg_wal"]);
  expect(search.found()).toEqual([]);
});
