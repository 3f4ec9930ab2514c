import type { NumberRow } from "./number-row.ts";

type Measurement = () => Promise<readonly NumberRow[]>;

/** Their rows, in their order; so many of them are under way at a time. */
export async function inTurn(
  measurements: readonly Measurement[],
  atOnce: number,
): Promise<readonly NumberRow[]> {
  const rows: (readonly NumberRow[])[] = [];
  const waiting = [...measurements.entries()];
  const work = async (): Promise<void> => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [index, measure] = next;
      rows[index] = await measure();
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  return rows.flat();
}
