import { z } from "zod";
import { createSimulator, type Simulator } from "../../../src/simulator/simulator.ts";
import type { FinishedRun } from "../../../src/queue/run-worker.ts";
import { freePort } from "../free-port.ts";
import { openScenarioHome, type ScenarioHome } from "../../support/scenario-home.ts";

/** How much, how often, and for how long. */
export interface PushPlan {
  readonly accounts: number;
  /** Besides each account's primary one. */
  readonly calendarsEach: number;
  /** A channel that has told nothing yet is trusted four times as long. */
  readonly pollSeconds: number;
  readonly safetySeconds: number;
  readonly quietMs: number;
  readonly mostMs: number;
  readonly graceMs: number;
  /** How long one notification in a hundred is late. */
  readonly lateMs: number;
  /** False: what polls find is not held against a silent channel (the control). */
  readonly judgesSilence: boolean;
}

/** A Ballast that a simulated Google can reach, over a way that loses, delays and doubles notifications. */
export interface PushWorld {
  readonly simulator: Simulator;
  readonly home: ScenarioHome;
  readonly runs: readonly SeenRun[];
  /** Channels there are at Google now. */
  channels(): Promise<readonly GoogleChannel[]>;
  /** Let a channel die without a word. */
  kill(id: string): Promise<void>;
  close(): Promise<void>;
}

/** A run that has ended, and when, by the clock that never steps. */
export interface SeenRun extends FinishedRun {
  readonly endedMs: number;
}

const channelSchema = z.object({
  id: z.string(),
  calendarId: z.string(),
  accountEmail: z.string(),
});
const channelsSchema = z.object({ channels: z.array(channelSchema) });
export type GoogleChannel = z.infer<typeof channelSchema>;

export async function openPushWorld(seed: number, plan: PushPlan): Promise<PushWorld> {
  const simulator = await createSimulator({
    seed,
    generate: { accounts: plan.accounts, calendars: plan.calendarsEach, events: 4 },
    faults: {
      faults: [
        {
          match: { operation: "push.deliver", probability: 0.01 },
          answer: {
            kind: "latency",
            latency: { distribution: "fixed", ms: plan.lateMs },
          },
        },
        { match: { operation: "push.deliver", probability: 0.05 }, answer: { kind: "drop" } },
        { match: { operation: "push.deliver", probability: 0.05 }, answer: { kind: "duplicate" } },
      ],
    },
  });
  const runs: SeenRun[] = [];
  try {
    const port = await freePort();
    const home = await openScenarioHome(
      {
        google: { apiRootUrl: simulator.url, tokenUrl: simulator.tokenUrl },
        unlimited: true,
        role: "all",
        push: {
          quietMs: plan.quietMs,
          mostMs: plan.mostMs,
          silenceGraceMs: plan.judgesSilence ? plan.graceMs : Number.MAX_SAFE_INTEGER,
        },
        env: {
          BALLAST_HTTP_PORT: String(port),
          BALLAST_PUBLIC_URL: `http://127.0.0.1:${String(port)}`,
          BALLAST_POLL_SECONDS: String(plan.pollSeconds),
          // The polls that find what was not notified, a day's worth of them in a minute.
          BALLAST_SAFETY_POLL_SECONDS: String(plan.safetySeconds),
          BALLAST_WORKER_CONCURRENCY: "20",
        },
      },
      {
        onRunFinished: (run) => {
          runs.push({ ...run, endedMs: performance.now() });
        },
      },
    );
    const control = new URL("channels", simulator.controlUrl);
    return {
      simulator,
      home,
      runs,
      async channels() {
        return channelsSchema.parse(await (await fetch(control)).json()).channels;
      },
      async kill(id) {
        const target = new URL(control);
        target.searchParams.set("id", id);
        const answer = await fetch(target, { method: "DELETE" });
        if (!answer.ok) throw new Error(`The channel was not killed: ${String(answer.status)}`);
      },
      async close() {
        await home.close();
        await simulator.close();
      },
    };
  } catch (error) {
    await simulator.close();
    throw error;
  }
}
