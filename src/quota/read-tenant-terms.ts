/**
 * Weights and pauses of tenants, as claims need them, from the same settings that rule the ledger.
 *
 * State: what was last read, good for a moment.
 */
import type { TenantTerms } from "../core/claim-room.ts";
import type { Clock } from "../core/clock.ts";
import { tenantId, type ProjectId } from "../core/ids.ts";
import { pauseSettingsPrefix, type SettingsStore } from "../core/settings-store.ts";
import {
  parseLedgerSettings,
  quotaSettingsPrefix,
  type LedgerSettings,
} from "./ledger-settings.ts";

const TENANT_PAUSE = "tenant:";

/** A change is in force within `believedForMs`. Rejects as the settings do when the database is away. */
export function createTenantTermsReader(
  options: { readonly projectId: ProjectId; readonly believedForMs: number },
  deps: { readonly settings: Pick<SettingsStore, "list">; readonly clock: Clock },
): () => Promise<TenantTerms> {
  const { projectId, believedForMs } = options;
  const { settings, clock } = deps;
  let last: { readonly settings: LedgerSettings; readonly atMs: number } | undefined;
  return async () => {
    if (last === undefined || clock.monotonicMs() - last.atMs >= believedForMs) {
      const rows = await Promise.all([
        settings.list(`${quotaSettingsPrefix(projectId)}${TENANT_PAUSE}`),
        settings.list(`${pauseSettingsPrefix(projectId)}${TENANT_PAUSE}`),
      ]);
      // Rows that do not parse are told by who keeps the ledger.
      last = {
        settings: parseLedgerSettings(projectId, rows.flat()).settings,
        atMs: clock.monotonicMs(),
      };
    }
    return termsOf(last.settings, clock.now());
  };
}

function termsOf({ tenants, pauses }: LedgerSettings, now: number): TenantTerms {
  const weights = Object.entries(tenants).map(
    ([tenant, { weight }]) => [tenantId(tenant), weight] as const,
  );
  const paused = Object.entries(pauses)
    .filter(([, { endsAt }]) => endsAt === 0 || endsAt > now)
    .map(([target]) => tenantId(target.slice(TENANT_PAUSE.length)));
  return { weights: new Map(weights), paused: new Set(paused) };
}
