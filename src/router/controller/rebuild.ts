/**
 * Rebuilds a partition's record from what the replicas have sworn to, when the store has lost it or gone back in time.
 * Fenced: nothing is written before a quorum of every set that the highest evidence names has been heard; then the epoch
 * is reserved above everything known. The argument why that is enough is in this folder's DESIGN.md ("Rebuild").
 * INVARIANT: the rebuilt record's voters count as led, so neither set of its pair can be given up unheard.
 */
import { type PartitionRecord, quorumSize, type Replica } from '../../common/topology.ts';
import type { ReplicaReport } from '../../common/wire/messages.ts';
import { type Context, emit, type PartitionState } from './context.ts';
import { isHeldByQuorum } from './failover.ts';
import { checkRebuilt, REVISION_JUMP, sameSet } from './record-rules.ts';

/** A promise or a record that once was in a store: at `epoch` these sets were reserved. */
interface Evidence {
  readonly epoch: number;
  readonly configuration: number;
  readonly voters: readonly Replica[];
  readonly previousVoters: readonly Replica[];
  /** A quorum of `voters` holds an entry of `epoch`: the previous voters are no longer needed. */
  readonly established: boolean;
  /** A leader of `epoch` is known to have appended, or to have been recorded. */
  readonly led: boolean;
}

function ofReport(report: ReplicaReport): Evidence {
  const { configuration, voters, previousVoters } = report;
  const epoch = report.promiseEpoch;
  const established = report.ledEpoch === epoch && report.established;
  return { epoch, configuration, voters, previousVoters, established, led: report.lastEpoch === epoch };
}

function ofRecord(record: PartitionRecord): Evidence {
  const { epoch, configuration, voters, previousVoters, established, leader } = record;
  return { epoch, configuration, voters, previousVoters, established, led: leader !== null };
}

/** Reports of live nodes on replicas that answer. */
function reportsOf(context: Context, partition: number): Map<string, ReplicaReport> {
  const found = new Map<string, ReplicaReport>();
  for (const node of context.nodes.attached()) {
    for (const report of node.reports.get(partition)?.values() ?? []) {
      if (context.nodes.health(partition, { id: report.replica, node: node.id }) !== 'healthy') continue;
      found.set(report.replica, report);
    }
  }
  return found;
}

/** What the highest evidence says, or what is missing to know it. */
interface Finding {
  readonly voters: readonly Replica[];
  readonly previousVoters: readonly Replica[];
  readonly configuration: number;
}

function unheard(set: readonly Replica[], heard: ReadonlyMap<string, ReplicaReport>): Replica[] {
  return set.filter((replica) => !heard.has(replica.id));
}

/** Evidence with the same configuration and voters belongs together. */
function groupKey({ configuration, voters }: Evidence): string {
  const ids = voters.map((replica) => replica.id).sort();
  return `${configuration}:${ids.join(',')}`;
}

/** Whether every set that `others` name is one of the two of `one`: sealing its pair then covers them all. */
function covers(one: Evidence, others: readonly Evidence[]): boolean {
  const sets = others
    .flatMap((other) => [other.voters, other.previousVoters])
    .filter((set) => set.length > 0);
  return sets.every((set) => sameSet(set, one.voters) || sameSet(set, one.previousVoters));
}

/**
 * Returns, of the evidence at the highest epoch, the part that holds: a store that went back may have reserved one epoch
 * twice, for different sets. That of a leader's entry wins; else sets that cover all; else everybody has to be heard.
 */
function settle(
  highest: readonly Evidence[],
  silent: (set: readonly Replica[]) => Replica[],
): Evidence[] | string {
  const group = (key: string): Evidence[] => highest.filter((evidence) => groupKey(evidence) === key);
  if (new Set(highest.map(groupKey)).size === 1) return [...highest];
  const led = new Set(highest.filter((evidence) => evidence.led).map(groupKey));
  if (led.size === 1) return group([...led][0]!);
  const covering = highest.find((evidence) => covers(evidence, highest));
  if (covering !== undefined) return group(groupKey(covering));
  const missing = silent(highest.flatMap((evidence) => [...evidence.voters, ...evidence.previousVoters]));
  if (missing.length > 0) {
    const nodes = new Set(missing.map((replica) => replica.node));
    return `promises of one epoch disagree; waiting for ${[...nodes].join(', ')}`;
  }
  const last = highest.reduce((best, one) => (one.configuration > best.configuration ? one : best));
  return group(groupKey(last));
}

function find(
  evidence: readonly Evidence[],
  heard: ReadonlyMap<string, ReplicaReport>,
  isLost: (replica: Replica) => boolean,
): Finding | string {
  const known = evidence.filter(({ voters }) => voters.length > 0);
  if (known.length === 0) return 'no node has told of this partition';
  const epoch = Math.max(...known.map((one) => one.epoch));
  const settled = settle(
    known.filter((one) => one.epoch === epoch),
    (set) => unheard(set, heard).filter((replica) => !isLost(replica)),
  );
  if (typeof settled === 'string') return settled;
  const { voters, configuration } = settled[0]!;
  const established =
    settled.some((one) => one.established) ||
    isHeldByQuorum({ epoch, configuration, voters }, ({ id }) => heard.get(id));
  // A promise that was raised by an append knows no previous voters; one that was sealed does.
  const paired = settled.find((one) => one.previousVoters.length > 0);
  const previousVoters = established ? [] : (paired?.previousVoters ?? []);
  for (const [name, set] of [
    ['voters', voters],
    ['previous voters', previousVoters],
  ] as const) {
    const silent = unheard(set, heard);
    const have = set.length - silent.length;
    if (set.length === 0 || have >= quorumSize(set.length)) continue;
    const nodes = silent.map((replica) => replica.node).join(', ');
    return `${have} of ${quorumSize(set.length)} ${name} heard of; waiting for ${nodes}`;
  }
  return { voters, previousVoters, configuration };
}

/** One step of a fenced partition: writes the rebuilt record once enough has been heard, else says what is missing. */
export function stepRebuild(context: Context, state: PartitionState): void {
  const { partition } = state;
  const heard = reportsOf(context, partition);
  const records = state.record === null ? state.hearsay : [...state.hearsay, state.record];
  const evidence = [...[...heard.values()].map(ofReport), ...records.map(ofRecord)];
  const found = find(evidence, heard, (replica) => context.nodes.health(partition, replica) === 'lost');
  if (typeof found === 'string') {
    state.unavailable = `fenced until rebuilt: ${found}`;
    return;
  }
  const epoch = Math.max(state.promiseHeard, ...evidence.map((one) => one.epoch)) + 1;
  const revisions = records.map((record) => record.revision);
  const next: PartitionRecord = {
    partition,
    revision: Math.max(context.store.revisionOf(`partition/${partition}`), ...revisions) + REVISION_JUMP,
    epoch,
    reservationId: context.random.id(),
    configuration: found.configuration,
    voters: found.voters,
    previousVoters: found.previousVoters,
    led: true,
    learners: [],
    leader: null,
    established: false,
  };
  checkRebuilt(state.record, next);
  emit(context, 'warn', 'record_rebuilt', {
    partition,
    epoch,
    configuration: next.configuration,
    heard: heard.size,
  });
  context.store.write([{ key: `partition/${partition}`, revision: next.revision, value: next }]);
}
