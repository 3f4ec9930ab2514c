import { describe, expect, test } from "vitest";
import { tenantId } from "../../src/core/ids.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { openTestStore } from "./store-fixture.ts";

/** Tenants. */
export function tenantConformance(freshDatabase: FreshDatabase): void {
  describe("tenants", () => {
    test("come with their first account, and are listed page by page in order of id", async () => {
      const store = await openTestStore(await freshDatabase());
      expect(await store.tenants.list({ limit: 10 })).toEqual([]);
      const began = store.now();
      for (const tenant of ["globex", "Acme", "nul\u0000tenant"]) {
        await store.connect(tenant, "ann", []);
        await store.clock.advance(1);
      }
      await store.connect("globex", "bob", []);
      const all = await store.tenants.list({ limit: 10 });
      expect(all.map(({ id }) => id).toSorted()).toEqual(["Acme", "globex", "nul\u0000tenant"]);
      const paged = [];
      for (let after: (typeof all)[number]["id"] | undefined; ;) {
        const [row] = await store.tenants.list({ after, limit: 1 });
        if (row === undefined) break;
        paged.push(row);
        after = row.id;
      }
      expect(paged).toEqual(all);
      expect(await store.tenants.get(tenantId("globex"))).toEqual({
        id: "globex",
        createdAt: began,
      });
      expect(await store.tenants.get(tenantId("nobody"))).toBeUndefined();
    });
  });
}
