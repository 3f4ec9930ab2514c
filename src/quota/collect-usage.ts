import { randomUUID } from "node:crypto";
import type { UsageRow } from "../core/ledger-record.ts";
import type { Ledger } from "./ledger.ts";
import { parseUsageReply } from "./ledger-reply.ts";

/** What everyone's requests came to since the last batch; at most 2,000 rows, the rest under tenant `other`. */
export interface UsageBatch {
  /** The same until it is confirmed: who writes it twice writes it once. */
  readonly batchId: string;
  readonly rows: readonly UsageRow[];
  /** Call after the rows are written; until then the same batch comes again. */
  confirm(): Promise<void>;
}

/**
 * Take what the ledger has counted, guarded clients' requests included. Undefined: nothing was counted.
 * For a process that has the database; two that collect at once get the same batch.
 */
export async function collectUsage(ledger: Pick<Ledger, "run">): Promise<UsageBatch | undefined> {
  const reply = parseUsageReply(await ledger.run("take_usage", [randomUUID()]));
  if (reply.batch === "") return undefined;
  const rows: UsageRow[] = [];
  for (let index = 0; index + 1 < reply.fields.length; index += 2) {
    const field = reply.fields[index] ?? "";
    if (field === "batch") continue;
    const [
      tenantId = "",
      consumer = "",
      requestClass = "",
      operation = "",
      attempt = "",
      outcome = "",
      reason = "",
    ] = field.split("\u001F");
    const requests = Number(reply.fields[index + 1]);
    rows.push({
      tenantId,
      consumer,
      class: requestClass,
      operation,
      attempt,
      outcome,
      reason,
      requests,
    });
  }
  return {
    batchId: reply.batch,
    rows,
    confirm: async () => {
      await ledger.run("confirm_usage", [reply.batch]);
    },
  };
}
