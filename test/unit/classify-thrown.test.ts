import { describe, expect, test } from "vitest";
import { classifyThrown } from "../../src/google/classify-thrown.ts";

const withCode = (code: string): Error => Object.assign(new Error(code), { code });

describe("an error that the network threw", () => {
  test.each([
    "ECONNRESET",
    "ECONNREFUSED",
    "ENOTFOUND",
    "EAI_AGAIN",
    "EPIPE",
    "UND_ERR_SOCKET",
    "UND_ERR_CONNECT_TIMEOUT",
    "HPE_INVALID_CONSTANT",
    "Z_BUF_ERROR",
  ])("%s is upstream's trouble", (code) => {
    expect(classifyThrown(withCode(code))?.kind).toBe("upstream-unavailable");
  });

  test.each(["UND_ERR_HEADERS_TIMEOUT", "UND_ERR_BODY_TIMEOUT", "ETIMEDOUT"])(
    "%s is a timeout",
    (code) => {
      expect(classifyThrown(withCode(code))).toEqual({ kind: "timed-out" });
    },
  );

  test("the code is found however deep undici wraps it", () => {
    const error = new TypeError("fetch failed", {
      cause: new Error("other side closed", { cause: withCode("ECONNRESET") }),
    });
    expect(classifyThrown(error)?.kind).toBe("upstream-unavailable");
  });

  test("a request's own timer is a timeout", () => {
    expect(classifyThrown(new DOMException("timed out", "TimeoutError"))).toEqual({
      kind: "timed-out",
    });
  });

  test("a body that does not decompress is malformed", () => {
    expect(classifyThrown(withCode("Z_DATA_ERROR"))?.kind).toBe("malformed-response");
  });

  test("a bug, an abort and a thing that is no error are not the network's", () => {
    expect(classifyThrown(new TypeError("x is not a function"))).toBeUndefined();
    expect(classifyThrown(new DOMException("aborted", "AbortError"))).toBeUndefined();
    expect(classifyThrown("nonsense")).toBeUndefined();
  });

  test("a chain of causes that bites its tail ends", () => {
    const error = new Error("loop");
    error.cause = error;
    expect(classifyThrown(error)).toBeUndefined();
  });
});
