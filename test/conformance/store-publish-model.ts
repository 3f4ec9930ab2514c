import assert from "node:assert/strict";
import * as fc from "fast-check";
import { expect, test } from "vitest";
import type { GoogleEvent } from "../../src/core/google-event.ts";
import type { FreshDatabase } from "./store-conformance.ts";
import { LEASE_MS, openTestStore, type TestStore } from "./store-fixture.ts";

/** One event of a listing: few ids, so that series, exceptions and deletions meet each other. */
const eventArbitrary: fc.Arbitrary<GoogleEvent> = fc
  .record({
    id: fc.constantFrom("s1", "s2", "s1_a", "s1_b", "s2_a", "e1", "e2"),
    version: fc.integer({ min: 1, max: 3 }),
    isCancelled: fc.boolean(),
    isSeries: fc.boolean(),
    hasEtag: fc.boolean(),
  })
  .map(toEvent);

function toEvent(draw: {
  readonly id: string;
  readonly version: number;
  readonly isCancelled: boolean;
  readonly isSeries: boolean;
  readonly hasEtag: boolean;
}): GoogleEvent {
  const { id, version, isCancelled, isSeries, hasEtag } = draw;
  const seriesId = id.includes("_") ? id.slice(0, 2) : undefined;
  const variant = `${version}${isCancelled ? "c" : ""}${isSeries ? "s" : ""}`;
  return {
    id,
    status: isCancelled ? "cancelled" : "confirmed",
    summary: variant,
    ...(hasEtag ? { etag: variant } : {}),
    ...(seriesId === undefined ? {} : { recurringEventId: seriesId }),
    ...(isSeries && seriesId === undefined ? { recurrence: ["RRULE:FREQ=DAILY"] } : {}),
    start: { dateTime: `2026-01-0${version}T10:00:00Z` },
  };
}

const listingArbitrary = fc.record({
  kind: fc.constantFrom<"full" | "incremental">("full", "incremental"),
  pages: fc.array(fc.array(eventArbitrary, { maxLength: 5 }), { minLength: 1, maxLength: 3 }),
  /** How it ends: after how many pages, and by a crash, by starting over, or not. */
  fate: fc.constantFrom<"published" | "crashed" | "abandoned" | "stalled">(
    "published",
    "published",
    "crashed",
    "abandoned",
    "stalled",
  ),
});
type Listing = typeof listingArbitrary extends fc.Arbitrary<infer T> ? T : never;
type Copy = Map<string, GoogleEvent>;

/** What the copy has to be after a listing is published: written from the rules, not from the code. */
function publishInModel(before: Copy, listing: Pick<Listing, "kind" | "pages">): Copy {
  const listed: Copy = new Map();
  for (const item of listing.pages.flat()) listed.set(item.id, item);
  const living = [...listed.values()].filter((item) => item.status !== "cancelled");
  const cancelled = [...listed.values()].filter((item) => item.status === "cancelled");
  const deletions = cancelled.filter((item) => item.recurringEventId === undefined);
  const hides = cancelled.filter((item) => item.recurringEventId !== undefined);
  const isDeleted = (id: unknown): boolean => deletions.some((item) => item.id === id);

  const after: Copy = new Map(listing.kind === "full" ? [] : before);
  for (const [id, stored] of after) {
    if (isDeleted(id) || isDeleted(stored.recurringEventId)) after.delete(id);
  }
  for (const item of living) after.set(item.id, settle(before.get(item.id), item));
  for (const item of hides) after.set(item.id, settle(before.get(item.id), item));
  for (const [id, stored] of after) {
    const hidesNothing =
      stored.status === "cancelled" && !isLivingSeries(after, stored.recurringEventId);
    if (hidesNothing) after.delete(id);
  }
  return after;
}

/** Same etag: the copy stays as it is. */
function settle(before: GoogleEvent | undefined, item: GoogleEvent): GoogleEvent {
  return before?.etag !== undefined && before.etag === item.etag ? before : item;
}

function isLivingSeries(copy: Copy, id: string | null | undefined): boolean {
  return (copy.get(id ?? "")?.recurrence ?? []).length > 0;
}

function differences(before: Copy, after: Copy) {
  const changes = { inserted: 0, updated: 0, deleted: 0 };
  for (const [id, item] of after) {
    const old = before.get(id);
    if (old === undefined) changes.inserted += 1;
    else if (JSON.stringify(old) !== JSON.stringify(item)) changes.updated += 1;
  }
  for (const id of before.keys()) if (!after.has(id)) changes.deleted += 1;
  return changes;
}

/** Random listings, published, abandoned, interrupted and overtaken, against a model in memory. */
export function publishModelConformance(freshDatabase: FreshDatabase): void {
  test("I4: whatever listings are published, abandoned, interrupted or overtaken, the copy is as the rules say", async () => {
    const store = await openTestStore(await freshDatabase());
    let run = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(listingArbitrary, { maxLength: 6 }), async (listings) => {
        run += 1;
        const [id] = (await store.connect(`tenant-${run}`, "a", ["c"])).calendars;
        if (id === undefined) throw new Error("No calendar");
        let model: Copy = new Map();
        let generation = 0;
        for (const listing of listings) {
          // The first listing that a calendar publishes is always a full one.
          const actual = generation === 0 ? { ...listing, kind: "full" as const } : listing;
          const result = await playListing(store, id, actual);
          const after = result === undefined ? model : publishInModel(model, actual);
          const changes = differences(model, after);
          const hasChanged = changes.inserted + changes.updated + changes.deleted > 0;
          const isFirst = result !== undefined && generation === 0;
          generation += hasChanged || isFirst ? 1 : 0;
          expect([undefined, { kind: "published", generation, changes }]).toContainEqual(result);
          model = after;
          const read = await store.readAll(id);
          expect(new Map(read.map((item) => [item.id, item]))).toEqual(model);
        }
      }),
      { numRuns: 40 },
    );
  });
}

async function playListing(
  store: TestStore,
  id: Parameters<TestStore["begin"]>[0],
  listing: Listing,
): Promise<Awaited<ReturnType<TestStore["publish"]>> | undefined> {
  await store.calendars.request(id, { class: "poll", dueAt: store.now() });
  let { lease } = await store.begin(id);
  const { kind, pages, fate } = listing;
  for (const [index, items] of pages.slice(0, -1).entries()) {
    await store.stage(lease, { kind, isFirst: index === 0, items, nextPageToken: `p${index + 1}` });
    if (fate === "crashed" || fate === "stalled") {
      await store.clock.advance(LEASE_MS + 1);
      const stalled = lease;
      const resumed = await store.begin(id);
      lease = resumed.lease;
      assert.equal(resumed.state.unfinished?.pagesStored, index + 1);
      if (fate === "stalled") {
        const late = { kind, isFirst: true, items: pages.flat() };
        assert.equal((await store.publish(stalled, late)).kind, "fenced-out");
      }
    }
  }
  if (fate === "abandoned") {
    await store.postpone(lease, { dueAt: store.now(), dropUnfinished: true });
    return undefined;
  }
  const isFirst = pages.length === 1;
  return store.publish(lease, { kind, isFirst, items: pages.at(-1) ?? [] });
}
