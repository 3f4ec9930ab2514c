/** Resolves at the first Ctrl-C: for commands that run until then and end what they started themselves. */
export function untilInterrupted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) {
      resolve();
      return;
    }
    // A signal's listener keeps no process alive; nothing else may be open while a command waits.
    const alive = setInterval(() => undefined, 3_600_000);
    signal.addEventListener(
      "abort",
      () => {
        clearInterval(alive);
        resolve();
      },
      { once: true },
    );
  });
}
