/**
 * Whether a record that was found in the store at the start may be gone on from. The store may have been put back, and the
 * record name sets that were left since; the promises of its replicas tell. Every epoch that is reserved without having heard
 * them is a step towards one above those promises, where nothing contradicts it any more and the old sets seal it.
 * INVARIANT: nothing is written over a found record before of each of its sets so many have been heard and compared that every
 * quorum of it has one of them. Replicas that are lost for good cannot be heard; a set that has lost so many that this cannot
 * be reached can never elect again, so it is enough to hear those that are left.
 * The argument is in this folder's DESIGN.md ("Rebuild").
 */
import { type PartitionRecord, quorumSize, type Replica } from '../../common/topology.ts';
import type { ReplicaReport } from '../../common/wire/messages.ts';
import type { Context, PartitionState } from './context.ts';
import { neverLed, sealedReplicas } from './record-rules.ts';

/** Returns who has still to be heard before a found record is gone on from, or the empty text. */
export function compareFound(context: Context, state: PartitionState): string {
  const record = state.record!;
  if (!state.found) return '';
  const missing = missingOf(context, record);
  if (missing === '') state.found = false;
  return missing;
}

function missingOf(context: Context, record: PartitionRecord): string {
  const health = (replica: Replica) => context.nodes.health(record.partition, replica);
  // Replicas that were never made, because all processes ended in the middle of the formation, are not waited for.
  if (neverLed(record) && record.voters.every((voter) => ['healthy', 'lost'].includes(health(voter))))
    return '';
  for (const [name, set] of [
    ['voters', record.voters],
    ['previous voters', record.previousVoters],
  ] as const) {
    const have = set.filter((replica) => health(replica) === 'healthy').length;
    const left = set.filter((replica) => health(replica) !== 'lost');
    // One more than a quorum can do without.
    const needed = Math.min(set.length - quorumSize(set.length) + 1, left.length);
    if (set.length === 0 || have >= needed) continue;
    const silent = left.filter((replica) => health(replica) !== 'healthy');
    const nodes = silent.map(({ node }) => node).join(', ');
    return `${have} of ${needed} ${name} heard of since the start; waiting for ${nodes}`;
  }
  return '';
}

/** Returns whether a replica of a found record has sworn to, or holds, what the record would have to tell of. */
export function isContradictedByReplicas(context: Context, state: PartitionState): boolean {
  const record = state.record!;
  if (!state.found) return false;
  return sealedReplicas(record).some((replica) => {
    if (context.nodes.health(record.partition, replica) !== 'healthy') return false;
    return saysMore(context.nodes.reportOf(record.partition, replica)!, record);
  });
}

function saysMore(report: ReplicaReport, record: PartitionRecord): boolean {
  if (record.leader !== null || report.promiseEpoch !== record.epoch) return false;
  return report.lastEpoch === record.epoch || report.reservationId !== record.reservationId;
}
