import { connect } from "node:net";

/** What a server says of itself: enough to know that it is ours and ready. */
export interface RedisReport {
  readonly pid: number;
  readonly isLoading: boolean;
}

const PROBE_TIMEOUT_MS = 1_000;

/**
 * Ask the server behind a unix socket who it is; undefined while nobody answers.
 * Speaks the inline protocol itself: a client library would reconnect on its own and answer for a successor.
 */
export function probeRedis(socketPath: string): Promise<RedisReport | undefined> {
  return new Promise((resolve) => {
    let received = "";
    const socket = connect({ path: socketPath });
    const finish = (report: RedisReport | undefined): void => {
      socket.destroy();
      resolve(report);
    };
    socket.setTimeout(PROBE_TIMEOUT_MS, () => {
      finish(undefined);
    });
    socket.on("error", () => {
      finish(undefined);
    });
    socket.on("close", () => {
      finish(undefined);
    });
    socket.on("connect", () => {
      socket.write("INFO\r\n");
    });
    socket.setEncoding("utf8");
    socket.on("data", (chunk: string) => {
      received += chunk;
      const pid = /^process_id:(\d+)\r$/m.exec(received)?.[1];
      const loading = /^loading:([01])\r$/m.exec(received)?.[1];
      if (pid !== undefined && loading !== undefined) {
        finish({ pid: Number(pid), isLoading: loading === "1" });
      }
    });
  });
}
