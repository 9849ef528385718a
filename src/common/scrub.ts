/**
 * What nodes, routers and the command line say of a scrub alike: its shape (`PartitionScrub`), and when what it has found
 * bad counts as repaired. How one is carried out is the node's (src/node/core/scrub-round.ts).
 */
import type { PartitionRecord, Replica, Topology } from './topology.ts';
import type { PartitionScrub } from './wire/admin-messages.ts';

/** Returns a scrub of which nothing is known yet. */
export function blankScrub(partition: number): PartitionScrub {
  return {
    partition,
    state: 'SCRUB_RUNNING',
    index: 0,
    hash: '',
    rows: 0,
    bytes: 0,
    voters: 0,
    differing: [],
    damaged: [],
    repaired: false,
    reason: '',
  };
}

/** Returns the replicas that a scrub has found bad: they are replaced from the others. */
export function badReplicas({ damaged, differing }: PartitionScrub): readonly Replica[] {
  return [...damaged, ...differing];
}

/** None of these replicas votes any more, and as many voters as there should be serve the partition. */
function isReplaced(record: PartitionRecord, replicas: readonly Replica[], voters: number): boolean {
  if (!record.established || record.previousVoters.length > 0 || record.voters.length < voters) return false;
  return !record.voters.some((voter) => replicas.some(({ id }) => id === voter.id));
}

/** Returns a scrub with what the topology says of the repair. */
export function withRepair(scrub: PartitionScrub, topology: Topology | null): PartitionScrub {
  const bad = badReplicas(scrub);
  const record = topology?.records.find(({ partition }) => partition === scrub.partition);
  if (bad.length === 0 || record === undefined || topology === null) return { ...scrub, repaired: false };
  return { ...scrub, repaired: isReplaced(record, bad, topology.replicationFactor) };
}
