import { randomBytes } from "node:crypto";

/** A new id: its time first, so that rows made together lie together in every index. */
export function newId(prefix: "acc" | "cal" | "rem", nowMs: number): string {
  const time = Math.max(0, Math.floor(nowMs)).toString(16).padStart(12, "0");
  return `${prefix}_${time}${randomBytes(8).toString("hex")}`;
}
