import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { expect, test } from "vitest";
import { StoreUnavailable } from "../../src/core/refusal.ts";
import { systemClock } from "../../src/core/clock.ts";
import { openStore, type Store } from "../../src/store/open-store.ts";
import { StoreFailed } from "../../src/store/store-errors.ts";
import { event, openTestStore, testVault } from "../conformance/store-fixture.ts";
import { runOnPostgres, startPostgresCluster } from "../support/postgres-cluster.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

function open(url: string): Promise<Store> {
  return openStore(
    { url, mirror: "full", migrateWhenEmpty: true },
    { clock: systemClock, vault: testVault },
  );
}

test("while another process holds a SQLite file, writes give up with a refusal, reads and the event loop go on", async () => {
  const path = join(await temporaryDirectory(), "store.db");
  const store = await openTestStore(`sqlite:${path}`);
  const id = await store.connectOne();
  await store.refresh(id, { items: [event("a")] });
  const other = new DatabaseSync(path);
  other.exec("begin immediate");
  try {
    const turns = { count: 0 };
    const ticking = setInterval(() => {
      turns.count += 1;
    }, 20);
    const startedMs = performance.now();
    const write = store.calendars.request(id, { class: "push", dueAt: store.now() });
    const outcome = write.catch((error: unknown) => error);
    expect(await store.readAll(id)).toHaveLength(1);
    expect(performance.now() - startedMs).toBeLessThan(2_000);
    expect(await outcome).toBeInstanceOf(StoreUnavailable);
    clearInterval(ticking);
    // A busy wait of SQLite's own would have left no turn at all.
    expect(turns.count).toBeGreaterThan(20);
  } finally {
    other.exec("rollback");
    other.close();
  }
  expect(await store.calendars.request(id, { class: "push", dueAt: store.now() })).toBe("marked");
});

test("a write that waits for another process's succeeds when that one is done", async () => {
  const path = join(await temporaryDirectory(), "store.db");
  const store = await openTestStore(`sqlite:${path}`);
  const id = await store.connectOne();
  const other = new DatabaseSync(path);
  other.exec("begin immediate");
  const write = store.calendars.request(id, { class: "push", dueAt: store.now() });
  setTimeout(() => {
    other.exec("commit");
    other.close();
  }, 300);
  expect(await write).toBe("marked");
});

test("a file that is no database, and an address of nothing, are clear errors", async () => {
  const directory = await temporaryDirectory();
  const path = join(directory, "garbage.db");
  await writeFile(
    path,
    "this is not a database, and longer than a header would have to be ".repeat(90),
  );
  await expect(open(`sqlite:${path}`)).rejects.toThrow(/not a database/);
  await expect(open(`sqlite:${path}`)).rejects.toThrow(StoreFailed);
  await expect(open(`sqlite:${join(directory, "missing", "store.db")}`)).rejects.toThrow(
    StoreUnavailable,
  );
  await expect(open("postgres://nobody@127.0.0.1:1/none")).rejects.toThrow(StoreUnavailable);
  await expect(open("mysql://somewhere")).rejects.toThrow(/sqlite: or postgres:/);
});

test("Postgres killed is a refusal and no crash, and its return is noticed", async () => {
  const cluster = await startPostgresCluster();
  try {
    await runOnPostgres(cluster.url("postgres"), "create database store");
    const store = await openTestStore(cluster.url("store"));
    const id = await store.connectOne();
    // The cluster commits without waiting for its disk; only what is there survives a crash.
    await runOnPostgres(cluster.url("postgres"), "checkpoint");
    await cluster.kill();
    await expect(
      store.calendars.request(id, { class: "push", dueAt: store.now() }),
    ).rejects.toThrow(StoreUnavailable);
    await expect(store.calendars.get(id)).rejects.toThrow(StoreUnavailable);
    await cluster.restart();
    expect(await store.calendars.request(id, { class: "push", dueAt: store.now() })).toBe("marked");
    expect(await store.calendars.get(id)).toMatchObject({ requested: 1 });
  } finally {
    await cluster.stop();
  }
}, 180_000);
