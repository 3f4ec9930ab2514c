import { execFile } from "node:child_process";

/** A program ended badly, or could not be started; the message carries the end of what it said. */
export class CommandFailed extends Error {
  override readonly name = "CommandFailed";
}

/** Run a program to its end and return its stdout. The environment is inherited, so proxies keep working. */
export function runCommand(
  file: string,
  args: readonly string[],
  options: { readonly cwd?: string; readonly env?: NodeJS.ProcessEnv; readonly timeoutMs: number },
): Promise<string> {
  const { cwd, env, timeoutMs } = options;
  return new Promise((resolve, reject) => {
    execFile(
      file,
      [...args],
      { cwd, env, timeout: timeoutMs, maxBuffer: 64 * 1024 * 1024 },
      (error, stdout, stderr) => {
        if (error === null) {
          resolve(stdout);
          return;
        }
        const said = (stderr === "" ? stdout : stderr).trim().split("\n").slice(-5).join("\n");
        reject(
          new CommandFailed(`${file} ${args.join(" ")} failed: ${said || error.message}`, {
            cause: error,
          }),
        );
      },
    );
  });
}
