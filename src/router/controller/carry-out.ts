/**
 * Carries a stored plan of moves out, partition by partition: what begins now, what waits and why, what an abort takes back. How far a move
 * is, is read off its partition's record.
 * INVARIANT: a move that does not go on has a reason that is told (`waiting`), and holds none of another partition up.
 * INVARIANT: nothing is begun for a move while there is an obstacle, also when it was chosen before there was one.
 */
import type { PartitionRecord } from '../../common/topology.ts';
import type { VoterMove } from '../placement.ts';
import { moveSettingsOf } from './cluster-settings.ts';
import { backoff, type Context, emit, type PartitionState } from './context.ts';
import { illVoter, isMovePossible, lostVoter } from './planner.ts';
import type { RebalanceRecord } from './types.ts';

/** Of a move that has been begun there is a learner, or a change of voters is on its way. */
export function isUnderWay({ record, plan, move }: PartitionState, { from, to }: VoterMove): boolean {
  if (plan?.reason === 'move') return move?.from === from && move.to === to;
  return to !== null && record?.learners.some(({ node }) => node === to) === true;
}

/** Whether the voters of a partition are as a move makes them. */
export function isDone({ voters, established }: PartitionRecord, { from, to }: VoterMove): boolean {
  if (!established) return false;
  const votes = (id: string | null): boolean => voters.some(({ node }) => node === id);
  return !votes(from) && (to === null || votes(to));
}

/** Returns the moves of a plan that are not known to be done. */
export function openMoves({ partitions }: Context, { moves }: RebalanceRecord): VoterMove[] {
  return moves.filter((move) => {
    const record = partitions.get(move.partition)!.record;
    return record === null || !isDone(record, move);
  });
}

/** Returns moves by their partitions, in their order. */
export function byPartition(moves: readonly VoterMove[]): Map<number, VoterMove[]> {
  const found = new Map<number, VoterMove[]>();
  for (const move of moves) {
    const known = found.get(move.partition);
    if (known === undefined) found.set(move.partition, [move]);
    else known.push(move);
  }
  return found;
}

/** Whether voters are others than a plan goes by: of some partition no move is possible any more. */
export function isOvertaken(context: Context, plan: RebalanceRecord): boolean {
  return [...byPartition(openMoves(context, plan))].some(([partition, moves]) => {
    const { record, plan: change } = context.partitions.get(partition)!;
    if (change !== null || record?.established !== true) return false;
    return !moves.some((move) => isMovePossible(record, move));
  });
}

/** Why a move cannot begin or go on now; empty: it can. */
function obstacleOf(context: Context, state: PartitionState, move: VoterMove, now: number): string {
  const { record } = state;
  if (record === null || state.rebuilding) return 'the partition’s record is being rebuilt';
  if (record.leader === null || !record.established)
    return state.unavailable || 'the partition has no leader now';
  if (!isMovePossible(record, move)) return 'its voters are others than when it was planned';
  const lost = lostVoter(context, state, move, now);
  if (lost !== null) return `the lost replica of ${lost.node} is replaced first`;
  if (move.to === null) {
    const ill = illVoter(context, state, move.from);
    if (ill !== null) return `${ill.node} has to be well before a voter is given up`;
  } else {
    const target = context.nodes.live(move.to);
    if (target === null)
      return `${move.to} does not answer: ${context.nodes.verdict(move.to).reason || 'away'}`;
    if (isFull(context, move.to)) return `the disk of ${move.to} is full`;
    const until = context.rebalance.full.get(move.to)?.until ?? now;
    if (now < until)
      return `the disk of ${move.to} was full, it is tried again in ${Math.ceil((until - now) / 1_000)} s`;
    if (context.nodes.isDraining(move.to)) return `${move.to} is being stopped`;
  }
  if (now < state.planNotBefore) return 'its last attempt was not level in time, and it is tried again';
  return '';
}

function isFull({ nodes }: Context, node: string): boolean {
  return nodes.live(node)?.heartbeat?.diskFull === true;
}

/** A target that got full while it was copied to is given its room back, and tried again later and later. */
function giveRoomBack(
  context: Context,
  state: PartitionState,
  { to, partition }: VoterMove,
  now: number,
): void {
  if (state.move === null || to === null) return;
  const { full } = context.rebalance;
  const { planBackoffMs, fullBackoffMsMax } = context.options;
  const { until, times } = full.get(to) ?? { until: now, times: 0 };
  // Several copies to it may end at once.
  if (now >= until)
    full.set(to, { until: now + backoff(planBackoffMs, fullBackoffMsMax, times), times: times + 1 });
  emit(context, 'warn', 'move_rolled_back', { partition, target: to, reason: `the disk of ${to} is full` });
}

