import { expect, test } from "vitest";
import { readPage } from "../../src/google/read-page.ts";

test("a page that names itself as the next one is malformed, not the first of endless pages", () => {
  const body = JSON.stringify({ items: [], nextPageToken: "same" });
  expect(readPage("events.list", body, "before").page.nextPageToken).toBe("same");
  expect(() => readPage("events.list", body, "same")).toThrow(/malformed-response/);
});
