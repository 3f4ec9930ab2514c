/**
 * How many small `events.list` the simulator answers per second on one core: it must not be the thing that other benchmarks
 * measure. The server is a process of its own; this one drives it over plain sockets, because an HTTP client would cost more
 * than the server does. `--short` checks the counts only, `--json FILE` writes the figures.
 */
import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import type { Socket } from "node:net";
import { parseArgs } from "node:util";
import { createSimulator } from "../src/simulator/simulator.ts";

const GOAL_PER_SECOND = 5000;
const CONNECTIONS = 16;

interface Ready {
  readonly url: string;
  readonly tokenUrl: string;
  readonly refreshToken: string;
  readonly calendarId: string;
}
interface Usage {
  readonly cpuMs: number;
  readonly arrivals: number;
  readonly rejected: number;
  readonly longestStallMs: number;
}
interface Figure {
  readonly workload: string;
  readonly requests: number;
  readonly perSecond: number;
  readonly perCpuSecond: number;
  readonly bytesEach: number;
  readonly longestStallMs: number;
}

const { values } = parseArgs({
  options: {
    server: { type: "boolean", default: false },
    short: { type: "boolean", default: false },
    json: { type: "string" },
  },
});

if (values.server) await serve();
else await measure();

async function serve(): Promise<void> {
  const simulator = await createSimulator({
    seed: "bench",
    generate: { accounts: 20, calendars: 5, events: 5 },
    // Limits that are checked on every request, but never reached.
    limits: { projectPerWindow: 1e9, userPerWindow: 1e9, perDay: 1e9 },
  });
  const [account] = simulator.accounts();
  const calendarId = account?.list.items[2]?.calendarId ?? "";
  process.on("message", (message) => {
    if (message === "reset") {
      simulator.resetCounters();
      process.send?.("reset");
      return;
    }
    const { user, system } = process.cpuUsage();
    const { arrivals, rejectedByLimit, longestStallMs } = simulator.counters();
    const rejected = Object.values(rejectedByLimit).reduce((sum, count) => sum + count, 0);
    process.send?.({ cpuMs: (user + system) / 1000, arrivals, rejected, longestStallMs });
  });
  const { url, tokenUrl } = simulator;
  process.send?.({ url, tokenUrl, refreshToken: account?.refreshToken ?? "", calendarId });
}

async function measure(): Promise<void> {
  const seconds = values.short ? 1 : 8;
  const server = fork(import.meta.filename, ["--server"]);
  try {
    const ready = await receive<Ready>(server);
    const accessToken = await fetchAccessToken(ready);
    const list = `/calendar/v3/calendars/${encodeURIComponent(ready.calendarId)}/events`;
    const authorization = { authorization: `Bearer ${accessToken}` };
    const first = (await (
      await fetch(`${ready.url.slice(0, -1)}${list}`, { headers: authorization })
    ).json()) as {
      nextSyncToken: string;
      items: unknown[];
    };
    const mask =
      "items(id,status,etag,start,end,recurrence,recurringEventId,originalStartTime,transparency),nextPageToken,nextSyncToken";
    const workloads = {
      "delta without changes": `${list}?maxResults=2500&syncToken=${first.nextSyncToken}`,
      [`full list of ${first.items.length} events`]: `${list}?maxResults=2500`,
      "the same, masked": `${list}?maxResults=2500&fields=${encodeURIComponent(mask)}`,
    };
    const figures: Figure[] = [];
    for (const [workload, target] of Object.entries(workloads)) {
      await drive(ready.url, { target, accessToken, seconds: 0.5 });
      figures.push({
        workload,
        ...(await measureOne(server, ready.url, { target, accessToken, seconds })),
      });
    }
    report(figures);
  } finally {
    server.kill();
  }
}

