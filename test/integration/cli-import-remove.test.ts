import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { z } from "zod";
import { loadConfig } from "../../src/config/config.ts";
import { systemClock } from "../../src/core/clock.ts";
import { accountName, tenantId } from "../../src/core/ids.ts";
import { openAppStore } from "../../src/operator-app.ts";
import { parseOutput, runBallast } from "../support/ballast-process.ts";
import { temporaryDirectory } from "../support/temporary-directory.ts";

const SECRET = "1//secret-of-ann";
const importedShape = z.object({
  preview: z.object({ new: z.number(), calendars: z.number(), requests: z.number() }),
  imported: z.number(),
  unchanged: z.number(),
});
const removedShape = z.object({ removal: z.string(), isGone: z.null() });

test(
  "accounts are imported when that is confirmed, and taken out of use by remove, which says how far it is",
  { timeout: 180_000 },
  async () => {
    const directory = await temporaryDirectory();
    const env = { BALLAST_DATA_DIR: directory };
    const store = await openAppStore(
      loadConfig(env),
      { clock: systemClock },
      { migrateWhenEmpty: true },
    );
    const file = join(directory, "accounts.ndjson");
    const line = { tenant: "acme", account: "ann", refreshToken: SECRET, calendars: ["a@x.test"] };
    await writeFile(file, `\uFEFF${JSON.stringify(line)}\r\n\r\n`);
    try {
      const asked = await runBallast(["import", "accounts", file], env);
      expect(asked.code).toBe(2);
      expect(asked.stderr).toMatch(/1 new accounts.*\n.*about 2 requests.*\n.*--yes/);
      expect(await store.accounts.list({ limit: 10 })).toEqual([]);
      const imported = await runBallast(["import", "accounts", file, "--yes", "--json"], env);
      expect(parseOutput(imported, importedShape)).toEqual({
        preview: expect.objectContaining({ new: 1, calendars: 1, requests: 2 }) as unknown,
        imported: 1,
        unchanged: 0,
      });
      const ann = await store.accounts.find(tenantId("acme"), accountName("ann"));
      expect(ann).toMatchObject({ state: "connected" });

      const preview = await runBallast(["remove", "--tenant", "acme", "--dry-run"], env);
      expect(preview).toMatchObject({ code: 0 });
      expect(preview.stderr).toContain("1 accounts, 1 calendars, 0 events");
      const removed = await runBallast(
        ["remove", "--tenant", "acme", "--yes", "--reason", "over", "--json"],
        env,
      );
      parseOutput(removed, removedShape);
      // Out of use although no worker runs.
      expect(await store.accounts.find(tenantId("acme"), accountName("ann"))).toMatchObject({
        state: "removed",
      });
      const status = await runBallast(["remove", "--status"], env);
      expect(status.stdout).toMatch(/tenant +acme +releasing/);
      const again = await runBallast(["import", "accounts", file, "--yes"], env);
      expect(again.code).toBe(1);
      expect(again.stderr).toContain("accounts.ndjson:1: is being removed");
      const unknown = await runBallast(["remove", "--tenant", "nobody", "--yes"], env);
      expect(unknown).toMatchObject({ code: 1 });
      const said = [asked, imported, preview, removed, status, again].map(
        ({ stdout, stderr }) => stdout + stderr,
      );
      expect(said.join("")).not.toContain(SECRET);
      expect(JSON.stringify(await store.operatorLog.list({ limit: 100 }))).not.toContain(SECRET);
    } finally {
      await store.close();
    }
  },
);
