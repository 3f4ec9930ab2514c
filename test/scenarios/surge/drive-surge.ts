/**
 * A process of its own that sends the surge over plain sockets, requests written one behind the other: an
 * HTTP client would cost more than the server does. Told what to send by its parent, tells it what came back.
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
  readonly sent: number;
  readonly byStatus: Readonly<Record<string, number>>;
  /** When each notification of the order was last sent, by the wall clock. */
  readonly lastSentAt: readonly number[];
}

const CONNECTIONS = 16;
/** The server closes a connection after this many. */
const PER_CONNECTION = 1_000;
const BEHIND_EACH_OTHER = 25;
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

async function drive(order: SurgeOrder): Promise<SurgeAnswers> {
  const state = {
    next: 0,
    wished: 0,
    startedMs: performance.now(),
    byStatus: new Map<string, number>(),
    lastSentAt: Array.from({ length: order.notifications.length }, () => 0),
  };
  const lane = async (): Promise<void> => {
    while (state.next < order.total) await driveConnection(order, state);
  };
  await Promise.all(Array.from({ length: CONNECTIONS }, lane));
  return {
    sent: state.next,
    byStatus: Object.fromEntries(state.byStatus),
    lastSentAt: state.lastSentAt,
  };
}

interface DriveState {
  next: number;
  wished: number;
  readonly startedMs: number;
  readonly byStatus: Map<string, number>;
  readonly lastSentAt: number[];
}

function nextOf({ notifications, wishes, wishEvery }: SurgeOrder, state: DriveState): string {
  if (state.next % wishEvery === wishEvery - 1) {
    state.wished += 1;
    return wishes[state.wished % wishes.length] ?? "";
  }
  const index = (state.next - state.wished) % notifications.length;
  state.lastSentAt[index] = Date.now();
  return notifications[index] ?? "";
}

function driveConnection(order: SurgeOrder, state: DriveState): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port: order.port, noDelay: true });
    let sent = 0;
    let answered = 0;
    let rest = "";
    const write = (): void => {
      const left = Math.min(order.total - state.next, PER_CONNECTION - sent, BEHIND_EACH_OTHER);
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
      const texts: string[] = [];
      for (let count = 0; count < left; count += 1) {
        texts.push(nextOf(order, state));
        state.next += 1;
      }
      sent += left;
      socket.write(texts.join(""));
    };
    socket.on("connect", write);
    socket.on("error", reject);
    socket.on("data", (chunk) => {
      // A status line may lie across two chunks: its beginning is kept.
      const text = rest + chunk.toString("latin1");
      let end = 0;
      for (const found of text.matchAll(STATUS)) {
        const status = found[1] ?? "";
        state.byStatus.set(status, (state.byStatus.get(status) ?? 0) + 1);
        answered += 1;
        end = found.index + found[0].length;
      }
      rest = text.slice(Math.max(end, text.length - 11));
      if (answered === sent) write();
    });
    socket.on("close", () => {
      if (answered < sent)
        reject(new Error(`${String(sent - answered)} requests were not answered`));
    });
  });
}