async function measureOne(
  server: ChildProcess,
  url: string,
  load: Load,
): Promise<Omit<Figure, "workload">> {
  server.send("reset");
  await receive(server);
  const before = await usageOf(server);
  const startedMs = performance.now();
  const { answered, bytes } = await drive(url, load);
  const elapsedMs = performance.now() - startedMs;
  const after = await usageOf(server);
  if (after.arrivals !== answered || after.rejected !== 0) {
    throw new Error(`Sent ${answered}, but ${after.arrivals} arrived, ${after.rejected} rejected`);
  }
  return {
    requests: answered,
    perSecond: Math.round((answered / elapsedMs) * 1000),
    perCpuSecond: Math.round((answered / (after.cpuMs - before.cpuMs)) * 1000),
    bytesEach: Math.round(bytes / answered),
    longestStallMs: Math.round(after.longestStallMs),
  };
}

interface Load {
  readonly target: string;
  readonly accessToken: string;
  readonly seconds: number;
}

/** Keep every connection busy with one request after the other. */
async function drive(url: string, load: Load): Promise<{ answered: number; bytes: number }> {
  const { hostname, port } = new URL(url);
  const request = `GET ${load.target} HTTP/1.1\r\nHost: ${hostname}\r\nAuthorization: Bearer ${load.accessToken}\r\n\r\n`;
  const untilMs = performance.now() + load.seconds * 1000;
  const results = await Promise.all(
    Array.from({ length: CONNECTIONS }, () =>
      driveOne(connect({ host: hostname, port: Number(port), noDelay: true }), request, untilMs),
    ),
  );
  return {
    answered: results.reduce((sum, result) => sum + result.answered, 0),
    bytes: results.reduce((sum, result) => sum + result.bytes, 0),
  };
}

function driveOne(
  socket: Socket,
  request: string,
  untilMs: number,
): Promise<{ answered: number; bytes: number }> {
  return new Promise((resolve, reject) => {
    let answered = 0;
    let bytes = 0;
    let missing = 0;
    let head = "";
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      bytes += chunk.length;
      if (missing > 0) {
        missing -= chunk.length;
      } else {
        head += chunk.toString("latin1");
        const end = head.indexOf("\r\n\r\n");
        if (end < 0) return;
        if (!head.startsWith("HTTP/1.1 200")) {
          reject(new Error(head));
          return;
        }
        const length = Number(/content-length: (\d+)/i.exec(head)?.[1]);
        missing = length - (head.length - end - 4);
        head = "";
      }
      if (missing > 0) return;
      answered += 1;
      if (performance.now() < untilMs) {
        socket.write(request);
        return;
      }
      socket.destroy();
      resolve({ answered, bytes });
    });
    socket.on("connect", () => {
      socket.write(request);
    });
  });
}

async function fetchAccessToken(ready: Ready): Promise<string> {
  const response = await fetch(ready.tokenUrl, {
    method: "POST",
    body: new URLSearchParams({
      grant_type: "refresh_token",
      client_id: "bench",
      refresh_token: ready.refreshToken,
    }),
  });
  const { access_token: accessToken } = (await response.json()) as { access_token: string };
  return accessToken;
}

async function usageOf(server: ChildProcess): Promise<Usage> {
  server.send("usage");
  return await receive<Usage>(server);
}

async function receive<T>(server: ChildProcess): Promise<T> {
  const [message] = (await once(server, "message")) as [T];
  return message;
}

function report(figures: readonly Figure[]): void {
  const slowest = Math.min(...figures.map((figure) => figure.perCpuSecond));
  // The short form runs in the test suite beside other work: it judges counts, not speed.
  const isMet = values.short || slowest >= GOAL_PER_SECOND;
  for (const figure of figures) {
    console.log(
      `${figure.workload.padEnd(28)} ${String(figure.perSecond).padStart(7)}/s  ${String(figure.perCpuSecond).padStart(7)}/s of one core  ${figure.bytesEach} bytes each  longest stall ${figure.longestStallMs} ms`,
    );
  }
  const result = {
    bench: "simulator",
    node: process.version,
    goalPerSecond: GOAL_PER_SECOND,
    figures,
    isMet,
  };
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(result)}\n`);
  console.log(JSON.stringify(result));
  if (!isMet) process.exitCode = 1;
}
