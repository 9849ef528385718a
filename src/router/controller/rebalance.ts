/**
 * Moves of replicas between nodes: what is to be done is planned by `placement.ts`, kept in the topology store as one plan, and carried
 * out here partition by partition, as reconfigurations (`planner.ts`). How far a plan is, is read off the partitions' records:
 * a controller that takes over goes on where the last one stopped.
 * INVARIANT: a plan that runs fits its goal: when nodes come, leave or are lost, it is made anew, and keeps what is under way.
 * INVARIANT: a move that does not go on has a reason that is told (`waiting`), and holds none of the others up.
 */
import { RingkeepError } from '../../common/errors.ts';
import {
  LOST_AFTER_S_MAX,
  LOST_AFTER_S_MIN,
  MOVE_BYTES_MAX,
  MOVE_BYTES_MIN,
  MOVES_PER_NODE_MAX,
  REPLICATION_FACTOR_MAX,
} from '../../common/limits.ts';
import {
  type Membership,
  MOVE_SETTINGS,
  type MoveSettings,
  type NodeRecord,
  type PartitionRecord,
} from '../../common/topology.ts';
import {
  composeMoves,
  explainPartition,
  type NodeChoice,
  type PlacementPlan,
  planMoves,
  type VoterMove,
} from '../placement.ts';
import { type Context, emit, type PartitionState } from './context.ts';
import { isMovePossible } from './planner.ts';
import type { Goal, RebalanceRecord } from './types.ts';

/** What operators change of how replicas are placed and moved. */
export type MoveConfiguration = Partial<MoveSettings & { readonly replicationFactor: number }>;

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

/** Returns the confirmed settings. */
export function moveSettingsOf({ store }: Pick<Context, 'store'>): MoveSettings {
  return store.cluster()?.moves ?? MOVE_SETTINGS;
}

function refuse(text: string): never {
  throw new RingkeepError('INVALID_ARGUMENT', text);
}

function checkRange(what: string, value: number | undefined, least: number, most: number): void {
  if (value === undefined || (Number.isSafeInteger(value) && value >= least && value <= most)) return;
  refuse(`${what} is a whole number from ${least} to ${most}`);
}

/**
 * Remembers what is to be stored of the configuration.
 * @throws RingkeepError INVALID_ARGUMENT
 */
export function wishConfiguration(context: Context, change: MoveConfiguration): void {
  const { bytesPerSecond, perNode, lostAfterSeconds, replicationFactor } = change;
  checkRange('bytes per second', bytesPerSecond, MOVE_BYTES_MIN, MOVE_BYTES_MAX);
  checkRange('moves per node', perNode, 1, MOVES_PER_NODE_MAX);
  if (lostAfterSeconds !== 0)
    checkRange('lost after, in seconds,', lostAfterSeconds, LOST_AFTER_S_MIN, LOST_AFTER_S_MAX);
  checkRange('a replication factor', replicationFactor, 1, REPLICATION_FACTOR_MAX);
  const members = membersOf(context).length;
  if (replicationFactor !== undefined && replicationFactor > members)
    refuse(`a replication factor of ${replicationFactor} needs as many nodes, there are ${members}`);
  context.wishes.configuration = { ...context.wishes.configuration, ...change };
}

/**
 * Remembers that a node is to leave, or to be a member again.
 * @throws RingkeepError INVALID_ARGUMENT if there is no such node
 */
export function wishMembership(context: Context, node: string, membership: Membership): void {
  if (context.store.node(node) === null) refuse(`there is no node ${node}`);
  context.wishes.membership.set(node, membership);
}

/** Returns whether all that was asked for is stored. */
export function isConfigured({ wishes }: Context): boolean {
  return wishes.membership.size === 0 && Object.keys(wishes.configuration).length === 0;
}

