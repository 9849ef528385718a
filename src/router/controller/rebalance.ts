/**
 * Moves of replicas between nodes: what is to be done is planned by `placement.ts`, kept in the topology store as one plan, and carried
 * out here partition by partition, as reconfigurations (`planner.ts`). How far a plan is, is read off the partitions' records:
 * a controller that takes over goes on where the last one stopped.
 * INVARIANT: a plan that runs fits its goal: when nodes come, leave or are lost, it is made anew, and keeps what is under way.
 * INVARIANT: a move that does not go on has a reason that is told (`waiting`), and holds none of the others up.
 */
import type { NodeRecord, PartitionRecord } from '../../common/topology.ts';
import {
  composeMoves,
  explainPartition,
  type NodeChoice,
  type PlacementPlan,
  planMoves,
  type VoterMove,
} from '../placement.ts';
import { byPartition, carryOut, isDone, isOvertaken, isUnderWay, openMoves, windUp } from './carry-out.ts';
import { isMember, membersOf, moveSettingsOf } from './cluster-settings.ts';
import { type Context, emit } from './context.ts';
import { isMovePossible } from './planner.ts';
import type { Goal, RebalanceRecord } from './types.ts';

/** How one move of the plan stands. */
export interface MoveStatus extends VoterMove {
  readonly state: 'done' | 'active' | 'waiting';
  /** What it waits for. */
  readonly reason: string;
}

/** How the moves stand, for operators. */
export interface RebalanceStatus {
  readonly state: RebalanceRecord['state'] | 'none';
  readonly reason: string;
  readonly moves: readonly MoveStatus[];
  /** Voters that should not stay where they are and have nowhere to go. */
  readonly stuck: PlacementPlan['stuck'];
}

// ---------------------------------------------------------------- what is wanted

/** Whether a node was not heard of for longer than others wait for it. */
export function isLost(context: Context, now: number, id: string): boolean {
  const { lostAfterSeconds } = moveSettingsOf(context);
  return lostAfterSeconds > 0 && context.nodes.deadFor(now, id) >= lostAfterSeconds * 1_000;
}

/**
 * The nodes that are to have voters. Of those that do not answer, the ones that were to have some before, until they are lost: a controller
 * that takes over has not heard of anybody yet, and does not know how long a node has been away. What the last plan left out, as lost, stays
 * out until it is heard of again.
 */
