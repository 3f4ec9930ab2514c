/**
 * A process of its own that sends the surge over plain sockets, requests written one behind the other: an
 * HTTP client would cost more than the server does. What is answered 503 is sent again, as Google does. Told
 * what to send by its parent, tells it what came back.
 */
import { connect } from "node:net";

/** What the parent sends. */
export interface SurgeOrder {
  readonly port: number;
  /** Complete requests, sent in turn. */
  readonly notifications: readonly string[];
  /** In turn, too, one for every so many requests. */
  readonly wishes: readonly string[];
  readonly wishEvery: number;
  readonly total: number;
  /** 0: as fast as they are answered. */
  readonly perSecond: number;
}

/** What the parent gets. */
export interface SurgeAnswers {
  /** Each counted once, however often it was sent. */
  readonly sent: number;
  /** Of all answers, those to what was sent again included. */
  readonly byStatus: Readonly<Record<string, number>>;
  /** When each notification of the order was last sent, by the wall clock. */
  readonly lastSentAt: readonly number[];
}

const CONNECTIONS = 16;
/** The server closes a connection after this many. */
const PER_CONNECTION = 1_000;
const BEHIND_EACH_OTHER = 25;
const REDELIVER_AFTER_MS = 500;
const STATUS = /HTTP\/1\.1 (\d{3})/g;

process.once("message", (order: SurgeOrder) => {
  answer(order).catch((error: unknown) => {
    process.stderr.write(`${String(error)}\n`);
    process.exitCode = 1;
    process.disconnect();
  });
});

async function answer(order: SurgeOrder): Promise<void> {
  const answers = await drive(order);
  process.send?.(answers, () => process.disconnect());
}

/** One request: the how many-th of the notifications, or of the wishes. */
interface Message {
  readonly kind: "notification" | "wish";
  readonly index: number;
}

interface DriveState {
  next: number;
  wished: number;
  /** Answered otherwise than with 503. */
  settled: number;
  readonly again: Message[];
  readonly startedMs: number;
  readonly byStatus: Map<string, number>;
  readonly lastSentAt: number[];
}

async function drive(order: SurgeOrder): Promise<SurgeAnswers> {
  const state: DriveState = {
    next: 0,
    wished: 0,
    settled: 0,
    again: [],
    startedMs: performance.now(),
    byStatus: new Map(),
    lastSentAt: Array.from({ length: order.notifications.length }, () => 0),
  };
  const lane = async (): Promise<void> => {
    while (state.settled < order.total) {
      if (state.next < order.total || state.again.length > 0) await driveConnection(order, state);
      else await pause(20);
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  return {
    sent: state.next,
    byStatus: Object.fromEntries(state.byStatus),
    lastSentAt: state.lastSentAt,
  };
}

function takeNext({ notifications, wishes, wishEvery }: SurgeOrder, state: DriveState): Message {
  const known = state.again.pop();
  if (known !== undefined) return known;
  const turn = state.next;
  state.next += 1;
  if (turn % wishEvery === wishEvery - 1) {
    state.wished += 1;
    return { kind: "wish", index: state.wished % wishes.length };
  }
  return { kind: "notification", index: (turn - state.wished) % notifications.length };
}

function textOf(order: SurgeOrder, state: DriveState, { kind, index }: Message): string {
  if (kind === "wish") return order.wishes[index] ?? "";
  state.lastSentAt[index] = Date.now();
  return order.notifications[index] ?? "";
}

function settle(state: DriveState, status: string, message: Message | undefined): void {
  state.byStatus.set(status, (state.byStatus.get(status) ?? 0) + 1);
  if (status === "503" && message !== undefined) {
    setTimeout(() => {
      state.again.push(message);
    }, REDELIVER_AFTER_MS);
  } else {
    state.settled += 1;
  }
}

/** Until this many were sent over it, or there is nothing to send. */
function driveConnection(order: SurgeOrder, state: DriveState): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port: order.port, noDelay: true });
    const unanswered: Message[] = [];
    let sent = 0;
    let rest = "";
    const write = (): void => {
      const open = order.total - state.next + state.again.length;
      const left = Math.min(open, PER_CONNECTION - sent, BEHIND_EACH_OTHER);
      if (left <= 0) {
        socket.destroy();
        resolve();
        return;
      }
      const dueMs = order.perSecond === 0 ? 0 : (state.next / order.perSecond) * 1_000;
      const earlyMs = dueMs - (performance.now() - state.startedMs);
      if (earlyMs > 0) {
        setTimeout(write, earlyMs);
        return;
      }
      const messages = Array.from({ length: left }, () => takeNext(order, state));
      unanswered.push(...messages);
      sent += left;
      socket.write(messages.map((message) => textOf(order, state, message)).join(""));
    };
    socket.on("connect", write);
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      // A status line may lie across two chunks: its beginning is kept.
      const text = rest + chunk.toString("latin1");
      let end = 0;
      for (const found of text.matchAll(STATUS)) {
        // Answers come in the order of the requests.
        settle(state, found[1] ?? "", unanswered.shift());
        end = found.index + found[0].length;
      }
      rest = text.slice(Math.max(end, text.length - 11));
      if (unanswered.length === 0) write();
    });
    socket.on("close", () => {
      const missing = unanswered.length;
      if (missing > 0) reject(new Error(`${String(missing)} requests were not answered`));
    });
  });
}

function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, durationMs);
  });
}
