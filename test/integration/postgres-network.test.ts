import { onTestFinished, expect, test } from "vitest";
import { systemClock } from "../../src/core/clock.ts";
import { StoreUnavailable } from "../../src/core/refusal.ts";
import { persist } from "../../src/sync/persist.ts";
import { event, openTestStore, type TestStore } from "../conformance/store-fixture.ts";
import {
  runOnPostgres,
  startPostgresCluster,
  type PostgresCluster,
} from "../support/postgres-cluster.ts";
import { startTcpProxy, type TcpProxy } from "../support/tcp-proxy.ts";

/** A store whose connections a test can delay, cut and silence; and the same database beside it. */
async function openFarStore(): Promise<{
  readonly cluster: PostgresCluster;
  readonly proxy: TcpProxy;
  readonly far: TestStore;
  readonly near: TestStore;
}> {
  const cluster = await startPostgresCluster();
  onTestFinished(() => cluster.stop());
  await runOnPostgres(cluster.url("postgres"), "create database store");
  const url = new URL(cluster.url("store"));
  const path = `${String(url.searchParams.get("host"))}/.s.PGSQL.${url.port || "5432"}`;
  const proxy = await startTcpProxy({ path });
  onTestFinished(() => proxy.close());
  const near = await openTestStore(cluster.url("store"));
  const far = await openTestStore(`postgres://ballast@127.0.0.1:${String(proxy.port)}/store`, {
    clock: near.clock,
  });
  return { cluster, proxy, far, near };
}

async function until(isSo: () => boolean | Promise<boolean>): Promise<void> {
  await expect.poll(isSo, { timeout: 60_000, interval: 10 }).toBe(true);
}

test(
  "a publish whose answer was lost stands once, and its page is not fetched again (I4, I7, I13)",
  { timeout: 240_000 },
  async () => {
    const { proxy, far, near } = await openFarStore();
    const id = await far.connectOne();
    const { lease } = await far.begin(id);
    const publish = (): Promise<unknown> => far.publish(lease, { items: [event("a")] });

    proxy.delay({ toServerMs: 0, toClientMs: 400 });
    const first = publish().catch((error: unknown) => error);
    await until(async () => (await near.calendars.get(id))?.generation === 1);
    proxy.cut();
    expect(await first).toBeInstanceOf(StoreUnavailable);

    proxy.delay({ toServerMs: 0, toClientMs: 0 });
    // As a refresh does: the idle connections of its pool were cut as well.
    const wait = { clock: systemClock, signal: AbortSignal.timeout(20_000) };
    expect(await persist(publish, wait)).toEqual({ kind: "fenced-out" });
    expect(await near.readAll(id)).toEqual([event("a")]);
    expect(await near.calendars.get(id)).toMatchObject({
      generation: 1,
      hasUnfinishedRefresh: false,
    });
    const again = await near.refreshes.begin(id, { now: near.now(), until: near.later(60_000) });
    expect(again).toEqual({ kind: "not-due" });
  },
);

test(
  "Postgres killed under running transactions is a refusal for each and ends no process (I10)",
  { timeout: 180_000 },
  async () => {
    const { cluster, proxy, far } = await openFarStore();
    const id = await far.connectOne();
    proxy.delay({ toServerMs: 0, toClientMs: 300 });
    const writes = Array.from({ length: 6 }, () =>
      far.calendars
        .request(id, { class: "push", dueAt: far.now() })
        .catch((error: unknown) => error),
    );
    await until(() => proxy.connections() >= 5);
    await cluster.kill();
    // A connection lost in use also says so as an event: unheard it is an uncaught exception, which
    // fails this run.
    const refused = (await Promise.all(writes)).filter((outcome) => outcome !== "marked");
    expect(refused.length).toBeGreaterThan(0);
    for (const error of refused) expect(error).toBeInstanceOf(StoreUnavailable);
    proxy.delay({ toServerMs: 0, toClientMs: 0 });
    await cluster.restart();
    expect(await far.calendars.request(id, { class: "push", dueAt: far.now() })).toBe("marked");
  },
);

test(
  "connections that went silent are refusals, and the next ones are new (I13)",
  { timeout: 240_000 },
  async () => {
    const { proxy, far } = await openFarStore();
    const id = await far.connectOne();
    await far.calendars.get(id);
    proxy.halfOpen();
    const lost = await Promise.all([
      far.calendars.get(id).catch((error: unknown) => error),
      far.calendars
        .request(id, { class: "push", dueAt: far.now() })
        .catch((error: unknown) => error),
    ]);
    for (const error of lost) expect(error).toBeInstanceOf(StoreUnavailable);
    expect(await far.calendars.get(id)).toMatchObject({ id });
    expect(await far.calendars.request(id, { class: "push", dueAt: far.now() })).toBe("marked");
  },
);

test("a proxy delays, holds, cuts and refuses, and leaves nothing behind", async () => {
  const { proxy, far } = await openFarStore();
  const id = await far.connectOne();
  proxy.delay({ toServerMs: 60, toClientMs: 40 });
  const startedMs = performance.now();
  await far.calendars.get(id);
  expect(performance.now() - startedMs).toBeGreaterThanOrEqual(95);

  proxy.delay({ toServerMs: 0, toClientMs: 0 });
  proxy.pause();
  const held = far.calendars.get(id);
  const first = await Promise.race([
    held,
    systemClock.sleep(200, new AbortController().signal).then(() => "held"),
  ]);
  expect(first).toBe("held");
  proxy.resume();
  expect(await held).toMatchObject({ id });

  proxy.refuse();
  proxy.cut();
  await expect(far.calendars.get(id)).rejects.toThrow(StoreUnavailable);
  proxy.accept();
  await until(async () => (await far.calendars.get(id).catch(() => undefined)) !== undefined);
  await proxy.close();
  expect(proxy.connections()).toBe(0);
}, 180_000);
