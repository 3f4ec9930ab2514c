import { createServer } from "node:net";
import { expect, onTestFinished, test } from "vitest";
import { identifyProcess } from "../../src/embedded/process-identity.ts";
import { runOnPostgres, startPostgresCluster } from "../support/postgres-cluster.ts";

function findFreePort(): Promise<number> {
  return new Promise((resolve) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const address = probe.address();
      probe.close(() => {
        resolve(typeof address === "object" && address !== null ? address.port : 0);
      });
    });
  });
}

test("a cluster that crashed comes back on the same addresses with its data", async () => {
  const cluster = await startPostgresCluster({ tcpPort: await findFreePort() });
  onTestFinished(() => cluster.stop());
  await runOnPostgres(cluster.url("postgres"), "create table kept (id int)");
  const before = cluster.pid();

  await cluster.kill();
  expect(await identifyProcess(before)).toBeUndefined();
  await expect(runOnPostgres(cluster.tcpUrl("postgres"), "select 1")).rejects.toThrow(
    "ECONNREFUSED",
  );
  await cluster.restart();

  expect(cluster.pid()).not.toBe(before);
  await runOnPostgres(cluster.tcpUrl("postgres"), "insert into kept values (1)");
});
