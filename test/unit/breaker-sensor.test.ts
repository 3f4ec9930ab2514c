import { afterEach, describe, expect, test } from "vitest";
import { projectId } from "../../src/core/ids.ts";
import { createBreakerSensor, type BreakerSensor } from "../../src/quota/breaker-sensor.ts";
import type { Permit, Upstream } from "../../src/quota/permit.ts";
import { TEST_ATTRIBUTION } from "../support/test-guard.ts";

const open: BreakerSensor[] = [];
afterEach(() => {
  for (const sensor of open.splice(0)) sensor.close();
});

const settle = (): Promise<void> =>
  new Promise((resolve) => {
    setImmediate(resolve);
  });

function permit(over: { upstream?: Upstream; project?: string; isProbe?: boolean } = {}): Permit {
  return {
    ask: {
      attribution: { ...TEST_ATTRIBUTION, projectId: projectId(over.project ?? "default") },
      operation: "events.list",
      upstream: over.upstream ?? "calendar",
      attempt: "first",
      maxWaitMs: 0,
      signal: new AbortController().signal,
    },
    useByMonotonicMs: 0,
    isProbe: over.isProbe ?? false,
  };
}

interface Setup {
  readonly sensor: BreakerSensor;
  readonly opened: string[];
  readonly observe: (
    count: number,
    outcome: "answered" | "upstream-failed",
    of?: Permit,
  ) => Promise<void>;
}

function setup(openBreaker: () => Promise<void> = () => Promise.resolve()): Setup {
  const opened: string[] = [];
  const sensor = createBreakerSensor(
    { volumeThreshold: 20, errorThresholdPercentage: 50, windowMs: 60_000 },
    {
      broker: {
        openBreaker: (project, upstream) => {
          opened.push(`${project} ${upstream}`);
          return openBreaker();
        },
      },
    },
  );
  open.push(sensor);
  const observe = async (
    count: number,
    outcome: "answered" | "upstream-failed",
    of = permit(),
  ): Promise<void> => {
    for (let index = 0; index < count; index += 1) sensor.observe(of, outcome);
    await settle();
  };
  return { sensor, opened, observe };
}

describe("the sensor", () => {
  test("trips when half of twenty requests failed, and not before", async () => {
    const { opened, observe } = setup();
    await observe(19, "upstream-failed");
    expect(opened).toEqual([]);
    await observe(1, "upstream-failed");
    expect(opened).toEqual(["default calendar"]);
  });

  test("does not trip while most requests are answered", async () => {
    const { opened, observe } = setup();
    await observe(60, "answered");
    await observe(40, "upstream-failed");
    expect(opened).toEqual([]);
  });

  test("knows upstreams and projects apart", async () => {
    const { opened, observe } = setup();
    await observe(25, "upstream-failed", permit({ upstream: "oauth-token" }));
    await observe(25, "answered");
    await observe(25, "upstream-failed", permit({ project: "second" }));
    expect(opened).toEqual(["default oauth-token", "second calendar"]);
  });

  test("says it once, however many requests of the same trouble come in late", async () => {
    const { opened, observe } = setup();
    await observe(200, "upstream-failed");
    expect(opened).toHaveLength(1);
  });

  test.each<[string, (sensor: BreakerSensor) => void]>([
    [
      "an ordinary permit",
      (sensor) => {
        sensor.noteGranted(permit());
      },
    ],
    [
      "a probe of ours that succeeded",
      (sensor) => {
        sensor.observe(permit({ isProbe: true }), "answered");
      },
    ],
  ])("measures anew, from nothing, after %s", async (_, close) => {
    const { sensor, opened, observe } = setup();
    await observe(30, "upstream-failed");
    close(sensor);
    await observe(19, "upstream-failed");
    expect(opened).toHaveLength(1);
    await observe(1, "upstream-failed");
    expect(opened).toHaveLength(2);
  });

  test.each<[string, (sensor: BreakerSensor) => void]>([
    [
      "a probe's permit",
      (sensor) => {
        sensor.noteGranted(permit({ isProbe: true }));
      },
    ],
    [
      "a probe that failed",
      (sensor) => {
        sensor.observe(permit({ isProbe: true }), "upstream-failed");
      },
    ],
  ])("stays told after %s", async (_, happen) => {
    const { sensor, opened, observe } = setup();
    await observe(30, "upstream-failed");
    happen(sensor);
    await observe(50, "upstream-failed");
    expect(opened).toHaveLength(1);
  });

  test("trips again when the ledger could not be told", async () => {
    const { opened, observe } = setup(() => Promise.reject(new Error("no Redis")));
    await observe(20, "upstream-failed");
    await observe(20, "upstream-failed");
    expect(opened).toHaveLength(2);
  });

  test("a permit granted while the ledger is being told does not close it", async () => {
    const told = Promise.withResolvers<void>();
    const { sensor, opened, observe } = setup(() => told.promise);
    await observe(20, "upstream-failed");
    sensor.noteGranted(permit());
    await observe(40, "upstream-failed");
    told.resolve();
    await observe(40, "upstream-failed");
    expect(opened).toHaveLength(1);
  });
});
