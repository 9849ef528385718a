/**
 * The rules of a partition's record: every legal write, made here and checked here. Nothing else builds a record.
 * INVARIANT: `leader` is written once per epoch and never cleared within it; a new epoch has a fresh reservation and no
 * leader; `voters` and `previousVoters` include every set that may hold an otherwise unreplicated commit.
 * Source: DESIGN.md section 5 (Record, Failover, Reconfiguration); the reasons are in this folder's DESIGN.md.
 */
import { assert } from '../../common/errors.ts';
import type { Leader, PartitionRecord, Replica } from '../../common/topology.ts';

/**
 * Added to the highest known revision by a rebuild: a controller from before the loss, with a cached record, must never find
 * its expected revision in the store again.
 */
export const REVISION_JUMP = 2 ** 20;

/** Returns whether two sets of replicas have the same ids, in any order. */
export function sameSet(a: readonly Replica[], b: readonly Replica[]): boolean {
  return a.length === b.length && a.every((replica) => hasReplica(b, replica.id));
}

/** Returns whether `set` has the replica id. */
export function hasReplica(set: readonly Replica[], id: string): boolean {
  return set.some((replica) => replica.id === id);
}

/** Returns the replicas that a failover of `record` has to hear of: voters and previous voters, each once. */
export function sealedReplicas(record: PartitionRecord): Replica[] {
  const previous = record.previousVoters.filter((replica) => !hasReplica(record.voters, replica.id));
  return [...record.voters, ...previous];
}

/** Whether `to` adds one replica to `from`, removes one, or replaces one. */
export function isSingleStep(from: readonly Replica[], to: readonly Replica[]): boolean {
  const added = to.filter((replica) => !hasReplica(from, replica.id)).length;
  const removed = from.filter((replica) => !hasReplica(to, replica.id)).length;
  return added <= 1 && removed <= 1 && added + removed > 0;
}

/** Whether no leader was ever recorded for this partition: then no replica holds anything, whatever it promised. */
export function neverLed(record: PartitionRecord): boolean {
  return !record.led && record.previousVoters.length === 0;
}

/** The sets of a new epoch. */
export interface Sets {
  readonly voters: readonly Replica[];
  readonly previousVoters: readonly Replica[];
  readonly led: boolean;
}

/**
 * Returns the sets with which `voters` can be the voters of the next epoch, or a reason why they cannot.
 * The one place that knows the reconfiguration rules.
 */
export function setsFor(record: PartitionRecord, voters: readonly Replica[]): Sets | string {
  const { voters: present, previousVoters: previous, led } = record;
  if (sameSet(voters, present)) return { voters: present, previousVoters: previous, led };
  if (neverLed(record)) return { voters, previousVoters: [], led: false };
  if (previous.length === 0) {
    if (!isSingleStep(present, voters)) return 'voters change by more than one replica';
    return { voters, previousVoters: present, led: false };
  }
  if (sameSet(voters, previous)) {
    // Unled voters hold nothing that counts, so the pair ends; led ones may, so they stay as the previous set.
    return { voters: previous, previousVoters: led ? present : [], led: true };
  }
  if (led) return 'voters were led: only the two sets of the pair are allowed';
  if (!isSingleStep(previous, voters)) return 'voters differ from the previous ones by more than one replica';
  return { voters, previousVoters: previous, led: false };
}

/** Returns the first record of a partition of a new cluster. */
export function bootstrapRecord(partition: number, voters: readonly Replica[]): PartitionRecord {
  return {
    partition,
    revision: 1,
    epoch: 0,
    reservationId: '',
    configuration: 1,
    voters,
    previousVoters: [],
    led: false,
    learners: [],
    leader: null,
    established: false,
  };
}

/** What to reserve: an epoch above the record's and every promise heard of, and the voters (default: unchanged). */
export interface Reservation {
  readonly epoch: number;
  readonly reservationId: string;
  readonly voters?: readonly Replica[];
}

