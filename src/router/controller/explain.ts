/**
 * Why the replicas of one partition are where they are: the choice of voters (`placement.ts`), and beside it what is under way by the
 * plan of moves or a repair.
 */
import type { NodeChoice } from '../placement.ts';
import type { Context } from './context.ts';
import { isGone } from './members.ts';
import { explainVoters, type MoveStatus, rebalanceStatus } from './rebalance.ts';

/** How one node stands to a partition. */
export interface ReplicaChoice extends NodeChoice {
  /** It has a replica that catches up. */
  readonly learns: boolean;
}

function standOf({ state, reason }: MoveStatus): string {
  return state === 'active' ? 'under way' : `waits: ${reason}`;
}

function learnerText(move: MoveStatus | undefined): string {
  if (move === undefined) return 'catches up, for a repair or of a plan that has ended';
  const what = move.from === null ? 'to be one voter more' : `to take the place of ${move.from}`;
  return `catches up, ${what} (${standOf(move)})`;
}

/** Returns the choices of a partition, with its learners and the open moves of its plan; empty while a record is not known. */
export function explainReplicas(context: Context, now: number, partition: number): ReplicaChoice[] {
  const learners = context.partitions.get(partition)?.record?.learners.map(({ node }) => node) ?? [];
  const moves = rebalanceStatus(context, now).moves.filter(
    (move) => move.partition === partition && move.state !== 'done',
  );
  const known = explainVoters(context, now, partition).filter(
    ({ node, votes }) => votes || !isGone(context.store.node(node)),
  );
  if (known.length === 0) return [];
  const others = learners
    .filter((id) => !known.some(({ node }) => node === id))
    .map((node): NodeChoice => ({ node, votes: false, reason: '' }));
  return [...known, ...others].map((choice): ReplicaChoice => {
    const { node, votes, reason } = choice;
    if (learners.includes(node)) {
      const text = learnerText(moves.find(({ to }) => to === node));
      return { node, votes, learns: true, reason: text };
    }
    const leaves = moves.find(({ from }) => from === node);
    if (leaves === undefined) return { ...choice, learns: false };
    const what = leaves.to === null ? 'is given up' : `is replaced by ${leaves.to}`;
    return { ...choice, learns: false, reason: `${reason}; ${what} (${standOf(leaves)})` };
  });
}
