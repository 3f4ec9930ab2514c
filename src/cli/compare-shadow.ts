import type { CalendarId } from "../core/ids.ts";
import type { CommandContext } from "./command-context.ts";
import type { Store } from "./with-store.ts";

const LOOK_EVERY_MS = 250;

/** What a sample of the mirror differed from Google in. */
export interface ShadowComparison {
  readonly sample: number;
  /** Those that were read anew in time. */
  readonly compared: number;
  /** Events that a full read at Google had otherwise than the copy, which it mended. */
  readonly differences: number;
  readonly differing: readonly { readonly calendarId: CalendarId; readonly differences: number }[];
}

/**
 * Bring a sample of the calendars in shadow up to date, then have each read in full at Google: what that changes is
 * what the copy had wrong. Both reads are a worker's, through the guard, in class `backfill`.
 */
export async function compareShadow(
  { sample, timeoutMs }: { readonly sample: number; readonly timeoutMs: number },
  store: Store,
  context: CommandContext,
): Promise<ShadowComparison> {
  const endsAtMs = context.clock.monotonicMs() + timeoutMs;
  const wait = { endsAtMs, context };
  await waitUntil(async () => {
    const { calendars, published } = await store.imports.shadowCounts();
    return published >= sample || (calendars > 0 && published === calendars);
  }, wait);
  const ids = await store.imports.sampleShadow(sample);
  const current = await refreshAll(ids, { mode: "incremental", store }, wait);
  const read = await refreshAll(current, { mode: "full", store }, wait);
  const differing: { calendarId: CalendarId; differences: number }[] = [];
  for (const calendarId of read) {
    const past = await store.refreshHistory.of(calendarId);
    const full = past?.refreshes.find(
      ({ kind, outcome }) => kind === "full" && outcome === "published",
    );
    if (full !== undefined && full.changes > 0) {
      differing.push({ calendarId, differences: full.changes });
    }
  }
  return {
    sample: ids.length,
    compared: read.length,
    differences: differing.reduce((sum, one) => sum + one.differences, 0),
    differing,
  };
}

interface Wait {
  readonly endsAtMs: number;
  readonly context: CommandContext;
}

/** Those that were served in time. */
async function refreshAll(
  ids: readonly CalendarId[],
  { mode, store }: { readonly mode: "incremental" | "full"; readonly store: Store },
  wait: Wait,
): Promise<readonly CalendarId[]> {
  if (ids.length === 0) return [];
  const { clock, output } = wait.context;
  const marks = new Map<CalendarId, number>();
  for (let at = 0; at < ids.length; at += 500) {
    const some = ids.slice(at, at + 500);
    const outcomes = await store.calendars.requestMany(
      some.map((calendarId) => ({ calendarId, class: "backfill", dueAt: clock.now(), mode })),
    );
    for (const [index, outcome] of outcomes.entries()) {
      const id = some[index];
      if (id !== undefined && outcome.kind === "marked") marks.set(id, outcome.mark);
    }
  }
  const served: CalendarId[] = [];
  await waitUntil(async () => {
    for (const [id, mark] of marks) {
      const row = await store.calendars.get(id);
      if (row !== undefined && row.served < mark) continue;
      marks.delete(id);
      if (row !== undefined) served.push(id);
    }
    output.progress(`${String(served.length)} of ${String(ids.length)} read (${mode}) …`);
    return marks.size === 0;
  }, wait);
  return served;
}

async function waitUntil(isSo: () => Promise<boolean>, { endsAtMs, context }: Wait): Promise<void> {
  while (!(await isSo()) && context.clock.monotonicMs() < endsAtMs) {
    await context.clock.sleep(LOOK_EVERY_MS, context.interrupted);
  }
}
