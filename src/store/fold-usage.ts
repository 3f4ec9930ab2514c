import { OTHER, ROLLUP_ROWS, type UsageFigure } from "../core/usage-store.ts";

/** What tells one row of a period from another. */
export type UsageKey = Omit<UsageFigure, "requests">;

const TENANTS = 200;
/** Rows that tenants by name may take, and rows of `other` by consumer: the rest is room for what is folded. */
const NAMED_ROWS = ROLLUP_ROWS * 0.75;
const OTHERS_ROWS = ROLLUP_ROWS * 0.95;
/** By class and attempt alone: two dozen at most. */
const COARSE_ROWS = ROLLUP_ROWS - 2;

/**
 * Fit figures into a period that has these rows already. The largest come first, so that those without a place
 * of their own are the small ones; nothing is dropped, it is only told apart less.
 */
export function foldUsage(
  present: readonly UsageKey[],
  figures: readonly UsageFigure[],
): readonly UsageFigure[] {
  const known = new Set(present.map(keyOf));
  const tenants = new Set(present.map(({ tenantId }) => tenantId));
  tenants.delete(OTHER);
  const rows = new Map<string, UsageFigure>();

  const hasPlace = (figure: UsageFigure, rowsAllowed: number): boolean =>
    known.has(keyOf(figure)) || known.size < rowsAllowed;
  const place = (figure: UsageFigure): UsageFigure => {
    const isTenantNamed = tenants.has(figure.tenantId) || tenants.size < TENANTS;
    if (isTenantNamed && hasPlace(figure, NAMED_ROWS)) return figure;
    const nameless = { ...figure, tenantId: OTHER };
    if (hasPlace(nameless, OTHERS_ROWS)) return nameless;
    const coarse = { ...nameless, consumer: OTHER, operation: OTHER, outcome: OTHER, reason: "" };
    return hasPlace(coarse, COARSE_ROWS) ? coarse : { ...coarse, class: OTHER };
  };

  for (const figure of inOrder(figures)) {
    const placed = place(figure);
    const key = keyOf(placed);
    known.add(key);
    if (placed.tenantId !== OTHER) tenants.add(placed.tenantId);
    const requests = (rows.get(key)?.requests ?? 0) + placed.requests;
    rows.set(key, { ...placed, requests });
  }
  return [...rows.values()];
}

/** Largest first; the same for everyone who is given the same figures. */
export function inOrder(figures: readonly UsageFigure[]): readonly UsageFigure[] {
  return figures
    .map((figure) => ({ figure, key: keyOf(figure) }))
    .toSorted((a, b) => b.figure.requests - a.figure.requests || (a.key < b.key ? -1 : 1))
    .map(({ figure }) => figure);
}

function keyOf(key: UsageKey): string {
  return JSON.stringify([
    key.tenantId,
    key.consumer,
    key.class,
    key.operation,
    key.attempt,
    key.outcome,
    key.reason,
  ]);
}
