/** Whether every replica of a cluster is whole, by what the router and the nodes tell. */
import type { Topology } from '../common/topology.ts';
import type { ReplicaReport } from '../common/wire/messages.ts';

/** Entries that a voter under load may lack for a moment: the statuses are not taken at one time. */
const LEVEL_SLACK = 1_000;

/**
 * Returns what is missing until every partition has an established leader in a process that runs, no set is in change, and every
 * voter holds everything that its leader had committed; null: nothing. `boots` are those of the nodes that run, `reports` those of
 * all nodes, by replica id; null: how far voters are is not known.
 */
export function missingIn(
  topology: Topology,
  boots: ReadonlyMap<string, number>,
  reports: ReadonlyMap<string, ReplicaReport> | null,
): string | null {
  for (const record of topology.records) {
    const { partition, leader, established, voters, previousVoters, learners } = record;
    if (leader === null || !established || boots.get(leader.node) !== leader.boot)
      return `partition ${partition} has no leader`;
    if (voters.length < topology.replicationFactor || previousVoters.length + learners.length > 0)
      return `partition ${partition} is in change`;
    if (reports === null) continue;
    const committed = reports.get(leader.replica)?.commitIndex ?? Number.POSITIVE_INFINITY;
    const behind = voters.find(({ id }) => (reports.get(id)?.commitIndex ?? -1) < committed - LEVEL_SLACK);
    if (behind !== undefined) return `partition ${partition}: ${behind.node} is behind`;
  }
  return topology.records.length === topology.partitions ? null : 'records';
}