/** Writes what is wished of the cluster's configuration, if its record is free. */
export function stepConfiguration(context: Context): void {
  const { store, wishes } = context;
  const cluster = store.cluster();
  if (Object.keys(wishes.configuration).length === 0 || cluster === null || store.busy('cluster')) return;
  const { replicationFactor = cluster.replicationFactor, ...settings } = wishes.configuration;
  const moves = { ...moveSettingsOf(context), ...settings };
  const next = { ...cluster, replicationFactor, moves };
  if (JSON.stringify(next) === JSON.stringify({ ...cluster, moves: moveSettingsOf(context) })) {
    wishes.configuration = {};
    return;
  }
  emit(context, 'info', 'move_settings_set', { replicationFactor, ...moves });
  store.write([{ key: 'cluster', revision: store.revisionOf('cluster') + 1, value: next }]);
}

function isMember({ membership }: NodeRecord): boolean {
  return (membership ?? 'NODE_MEMBER') === 'NODE_MEMBER';
}

function membersOf({ store }: Context): NodeRecord[] {
  return store.nodes().filter(isMember);
}

/** Whether a node was not heard of for longer than others wait for it. */
export function isLost(context: Context, now: number, id: string): boolean {
  const { lostAfterSeconds } = moveSettingsOf(context);
  return lostAfterSeconds > 0 && context.nodes.deadFor(now, id) >= lostAfterSeconds * 1_000;
}

function goalOf(context: Context, now: number): Goal {
  const nodes = membersOf(context)
    .filter(({ id }) => !isLost(context, now, id))
    .map(({ id, zone }) => ({ id, zone }))
    .sort((a, b) => (a.id < b.id ? -1 : 1));
  return { replicationFactor: context.store.cluster()!.replicationFactor, nodes };
}