/** Nodes that bytes go from and to: the leader sends them, whoever gives its voter up. */
function nodesOf({ record }: PartitionState, { to }: VoterMove): string[] {
  const sender = record?.leader?.node ?? null;
  return to === null ? [] : [sender, to].filter((id) => id !== null);
}

/** What a partition's moves come to: one of them may begin, or goes on, and the others wait. */
function lookAt(
  context: Context,
  state: PartitionState,
  moves: readonly VoterMove[],
  now: number,
): { readonly move: VoterMove; readonly begun: boolean } | null {
  const { waiting } = context.rebalance;
  const { move: chosen } = state;
  if (chosen !== null && !moves.some(({ from, to }) => from === chosen.from && to === chosen.to)) {
    for (const move of moves) waiting.set(move, 'a voter of its partition is moved by hand');
    return null;
  }
  const obstacles = new Map(moves.map((move) => [move, obstacleOf(context, state, move, now)]));
  // What has been copied so far is not given up for another move: a target that is away comes back.
  const begun = moves.find((move) => isUnderWay(state, move));
  const next = begun ?? moves.find((move) => obstacles.get(move) === '');
  for (const move of moves)
    if (move !== next) waiting.set(move, obstacles.get(move) || 'another move of its partition comes first');
  const isKept = begun !== undefined && (state.plan !== null || !isRoomWanted(context, begun));
  if (begun !== undefined && !isKept) giveRoomBack(context, state, begun, now);
  // Chosen before there was an obstacle, maybe.
  if (state.plan === null) state.move = isKept ? begun : null;
  if (next === undefined) return null;
  const obstacle = obstacles.get(next)!;
  if (obstacle === '') return { move: next, begun: begun !== undefined };
  waiting.set(next, obstacle);
  return null;
}

function isRoomWanted(context: Context, { to }: VoterMove): boolean {
  return to !== null && isFull(context, to);
}

/** Begins and goes on with as many moves as the nodes may take part in; replicas of nodes that are away first. */
export function carryOut(context: Context, plan: RebalanceRecord, now: number): void {
  const { perNode } = moveSettingsOf(context);
  const { nodes, partitions, rebalance } = context;
  const busy = new Map<string, number>();
  const isFree = (id: string): boolean => (busy.get(id) ?? 0) < perNode;
  const occupy = (state: PartitionState, move: VoterMove): void => {
    for (const id of nodesOf(state, move)) busy.set(id, (busy.get(id) ?? 0) + 1);
  };
  rebalance.waiting.clear();
  const ready: VoterMove[] = [];
  for (const [partition, moves] of byPartition(openMoves(context, plan))) {
    const state = partitions.get(partition)!;
    const found = lookAt(context, state, moves, now);
    if (found === null) continue;
    if (found.begun) occupy(state, found.move);
    else ready.push(found.move);
  }
  const isUrgent = ({ from }: VoterMove): number => (from !== null && nodes.live(from) === null ? 0 : 1);
  for (const move of ready.sort((a, b) => isUrgent(a) - isUrgent(b))) {
    const state = partitions.get(move.partition)!;
    if (nodesOf(state, move).every(isFree)) {
      state.move = move;
      occupy(state, move);
    } else {
      rebalance.waiting.set(move, 'its turn: its nodes take part in as many moves as they may');
    }
  }
}

/**
 * Takes back what can be of a plan: learners; a change of voters that has begun is ended. Returns whether nothing is left that can be: a
 * partition that has no leader keeps nobody waiting, its learner is dropped when it has one.
 */
export function windUp(context: Context, plan: RebalanceRecord, now: number): boolean {
  let left = false;
  for (const partition of byPartition(plan.moves).keys()) {
    const state = context.partitions.get(partition)!;
    const { record, plan: change } = state;
    if (change === null) state.move = null;
    if (change?.reason === 'move' && now - change.startedAt < context.options.reconfigureMs) left = true;
    if (record?.established !== true || state.rebuilding) continue;
    // One that replaces a lost voter stays, and is nothing of the plan's.
    const isNeeded = record.voters.some((voter) => context.nodes.health(partition, voter) === 'lost');
    const learns = record.learners.some(({ node }) => context.nodes.live(node) !== null);
    if (learns && !isNeeded) left = true;
  }
  return !left;
}