/** Returns the record that reserves an epoch: no leader, a fresh reservation id, sets by the reconfiguration rules. */
export function reserve(record: PartitionRecord, reservation: Reservation): PartitionRecord {
  const sets = setsFor(record, reservation.voters ?? record.voters);
  assert(typeof sets !== 'string', `partition ${record.partition}: ${sets}`);
  const changed = !sameSet(sets.voters, record.voters);
  // Unled voters that are given up go on as learners: their data is good for the next attempt.
  const dismissed = changed && !record.led ? record.voters : [];
  const learners = [...record.learners, ...dismissed].filter(
    (replica) => !hasReplica(sets.voters, replica.id) && !hasReplica(sets.previousVoters, replica.id),
  );
  return {
    ...record,
    ...sets,
    revision: record.revision + 1,
    epoch: reservation.epoch,
    reservationId: reservation.reservationId,
    configuration: changed ? record.configuration + 1 : record.configuration,
    learners: neverLed(record) ? [] : learners,
    leader: null,
    established: false,
  };
}

/** Returns the record with the winner of its epoch as leader. */
export function establish(record: PartitionRecord, leader: Leader): PartitionRecord {
  return { ...record, revision: record.revision + 1, leader, led: true };
}

/** Returns the record after its leader has committed an entry of its epoch: the previous voters are done with. */
export function confirmEstablished(record: PartitionRecord): PartitionRecord {
  return { ...record, revision: record.revision + 1, established: true, previousVoters: [] };
}

/** Returns the record with other learners. */
export function withLearners(record: PartitionRecord, learners: readonly Replica[]): PartitionRecord {
  return { ...record, revision: record.revision + 1, learners };
}

/** Stops the process if `next` may not follow `old` (null: no record). Called on every write before it is sent. */
export function checkTransition(old: PartitionRecord | null, next: PartitionRecord): void {
  const problem = transitionProblem(old, next);
  assert(problem === '', `partition ${next.partition}: illegal record: ${problem}`);
}

/** Returns why `next` may not follow `old`, or the empty text. For the simulator, which watches every controller. */
export function transitionProblem(old: PartitionRecord | null, next: PartitionRecord): string {
  const shape = shapeProblem(next);
  if (shape !== '') return shape;
  if (old === null)
    return sameRecord(next, bootstrapRecord(next.partition, next.voters)) ? '' : 'not a first record';
  if (next.partition !== old.partition) return 'another partition';
  if (next.revision !== old.revision + 1) return 'revision must grow by one';
  if (next.epoch < old.epoch) return 'epoch went back';
  return next.epoch === old.epoch ? sameEpochProblem(old, next) : newEpochProblem(old, next);
}

/** Stops the process if `next` may not be rebuilt from promises over `old` (null: none). */
export function checkRebuilt(old: PartitionRecord | null, next: PartitionRecord): void {
  const problem = rebuiltProblem(old, next);
  assert(problem === '', `partition ${next.partition}: illegal rebuilt record: ${problem}`);
}

/**
 * Returns why `next` may not be rebuilt from promises over `old` (null: none), or the empty text: it is fenced above
 * everything known, without a leader, its voters counted as led, its revision out of reach of any earlier writer.
 */
export function rebuiltProblem(old: PartitionRecord | null, next: PartitionRecord): string {
  const shape = shapeProblem(next);
  if (shape !== '') return shape;
  if (next.leader !== null) return 'a leader';
  if (!next.led) return 'voters that count as never led';
  if (next.learners.length > 0) return 'learners';
  if (next.reservationId === '') return 'no reservation';
  if (next.revision < (old?.revision ?? 0) + REVISION_JUMP) return 'a revision that others may reach';
  return old !== null && next.epoch <= old.epoch ? 'an epoch that is not new' : '';
}

function distinct(values: readonly string[]): boolean {
  return new Set(values).size === values.length;
}