function sameGoal(a: Goal, b: Goal): boolean {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** The goal that the voters look as if they had been placed for: before the first plan. */
function goalBefore(context: Context, { replicationFactor, nodes }: Goal): Goal {
  const voting = new Set<string>();
  for (const { record } of context.partitions.values())
    for (const { node } of record?.voters ?? []) voting.add(node);
  const zones = new Map(nodes.map(({ id, zone }) => [id, zone]));
  return { replicationFactor, nodes: [...voting].sort().map((id) => ({ id, zone: zones.get(id) ?? '' })) };
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

function recordsOf(context: Context): PartitionRecord[] | null {
  const records: PartitionRecord[] = [];
  for (const { record, rebuilding } of context.partitions.values()) {
    if (record === null || rebuilding) return null;
    records.push(record);
  }
  return records;
}

/** Returns what would have to be done now for a goal; null while a partition's record is not known. */
export function planFor(context: Context, goal: Goal, kept: readonly VoterMove[] = []): PlacementPlan | null {
  const records = recordsOf(context);
  if (records === null || goal.nodes.length === 0) return null;
  const current = records.map(({ voters }) => voters.map(({ node }) => node));
  for (const { partition, from, to } of kept) {
    const voters = current[partition]!;
    if (from !== null) voters.splice(voters.indexOf(from), 1);
    if (to !== null) voters.push(to);
  }
  const { moves, stuck } = planMoves(current, { ...goal, partitions: records.length });
  return { moves: composeMoves([...kept, ...moves]), stuck };
}

/** Of a move that has been begun there is a learner, or a change of voters is on its way. */
function isUnderWay(state: PartitionState, { from, to }: VoterMove): boolean {
  const { record, plan } = state;
  if (plan?.reason === 'move') return state.move?.from === from && state.move.to === to;
  return to !== null && record!.learners.some(({ node }) => node === to);
}

function isDone({ voters, established }: PartitionRecord, { from, to }: VoterMove): boolean {
  if (!established) return false;
  const votes = (id: string | null): boolean => voters.some(({ node }) => node === id);
  return !votes(from) && (to === null || votes(to));
}

function openMoves(context: Context, { moves }: RebalanceRecord): VoterMove[] {
  return moves.filter((move) => !isDone(context.partitions.get(move.partition)!.record!, move));
}

function byPartition(moves: readonly VoterMove[]): Map<number, VoterMove[]> {
  const found = new Map<number, VoterMove[]>();
  for (const move of moves) {
    const known = found.get(move.partition);
    if (known === undefined) found.set(move.partition, [move]);
    else known.push(move);
  }
  return found;
}

/** Of a plan, what is under way and leads to a goal. */
function keptOf(context: Context, plan: RebalanceRecord, goal: Goal): VoterMove[] {
  const ids = new Set(goal.nodes.map(({ id }) => id));
  return openMoves(context, plan).filter((move) => {
    const state = context.partitions.get(move.partition)!;
    if (!isUnderWay(state, move) || !isMovePossible(state.record!, move)) return false;
    return move.to === null || (ids.has(move.to) && context.nodes.live(move.to) !== null);
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
    const as = `${memory.configurations} ${memory.goal}`;
    if (as === memory.lookedAs || now - memory.lookedAt < options.planEveryMs) return;
    memory.lookedAs = as;
    memory.lookedAt = now;
  }
  const found = planFor(context, goal);
  if (found === null) {
    memory.lookedAs = '';
    return;
  }
  wishes.plan = false;
  if (found.moves.length === 0) {
    memory.settled = goal;
    return;
  }
  const moves = found.moves.slice(0, options.planMovesMax);
  const reason = asked
    ? 'asked for'
    : reasonOf(memory.settled ?? last?.goal ?? goalBefore(context, goal), goal);
  writePlan(context, { id: context.random.id(), state: 'running', reason, goal, moves });
}

/** The nodes are others than those that a plan was made for: it is made anew, around what is under way. */
function replan(context: Context, now: number, last: RebalanceRecord, goal: Goal): void {
  if (now - context.rebalance.lookedAt < context.options.planEveryMs) return;
  context.rebalance.lookedAt = now;
  const found = planFor(context, goal, keptOf(context, last, goal));
  if (found === null) return;
  const moves = found.moves.slice(0, context.options.planMovesMax);
  const state = moves.length === 0 ? 'done' : 'running';
  writePlan(context, { ...last, state, reason: reasonOf(last.goal, goal), goal, moves });
}

// ---------------------------------------------------------------- carrying it out

/** Why a move cannot begin or go on now; empty: it can. */
function obstacleOf(context: Context, state: PartitionState, move: VoterMove, now: number): string {
  const record = state.record!;
  if (state.rebuilding) return 'the partition’s record is being rebuilt';
  if (record.leader === null || !record.established)
    return state.unavailable || 'the partition has no leader now';
  if (!isMovePossible(record, move)) return 'its voters are others than when it was planned';
  if (move.to === null) {
    // With one voter less, each of the others counts more.
    const others = record.voters.filter(({ node }) => node !== move.from);
    const ill = others.find(
      (replica) =>
        context.nodes.live(replica.node) === null ||
        context.nodes.health(state.partition, replica) !== 'healthy',
    );
    if (ill !== undefined) return `${ill.node} has to be well before a voter is given up`;
  } else {
    const target = context.nodes.live(move.to);
    if (target === null)
      return `${move.to} does not answer: ${context.nodes.verdict(move.to).reason || 'away'}`;
    if (target.heartbeat?.diskFull === true) return `the disk of ${move.to} is full`;
    if (context.nodes.isDraining(move.to)) return `${move.to} is being stopped`;
  }
  if (now < state.planNotBefore) return 'its last attempt was not level in time, and it is tried again';
  return '';
}

/** Whether voters are others than a plan goes by: of some partition no move is possible any more. */
function isOvertaken(context: Context, record: RebalanceRecord): boolean {
  return [...byPartition(openMoves(context, record))].some(([partition, moves]) => {
    const state = context.partitions.get(partition)!;
    if (state.plan !== null || !state.record!.established) return false;
    return !moves.some((move) => isMovePossible(state.record!, move));
  });
}

/** Begins and goes on with as many moves as the nodes may take part in. */
function carryOut(context: Context, record: RebalanceRecord, now: number): void {
  const { perNode } = moveSettingsOf(context);
  const { waiting } = context.rebalance;
  const busy = new Map<string, number>();
  const nodesOf = ({ from, to }: VoterMove): string[] => [from, to].filter((id) => id !== null);
  const isFree = (id: string): boolean => (busy.get(id) ?? 0) < perNode;
  const occupy = (move: VoterMove): void => {
    for (const id of nodesOf(move)) busy.set(id, (busy.get(id) ?? 0) + 1);
  };
  waiting.clear();
  const ready: VoterMove[] = [];
  for (const [partition, moves] of byPartition(openMoves(context, record))) {
    const state = context.partitions.get(partition)!;
    const obstacles = new Map(moves.map((move) => [move, obstacleOf(context, state, move, now)]));
    // What has been copied so far is not given up for another move: a target that is away comes back.
    const next =
      moves.find((move) => isUnderWay(state, move)) ?? moves.find((move) => obstacles.get(move) === '');
    for (const move of moves)
      if (move !== next)
        waiting.set(move, obstacles.get(move) || 'another move of its partition comes first');
    if (next === undefined) continue;
    const obstacle = obstacles.get(next)!;
    if (obstacle !== '') waiting.set(next, obstacle);
    else if (isUnderWay(state, next)) {
      state.move = next;
      occupy(next);
    } else ready.push(next);
  }
  for (const move of ready) {
    const state = context.partitions.get(move.partition)!;
    if (nodesOf(move).every(isFree)) {
      state.move = move;
      occupy(move);
    } else {
      waiting.set(move, 'its turn: its nodes take part in as many moves as they may');
    }
  }
}

/** Takes back what can be: learners; a change of voters that has begun is ended. Returns whether nothing is left. */
function windUp(context: Context): boolean {
  let left = false;
  for (const state of context.partitions.values()) {
    if (state.plan === null) state.move = null;
    const { record } = state;
    const learns = record?.learners.some(({ node }) => context.nodes.live(node) !== null);
    if (record?.established !== true || state.plan !== null || learns) left = true;
  }
  return !left;
}

/**
 * A stored plan is known, ours or another controller's: what is under way by it goes on, and is not taken for a learner that
 * nobody needs.
 */
export function adoptPlan(context: Context): void {
  const record = context.store.rebalance();
  if (record === null || recordsOf(context) === null) return;
  const open = byPartition(record.state === 'running' ? openMoves(context, record) : []);
  for (const state of context.partitions.values()) {
    const move = open.get(state.partition)?.find((one) => isUnderWay(state, one));
    if (move !== undefined) state.move = move;
    else if (state.plan === null) state.move = null;
  }
}

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
  if (recordsOf(context) === null) return;
  if (last.state === 'aborting') {
    wishes.abort = false;
    if (windUp(context)) writePlan(context, { ...last, state: 'aborted' });
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

/** Returns what would be moved if that began now; null while a partition's record is not known. */
export function previewMoves(context: Context, now: number): PlacementPlan | null {
  const goal = goalOf(context, now);
  const last = context.store.rebalance();
  return planFor(context, goal, last?.state === 'running' ? keptOf(context, last, goal) : []);
}

/** Returns why the voters of a partition are where they are, as of now; empty while a record is not known. */
export function explainVoters(context: Context, now: number, partition: number): NodeChoice[] {
  const records = recordsOf(context);
  const goal = goalOf(context, now);
  if (records === null || goal.nodes.length === 0) return [];
  const current = records.map(({ voters }) => voters.map(({ node }) => node));
  const choices = explainPartition(partition, current, { ...goal, partitions: records.length });
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
  const as = `${memory.configurations} ${JSON.stringify(goalOf(context, now))}`;
  if (as !== memory.stuckAs) {
    const found = previewMoves(context, now);
    if (found === null) return memory.stuck;
    memory.stuck = found.stuck;
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
