/** The candidate with the fewest single-letter changes from `name`, and how many those are. */
export function nearestName(
  name: string,
  candidates: readonly string[],
): { readonly name: string; readonly distance: number } | undefined {
  return candidates
    .map((candidate) => ({ name: candidate, distance: editDistance(name, candidate) }))
    .toSorted((a, b) => a.distance - b.distance)[0];
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [row, letter] of a.split("").entries()) {
    const current = [row + 1];
    for (const [column, other] of b.split("").entries()) {
      const substitution = (previous[column] ?? 0) + (letter === other ? 0 : 1);
      const insertion = (current[column] ?? 0) + 1;
      const deletion = (previous[column + 1] ?? 0) + 1;
      current.push(Math.min(substitution, insertion, deletion));
    }
    previous = current;
  }
  return previous.at(-1) ?? 0;
}