function goalOf(context: Context, now: number): Goal {
  const before = new Set((context.store.rebalance()?.goal ?? goalBefore(context)).nodes.map(({ id }) => id));
  const counts = ({ id }: NodeRecord): boolean =>
    context.nodes.live(id) !== null || (before.has(id) && !isLost(context, now, id));
  const nodes = membersOf(context)
    .filter(counts)
    .map(({ id, zone }) => ({ id, zone }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  return { replicationFactor: context.store.cluster()!.replicationFactor, nodes };
}

function sameGoal(a: Goal, b: Goal): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** The goal that the voters look as if they had been placed for: before the first plan. */
function goalBefore({ partitions, store }: Context): Goal {
  const voting = new Set<string>();
  for (const { record } of partitions.values()) for (const { node } of record?.voters ?? []) voting.add(node);
  const nodes = [...voting].sort().map((id) => ({ id, zone: store.node(id)?.zone ?? '' }));
  return { replicationFactor: store.cluster()!.replicationFactor, nodes };
}

/** What has changed between two goals, for people. */
function reasonOf(before: Goal, after: Goal): string {
  const zones = new Map(before.nodes.map(({ id, zone }) => [id, zone]));
  const ids = new Set(after.nodes.map(({ id }) => id));
  const come = after.nodes.filter(({ id }) => !zones.has(id)).map(({ id }) => `${id} has come`);
  const gone = before.nodes.filter(({ id }) => !ids.has(id)).map(({ id }) => `${id} leaves or is lost`);
  const moved = after.nodes
    .filter(({ id, zone }) => zones.has(id) && zones.get(id) !== zone)
    .map(({ id, zone }) => `${id} is in zone ${zone} now`);
  const factor =
    before.replicationFactor === after.replicationFactor
      ? []
      : [`replication factor ${before.replicationFactor} to ${after.replicationFactor}`];
  return [...come, ...gone, ...moved, ...factor].join(', ') || 'the load of the nodes';
}

// ---------------------------------------------------------------- the plan

/** Partitions whose record is lost, and is being rebuilt. */
function unsurePartitions({ partitions }: Context): Set<number> {
  const unsure = new Set<number>();
  for (const { partition, record, rebuilding } of partitions.values())
    if (record === null || rebuilding) unsure.add(partition);
  return unsure;
}

/** Voters by partition, as far as they are known. */
function knownVoters({ partitions }: Context): string[][] {
  const voters: string[][] = [];
  for (const { record, hearsay } of partitions.values()) {
    const heard = record === null ? hearsay : [record];
    const newest = heard.reduce<PartitionRecord | null>(
      (best, one) => (best === null || one.epoch > best.epoch ? one : best),
      null,
    );
    voters.push((newest?.voters ?? []).map(({ node }) => node));
  }
  return voters;
}

/**
 * Returns what would have to be done now for a goal. While some records are not known, only what the others need whatever those say:
 * nothing is levelled by half of the picture.
 */
export function planFor(context: Context, goal: Goal, kept: readonly VoterMove[] = []): PlacementPlan {
  if (goal.nodes.length === 0) return { moves: [], stuck: [] };
  const current = knownVoters(context);
  for (const { partition, from, to } of kept) {
    const voters = current[partition]!;
    if (from !== null) voters.splice(voters.indexOf(from), 1);
    if (to !== null) voters.push(to);
  }
  const { moves, stuck } = planMoves(current, { ...goal, partitions: current.length });
  const unsure = unsurePartitions(context);
  if (unsure.size === 0) return { moves: composeMoves([...kept, ...moves]), stuck };
  const stays = new Set(goal.nodes.map(({ id }) => id));
  const isNeeded = ({ partition, from, to }: VoterMove): boolean =>
    !unsure.has(partition) && (to === null || from === null || !stays.has(from));
  return {
    moves: composeMoves([...kept, ...moves.filter(isNeeded)]),
    stuck: stuck.filter(({ partition }) => !unsure.has(partition)),
  };
}

/** Of a plan, what is under way and leads to a goal. */
function keptOf(context: Context, plan: RebalanceRecord, goal: Goal): VoterMove[] {
  const ids = new Set(goal.nodes.map(({ id }) => id));
  return openMoves(context, plan).filter((move) => {
    const state = context.partitions.get(move.partition)!;
    if (state.record === null || state.rebuilding) return false;
    if (!isUnderWay(state, move) || !isMovePossible(state.record, move)) return false;
    // Not yet heard of is not dead: a controller that takes over throws nothing away.
    return move.to === null || (ids.has(move.to) && context.nodes.isAlive(move.to));
  });
}

function writePlan(context: Context, value: RebalanceRecord): void {
  const { store } = context;
  const { state, reason, moves } = value;
  emit(context, 'info', 'rebalance', { state, reason, moves: moves.length });
  store.writeRebalance(value);
}

/** Looks whether anything is to be moved, and makes a plan of it. */
function plan(context: Context, now: number, last: RebalanceRecord | null): void {
  const { wishes, rebalance: memory, options } = context;
  const goal = goalOf(context, now);
  const text = JSON.stringify(goal);
  if (text !== memory.goal) {
    memory.goal = text;
    memory.goalSince = now;
  }
  const asked = wishes.plan;
  if (!asked) {
    if (!moveSettingsOf(context).automatic || now - memory.goalSince < options.settleMs) return;
    // What was ended by hand begins again by hand, or when the nodes are others.
    if (last?.state === 'aborted' && sameGoal(last.goal, goal)) return;
    const as = `${memory.configurations} ${unsurePartitions(context).size} ${memory.goal}`;
    if (as === memory.lookedAs || now - memory.lookedAt < options.planEveryMs) return;
    memory.lookedAs = as;
    memory.lookedAt = now;
  }
  const found = planFor(context, goal);
  wishes.plan = false;
  if (found.moves.length === 0) {
    memory.settled = goal;
    return;
  }
  const moves = found.moves.slice(0, options.planMovesMax);
  const reason = asked ? 'asked for' : reasonOf(memory.settled ?? last?.goal ?? goalBefore(context), goal);
  writePlan(context, { id: context.random.id(), state: 'running', reason, goal, moves });
}

/** The nodes are others than those that a plan was made for: it is made anew, around what is under way. */
function replan(context: Context, now: number, last: RebalanceRecord, goal: Goal): void {
  if (now - context.rebalance.lookedAt < context.options.planEveryMs) return;
  context.rebalance.lookedAt = now;
  // What was looked at before is another plan: the same nodes may come back, and need one again.
  context.rebalance.lookedAs = '';
  const found = planFor(context, goal, keptOf(context, last, goal));
  const moves = found.moves.slice(0, context.options.planMovesMax);
  const state = moves.length === 0 ? 'done' : 'running';
  writePlan(context, { ...last, state, reason: reasonOf(last.goal, goal), goal, moves });
}

/**
 * A stored plan is known, ours or another controller's: what is under way by it goes on, and is not taken for a learner that
 * nobody needs.
 */
export function adoptPlan(context: Context): void {
  const record = context.store.rebalance();
  if (record === null) return;
  const open = byPartition(record.state === 'running' ? openMoves(context, record) : []);
  for (const state of context.partitions.values()) {
    const move = open.get(state.partition)?.find((one) => isUnderWay(state, one));
    if (move !== undefined) state.move = move;
    else if (state.plan === null) state.move = null;
  }
}

// ---------------------------------------------------------------- what is due

/** Everything about moves that may be due. */
export function stepRebalance(context: Context, now: number): void {
  const { store, wishes } = context;
  if (store.busy('cluster') || store.cluster() === null) return;
  const last = store.rebalance();
  if (last === null || last.state === 'done' || last.state === 'aborted') {
    wishes.abort = false;
    plan(context, now, last);
    return;
  }
  if (last.state === 'aborting') {
    wishes.abort = false;
    if (windUp(context, last, now)) writePlan(context, { ...last, state: 'aborted' });
    return;
  }
  if (wishes.abort) {
    writePlan(context, { ...last, state: 'aborting' });
    return;
  }
  const goal = goalOf(context, now);
  if (!sameGoal(goal, last.goal) || isOvertaken(context, last)) {
    replan(context, now, last, goal);
    return;
  }
  wishes.plan = false;
  if (openMoves(context, last).length === 0) {
    for (const state of context.partitions.values()) state.move = null;
    writePlan(context, { ...last, state: 'done' });
    return;
  }
  carryOut(context, last, now);
}

/** Returns what would be moved if that began now. */
export function previewMoves(context: Context, now: number): PlacementPlan {
  const goal = goalOf(context, now);
  const last = context.store.rebalance();
  return planFor(context, goal, last?.state === 'running' ? keptOf(context, last, goal) : []);
}

/** Returns why the voters of a partition are where they are, as of now, as far as they are known. */
export function explainVoters(context: Context, now: number, partition: number): NodeChoice[] {
  const current = knownVoters(context);
  const goal = goalOf(context, now);
  if (goal.nodes.length === 0) return [];
  const choices = explainPartition(partition, current, { ...goal, partitions: current.length });
  const places = new Set(goal.nodes.map(({ id }) => id));
  const others = context.store
    .nodes()
    .filter(({ id }) => !places.has(id) && !current[partition]!.includes(id));
  const absent = others.map((node): NodeChoice => {
    const reason = isMember(node) ? 'lost, and gets no replicas' : 'leaves, and gets no replicas';
    return { node: node.id, votes: false, reason };
  });
  return [...choices, ...absent];
}

/** Voters that have nowhere to go, as of now: also where nothing is planned, since moves wait, or have to be asked for. */
function stuckNow(context: Context, now: number): PlacementPlan['stuck'] {
  const { rebalance: memory, store } = context;
  if (store.cluster() === null) return [];
  const as = `${memory.configurations} ${unsurePartitions(context).size} ${JSON.stringify(goalOf(context, now))}`;
  if (as !== memory.stuckAs) {
    memory.stuck = previewMoves(context, now).stuck;
    memory.stuckAs = as;
  }
  return memory.stuck;
}

/** Returns how the moves stand. */
export function rebalanceStatus(context: Context, now: number): RebalanceStatus {
  const record = context.store.rebalance();
  const { waiting } = context.rebalance;
  const stuck = stuckNow(context, now);
  if (record === null) return { state: 'none', reason: '', moves: [], stuck };
  const moves = record.moves.map((move): MoveStatus => {
    const held = context.partitions.get(move.partition)?.record;
    if (record.state === 'done' || (held && isDone(held, move)))
      return { ...move, state: 'done', reason: '' };
    const reason = record.state === 'running' ? (waiting.get(move) ?? '') : 'the plan was aborted';
    return { ...move, state: reason === '' ? 'active' : 'waiting', reason };
  });
  return { state: record.state, reason: record.reason, moves, stuck };
}