function shapeProblem(record: PartitionRecord): string {
  const { voters, previousVoters, learners, leader } = record;
  if (voters.length === 0) return 'no voters';
  for (const set of [voters, previousVoters, learners]) {
    if (!distinct(set.map((replica) => replica.id))) return 'a replica is named twice';
    if (!distinct(set.map((replica) => replica.node))) return 'two replicas of a set share a node';
  }
  const voting = sealedReplicas(record);
  if (learners.some((replica) => hasReplica(voting, replica.id))) return 'a learner votes';
  if (previousVoters.length > 0 && !isSingleStep(previousVoters, voters))
    return 'the pair is not a single step';
  if (leader !== null && !record.led) return 'a leader without led';
  if (record.established && leader === null) return 'established without a leader';
  if (record.established && previousVoters.length > 0) return 'established with previous voters';
  if (record.epoch === 0 && leader !== null) return 'epoch 0 has no leader';
  return '';
}

function sameReplicas(a: readonly Replica[], b: readonly Replica[]): boolean {
  return (
    a.length === b.length && a.every((replica, i) => replica.id === b[i]!.id && replica.node === b[i]!.node)
  );
}

/** Returns whether two leaders are the same process run of the same replica. */
export function sameLeader(a: Leader | null, b: Leader | null): boolean {
  if (a === null || b === null) return a === b;
  return a.replica === b.replica && a.node === b.node && a.boot === b.boot;
}

/** Returns whether two records are equal in every field. */
export function sameRecord(a: PartitionRecord, b: PartitionRecord): boolean {
  return a.partition === b.partition && a.revision === b.revision && sameButRevision(a, b);
}

function sameButRevision(a: PartitionRecord, b: PartitionRecord): boolean {
  return (
    a.epoch === b.epoch &&
    a.reservationId === b.reservationId &&
    a.configuration === b.configuration &&
    a.led === b.led &&
    a.established === b.established &&
    sameReplicas(a.voters, b.voters) &&
    sameReplicas(a.previousVoters, b.previousVoters) &&
    sameReplicas(a.learners, b.learners) &&
    sameLeader(a.leader, b.leader)
  );
}

function sameEpochProblem(old: PartitionRecord, next: PartitionRecord): string {
  if (next.reservationId !== old.reservationId) return 'reservation changed within an epoch';
  if (old.leader !== null && !sameLeader(old.leader, next.leader)) return 'leader changed within an epoch';
  if (old.leader === null) {
    if (next.leader === null) return 'nothing may change while an epoch has no leader';
    if (!sealedReplicas(old).some((replica) => isOf(next.leader!, replica)))
      return 'leader is in neither set';
    return sameButRevision(next, establish(old, next.leader)) ? '' : 'more than the leader changed';
  }
  if (!old.established && next.established) {
    return sameButRevision(next, confirmEstablished(old)) ? '' : 'more than established changed';
  }
  if (!sameButRevision(next, withLearners(old, next.learners))) return 'more than the learners changed';
  return old.established ? '' : 'learners change in established epochs only';
}

function isOf(leader: Leader, replica: Replica): boolean {
  return leader.replica === replica.id && leader.node === replica.node;
}

function newEpochProblem(old: PartitionRecord, next: PartitionRecord): string {
  if (next.leader !== null || next.established) return 'a new epoch starts without a leader';
  if (next.reservationId === '' || next.reservationId === old.reservationId)
    return 'reservation id is not fresh';
  const sets = setsFor(old, next.voters);
  if (typeof sets === 'string') return sets;
  if (!sameReplicas(sets.previousVoters, next.previousVoters)) return 'previous voters are wrong';
  if (sets.led !== next.led) return 'led is wrong';
  const changed = !sameSet(old.voters, next.voters);
  if (changed !== next.configuration > old.configuration)
    return 'configuration id must grow with the voters only';
  if (neverLed(old)) return next.learners.length === 0 ? '' : 'learners before the first leader';
  const joined = next.voters.filter((replica) => !hasReplica(sealedReplicas(old), replica.id));
  if (joined.some((replica) => !hasReplica(old.learners, replica.id))) return 'a new voter was not a learner';
  const named = [...old.learners, ...old.voters];
  if (next.learners.some((replica) => !hasReplica(named, replica.id))) return 'a learner came from nowhere';
  return '';
}
