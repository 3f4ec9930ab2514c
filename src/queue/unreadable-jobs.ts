import type { Redis } from "ioredis";

/** An entry of a queue that is no job: BullMQ throws before any worker of ours sees it. */
interface UnreadableJob {
  readonly job: string;
  readonly problem: string;
}

/** The fields of a job's hash that BullMQ parses. */
const PARSED_FIELDS = ["data", "opts", "progress", "parent"] as const;

/**
 * Look at a job that stalled: one that cannot be parsed comes back to a worker each time its lock runs
 * out, for ever, since BullMQ counts its tries only on jobs that it can read. `settle` is called before
 * it is taken out of the queue, so that a crash in between tells of it twice and never not at all.
 */
export async function removeUnreadable(
  entry: { readonly jobId: string; readonly keyOf: (name: string) => string },
  deps: { readonly redis: Redis; readonly settle: (job: UnreadableJob) => Promise<void> },
): Promise<void> {
  const { jobId, keyOf } = entry;
  const { redis } = deps;
  const fields = await redis.hgetall(keyOf(jobId));
  const unreadable = PARSED_FIELDS.filter((name) => !isReadable(fields[name]));
  if (unreadable.length === 0) return;
  await deps.settle({
    job: fields["name"] ?? "",
    problem: `not JSON: ${unreadable.join(", ")}`,
  });
  await redis
    .multi()
    .lrem(keyOf("wait"), 0, jobId)
    .lrem(keyOf("active"), 0, jobId)
    .srem(keyOf("stalled"), jobId)
    .del(keyOf(jobId), `${keyOf(jobId)}:lock`)
    .exec();
}

function isReadable(text: string | undefined): boolean {
  if (text === undefined || text === "") return true;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
