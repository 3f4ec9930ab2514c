import type { ProjectId } from "../core/ids.ts";

/**
 * Every Redis key of the ledger, named here only. The hash tag puts all keys of one project in one slot, so
 * that one script may touch them on Redis Cluster too. The order is the order of KEYS in `ledger.lua`.
 * Never a second key space for a project: two ledgers are two budgets.
 */
export function ledgerKeys(projectId: ProjectId): readonly string[] {
  const prefix = `{ballast-${projectId}}:ledger`;
  return [
    // hash: format, epoch, sequence, status, settings, day, breakers, buckets
    `${prefix}:state`,
    // zset: asker → last heard
    `${prefix}:roster`,
    // hash: asker → first heard, or "retired"
    `${prefix}:joined`,
    // hash: asker → what it remembers of an epoch that was lost
    `${prefix}:seeds`,
    // hashes: overrides written from the database
    `${prefix}:tenants`,
    `${prefix}:consumers`,
    `${prefix}:pauses`,
    // zset: account → its writes are parked until
    `${prefix}:parks`,
    // hash: scope → scale and holds
    `${prefix}:scales`,
    // zset: quota user → last throttled with a text that names no scope
    `${prefix}:throttled`,
    // hash: heavy asks that are waiting at the head of their class
    `${prefix}:heads`,
    // hash: counters on their way to the rollups, and those taken but not yet confirmed
    `${prefix}:usage`,
    `${prefix}:usage-taken`,
    // zset: who spent the day
    `${prefix}:spenders`,
    // prefix of the lists that hold the windows
    `${prefix}:window:`,
    // prefix of the fair queue's zsets and hashes
    `${prefix}:line:`,
    // hash: asker → the ledger's time in the last reply that it has received
    `${prefix}:acks`,
  ];
}

/** The access token of a grant, by a name that tells nothing of it, and the claim of the one process that refreshes it. */
export function tokenKeys(name: string): {
  readonly token: string;
  readonly claim: string;
} {
  const prefix = `{ballast-token-${name}}`;
  return { token: `${prefix}:token`, claim: `${prefix}:claim` };
}
