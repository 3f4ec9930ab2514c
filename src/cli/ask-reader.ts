import { QuestionRefused, type CalendarReader } from "../core/calendar-reads.ts";
import { createAppReader } from "../operator-app.ts";
import { usageError } from "./cli-error.ts";
import type { CommandContext } from "./command-context.ts";
import type { Store } from "./with-store.ts";

/** Put a question to the mirror; one that cannot be answered is told as an error in the command line. */
export async function ask<Answer>(
  store: Store,
  { clock, interrupted }: CommandContext,
  put: (reader: CalendarReader, signal: AbortSignal) => Promise<Answer>,
): Promise<Answer> {
  const reader = createAppReader(store, { clock });
  try {
    return await put(reader, interrupted);
  } catch (error) {
    if (error instanceof QuestionRefused) throw usageError(error.message);
    throw error;
  } finally {
    await reader.close();
  }
}
