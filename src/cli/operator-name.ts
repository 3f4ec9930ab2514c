import { userInfo } from "node:os";

/** Who is at the keyboard, for the operator log: the user of the operating system. */
export function operatorName(): string {
  try {
    return userInfo().username;
  } catch {
    // A user without an entry, as in a container.
    return `uid ${String(process.getuid?.() ?? "unknown")}`;
  }
}
