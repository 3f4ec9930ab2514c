import type { EpochMs } from "./clock.ts";

/** Limits, weights and pauses: rows that rule the whole fleet. Values are JSON, parsed by who owns the name. */
export interface SettingsStore {
  get(name: string): Promise<unknown>;
  /** Every setting whose name starts with `prefix`. */
  list(
    prefix: string,
  ): Promise<
    readonly { readonly name: string; readonly value: unknown; readonly updatedAt: EpochMs }[]
  >;
  /** Written together with its operator-log entry. `undefined` removes it. */
  set(
    name: string,
    value: unknown,
    by: { readonly actor: string; readonly reason: string | undefined; readonly now: EpochMs },
  ): Promise<void>;
  /** Writes only what is absent: how the environment seeds an empty database. Returns the names written. */
  seed(values: Readonly<Record<string, unknown>>, now: EpochMs): Promise<readonly string[]>;
}

/** The prefix of a project's pauses, which the ledger puts into force; the target follows. */
export const pauseSettingsPrefix = (projectId: string): string => `pause.${projectId}.`;
