import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { decodeCursor, encodeCursor } from "../../src/core/change-wire.ts";
import { tenantId } from "../../src/core/ids.ts";
import { findAddressProblem, isPublicAddress } from "../../src/core/webhook-address.ts";

describe("an address that only our network can reach", () => {
  test.each([
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "ff02::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "not-an-address",
  ])("%s is not public", (address) => {
    expect(isPublicAddress(address)).toBe(false);
  });

  test.each(["8.8.8.8", "172.32.0.1", "2606:4700::1111", "2a00:1450:4001::1"])(
    "%s is public",
    (address) => {
      expect(isPublicAddress(address)).toBe(true);
    },
  );

  test.each([
    "http://app.example/",
    "https://user:secret@app.example/",
    "https://app.example/#part",
    "https://localhost/",
    "https://intranet/",
    "https://db.localhost./",
    "https://127.0.0.1/",
    "https://2130706433/",
    "https://0x7f.1/",
    "https://[::1]/",
    "https://[::ffff:10.0.0.1]/",
    "ftp://app.example/",
    "app.example",
    `https://app.example/${"a".repeat(2_048)}`,
  ])("a webhook is refused at %s", (url) => {
    expect(findAddressProblem(url, { allowPrivate: false })).toBeDefined();
  });

  test("a webhook may point there when the configuration says so, and never elsewhere than http(s)", () => {
    const allowPrivate = { allowPrivate: true };
    expect(findAddressProblem("http://127.0.0.1:8080/x", allowPrivate)).toBeUndefined();
    expect(findAddressProblem("http://user:secret@127.0.0.1/", allowPrivate)).toBeDefined();
    expect(findAddressProblem("file:///etc/passwd", allowPrivate)).toBeDefined();
    expect(findAddressProblem("https://app.example:8443/x?y=z", { allowPrivate: false })).toBe(
      undefined,
    );
  });
});

test("a cursor comes back as the place it was made of, for its own tenant alone", () => {
  fc.assert(
    fc.property(fc.nat({ max: 2 ** 40 }), fc.string(), fc.string(), (position, one, other) => {
      fc.pre(one !== other);
      const cursor = encodeCursor(tenantId(one), position);
      expect(decodeCursor(tenantId(one), cursor)).toBe(position);
      expect(decodeCursor(tenantId(other), cursor)).toBeUndefined();
    }),
  );
  fc.assert(
    fc.property(fc.string(), (text) => {
      decodeCursor(tenantId("acme"), text);
    }),
  );
});
