import type { Clock } from "../core/clock.ts";
import type { ProjectId } from "../core/ids.ts";
import type { Ledger } from "./ledger.ts";
import type { PermitBroker } from "./permit.ts";
import { createProjectBroker } from "./project-broker.ts";

type ProjectBroker = ReturnType<typeof createProjectBroker>;

/**
 * One broker for every project that this process sends for. `ledgerOf` is asked once a project; whoever made the
 * ledgers closes them, after the broker.
 */
export function createPermitBroker(
  options: {
    /** Calls that may wait in this process for one project; one more is refused. */
    readonly mostWaiting?: number;
  },
  deps: { readonly ledgerOf: (projectId: ProjectId) => Ledger; readonly clock: Clock },
): PermitBroker {
  const { clock } = deps;
  const mostWaiting = options.mostWaiting ?? 50_000;
  const brokers = new Map<ProjectId, ProjectBroker>();

  const brokerOf = (projectId: ProjectId): ProjectBroker => {
    const known = brokers.get(projectId);
    if (known !== undefined) return known;
    const broker = createProjectBroker(
      { mostWaiting },
      { ledger: deps.ledgerOf(projectId), clock },
    );
    brokers.set(projectId, broker);
    return broker;
  };

  return {
    acquire: (ask) => brokerOf(ask.attribution.projectId).acquire(ask),
    report: (permit, outcome, reason) => {
      brokerOf(permit.ask.attribution.projectId).report(permit, outcome, reason);
    },
    openBreaker: (projectId, upstream) => brokerOf(projectId).openBreaker(upstream),
    close: async () => {
      await Promise.all([...brokers.values()].map((broker) => broker.close()));
    },
  };
}
