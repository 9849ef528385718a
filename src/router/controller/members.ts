/**
 * Members of a cluster as operators see them beside their replicas: which can be forgotten, which carry more than their share. Where
 * replicas go is `rebalance.ts`.
 * INVARIANT: a node that a record names, as voter, previous voter or learner, or that is attached, is not forgotten.
 */
import { RingkeepError } from '../../common/errors.ts';
import type { NodeRecord } from '../../common/topology.ts';
import { type NodeLoad, overfullNodes, type VoterMove } from '../placement.ts';
import type { Context } from './context.ts';
import { isLost } from './rebalance.ts';

/** Whether a record is only what is left of a node that was forgotten: entries of the store are never deleted. */
export function isGone(record: Pick<NodeRecord, 'membership'> | null): boolean {
  return record?.membership === 'NODE_GONE';
}

function refusal(text: string): RingkeepError {
  return new RingkeepError('INVALID_ARGUMENT', text);
}

/** Returns why a node cannot be forgotten now; null: it can. */
export function obstacleToForget({ store, nodes, partitions }: Context, id: string): RingkeepError | null {
  const record = store.node(id);
  if (record === null || isGone(record)) return refusal(`there is no node ${id}`);
  if (nodes.get(id)?.attached === true) return refusal(`${id} runs: stop it first`);
  let named = 0;
  for (const state of partitions.values()) {
    if (state.record === null || state.rebuilding)
      return new RingkeepError('NOT_READY', 'not all records of partitions are known yet');
    const { voters, previousVoters, learners } = state.record;
    if ([...voters, ...previousVoters, ...learners].some(({ node }) => node === id)) named += 1;
  }
  if (named === 0) return null;
  const replicas = named === 1 ? 'a replica' : `replicas of ${named} partitions`;
  return refusal(`${id} still has ${replicas}: let it give them away first, by ringkeep drain ${id}`);
}

/** Returns the nodes that have more voters than their share allows once these moves are done; none while a record is not known. */
export function overfullNow(context: Context, now: number, moves: readonly VoterMove[]): NodeLoad[] {
  const { store, partitions } = context;
  const nodes = store
    .nodes()
    .filter(
      ({ id, membership = 'NODE_MEMBER' }) => membership === 'NODE_MEMBER' && !isLost(context, now, id),
    );
  const current = [...partitions.values()].map(
    ({ record }) => record?.voters.map(({ node }) => node) ?? null,
  );
  const known = current.filter((voters) => voters !== null);
  if (nodes.length === 0 || known.length === 0 || known.length < current.length) return [];
  for (const { partition, from, to } of moves) {
    const voters = known[partition]!;
    if (from !== null) voters.splice(voters.indexOf(from), 1);
    if (to !== null) voters.push(to);
  }
  const { replicationFactor } = store.cluster()!;
  return overfullNodes(known, { replicationFactor, nodes, partitions: known.length });
}
