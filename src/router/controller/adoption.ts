/**
 * Taking over what is confirmed: records from the store (ours or another controller's), and what nodes carry with them.
 * Resets what is remembered about an attempt when its epoch is over; keeps the stored node records true.
 * INVARIANT: only what the store has confirmed becomes a partition's record; what it once held is kept as hearsay.
 */
import type { Membership, NodeRecord, PartitionRecord } from '../../common/topology.ts';
import { type Context, countLeader, emit, type PartitionState } from './context.ts';
import { contradicts, hearPromise } from './failover.ts';
import type { NodeState } from './nodes.ts';
import { finishPlan } from './planner.ts';
import { sameLeader, sameRecord } from './record-rules.ts';
import { formerRuns, isOvertaken, rollbackProblem } from './runs.ts';

/** Collects promises, and records that the node was once pushed and that say more than ours. */
export function hearNode(context: Context, node: NodeState): void {
  for (const [partition, reports] of node.reports) {
    const state = context.partitions.get(partition);
    if (state === undefined) continue;
    for (const report of reports.values()) hearPromise(state, report.promiseEpoch);
  }
  if (node.knownTopology?.clusterId !== context.store.cluster()!.clusterId) return;
  for (const record of node.knownTopology.records) {
    const state = context.partitions.get(record.partition);
    if (state !== undefined) hearRecord(state, record);
  }
}

function hearRecord(state: PartitionState, record: PartitionRecord): void {
  if (state.record !== null && !contradicts(record, state.record)) return;
  state.hearsay.push(record);
  state.verifiedRevision = 0;
}

/** The store has confirmed a record, ours or another controller's: go on from it. */
export function adopt(
  context: Context,
  state: PartitionState,
  record: PartitionRecord | null,
  now: number,
): void {
  const old = state.record;
  if (old !== null && record !== null && sameRecord(old, record)) return;
  state.record = record;
  context.dirtyRecords.add(state.partition);
  if (old !== null && (record === null || record.revision < old.revision)) {
    emit(context, 'error', 'store_went_back', { partition: state.partition, epoch: old.epoch });
    state.hearsay.push(old);
    state.verifiedRevision = 0;
  }
  state.rebuilding = record === null;
  state.foundLeaderless = false;
  // Whoever wrote over it has compared it.
  state.found = false;
  if (record === null) return;
  state.hearsay = state.hearsay.filter((other) => contradicts(other, record));
  for (const replica of [...record.voters, ...record.previousVoters]) {
    context.nodes.expect(now, replica.node);
  }
  adoptEpoch(context, state, old, record, now);
  countLeader(context, state, record.leader?.node ?? null);
}

function adoptEpoch(
  context: Context,
  state: PartitionState,
  old: PartitionRecord | null,
  record: PartitionRecord,
  now: number,
): void {
  if (old === null || old.configuration !== record.configuration) {
    state.configurationSince = now;
    context.rebalance.configurations += 1;
  }
  if (old === null || old.epoch !== record.epoch || old.reservationId !== record.reservationId) {
    if (old?.leader) state.lastLeader = old.leader;
    state.recordSince = now;
    state.replies.clear();
    state.sealed.clear();
    state.quorumAt = null;
    state.pausedSince = null;
    const { plan } = state;
    if (plan !== null && plan.reservationId === record.reservationId) plan.reservedAt = now;
    else finishPlan(context, state, now);
  }
  if (record.leader !== null && !sameLeader(old?.leader ?? null, record.leader)) {
    state.recordSince = now;
    finishPlan(context, state, now);
  }
  if (record.established) {
    state.failures = 0;
    state.unavailable = '';
  }
}

/**
 * Keeps the stored node records true, and refuses runs on old copies of directories. Death is written for every node, life
 * only for those that are here.
 */
export function writeNodes(context: Context, now: number): void {
  const { nodes, store, wishes } = context;
  for (const id of nodes.watchedIds()) {
    const key = `node/${id}` as const;
    refuseRun(context, now, id);
    const stored = store.node(id);
    if (store.busy(key)) continue;
    const verdict = nodes.verdict(id);
    const present = nodes.recordOf(id);
    const membership = membershipOf(wishes.membership.get(id), stored, present !== null);
    const known = stored !== null && !verdict.alive ? { ...stored, ...deathOf(verdict) } : stored;
    const heard =
      present === null ? known : { ...present, formerRuns: formerRuns(stored, present.incarnation) };
    const wanted = heard === null ? null : { ...heard, membership };
    if (wanted === null || (stored !== null && sameNode(stored, wanted))) {
      wishes.membership.delete(id);
      continue;
    }
    store.write([{ key, revision: store.revisionOf(key) + 1, value: wanted }]);
  }
}

/** What is wished, else what is stored; who comes back is not gone. */
function membershipOf(
  wish: Membership | undefined,
  stored: NodeRecord | null,
  isPresent: boolean,
): Membership {
  const { membership = 'NODE_MEMBER' } = stored ?? {};
  if (!isPresent) return wish ?? membership;
  const asked = wish === 'NODE_GONE' ? undefined : wish;
  return asked ?? (membership === 'NODE_GONE' ? 'NODE_MEMBER' : membership);
}

/** Ends the stream of a run that may not take part. Before anything of it counts: also while its record is being written. */
export function refuseRun(context: Context, now: number, id: string): void {
  const node = context.nodes.get(id);
  const stored = context.store.node(id);
  if (node?.attached !== true) return;
  if (isOvertaken(stored, node)) {
    const message = `another run of ${id} has been admitted since this one attached`;
    context.rejections.push({ node: id, code: 'UNAVAILABLE', message });
    context.nodes.refuse(now, id);
    return;
  }
  const problem = rollbackProblem(stored, node) || node.regressed;
  if (problem === '') return;
  const message = `the data directory of ${id} is an old copy: ${problem}`;
  context.rejections.push({ node: id, code: 'ROLLED_BACK', message });
  emit(context, 'error', 'node_rolled_back', { node: id, incarnation: node.incarnation, reason: problem });
  context.nodes.refuse(now, id);
}

function deathOf(verdict: { reason: string }): { alive: boolean; reason: string } {
  return { alive: false, reason: verdict.reason };
}

/** Equal in everything that others act on: a stored reason stays while the node stays dead. */
function sameNode(a: NodeRecord, b: NodeRecord): boolean {
  return (
    a.incarnation === b.incarnation &&
    a.boot === b.boot &&
    a.address === b.address &&
    a.clientAddress === b.clientAddress &&
    a.zone === b.zone &&
    a.alive === b.alive &&
    a.pid === b.pid &&
    a.run === b.run &&
    (a.membership ?? 'NODE_MEMBER') === (b.membership ?? 'NODE_MEMBER')
  );
}
