/**
 * A process of its own that stands for Google: it notes when each request arrives and nothing else, so that the
 * stalls of whoever drives the test are not counted as bursts. Prints its port, then, on SIGUSR2, every arrival.
 */
import { createServer } from "node:net";
import { FORGET_STALL } from "./fleet.ts";

const arrivals: { readonly atMs: number; readonly from: string }[] = [];
let longestStallMs = 0;
let lastTickMs = performance.now();
setInterval(() => {
  const nowMs = performance.now();
  longestStallMs = Math.max(longestStallMs, nowMs - lastTickMs - 10);
  lastTickMs = nowMs;
}, 10).unref();

const server = createServer((socket) => {
  socket.setNoDelay(true);
  socket.on("error", () => undefined);
  socket.on("data", (data) => {
    const atMs = performance.now();
    for (const line of data.toString("utf8").split("\n")) {
      if (line !== "") arrivals.push({ atMs, from: line });
    }
  });
});
server.listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("no port");
  process.send?.({ port: address.port });
});
process.on("message", (message) => {
  if (message === FORGET_STALL) {
    longestStallMs = 0;
    return;
  }
  process.send?.({ arrivals, longestStallMs, timeOriginMs: performance.timeOrigin });
});
