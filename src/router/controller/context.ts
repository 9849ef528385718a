/**
 * The state that the parts of the controller share, and the one way to write a partition's record. Each partition has a
 * record (confirmed by the store) and what this controller run remembers about the present attempt; the latter may be
 * lost at any time without harm.
 */
import type { Random } from '../../common/random.ts';
import type { Leader, Membership, MoveSettings, PartitionRecord, Replica } from '../../common/topology.ts';
import type { AckName, Prepare, Seal, SealReply } from '../../common/wire/messages.ts';
import type { StuckVoter, VoterMove } from '../placement.ts';
import type { NodeRegistry } from './nodes.ts';
import { checkTransition } from './record-rules.ts';
import type { StoreView } from './store-view.ts';
import type { ControllerEvent, ControllerOptions, Goal, RejectionCode } from './types.ts';

/** When something was last sent to a node, on which of its streams, and how long to wait before sending it again. */
export interface Sent {
  readonly at: number;
  readonly session: number;
  readonly pauseMs: number;
}

/** A planned change under way. From the first Prepare on, a new epoch always follows. */
export interface Plan {
  readonly reason: 'drain' | 'balance' | 'outside' | 'repair' | 'move' | 'resume';
  /** The epoch and leader that it starts from. */
  readonly epoch: number;
  readonly leader: Leader;
  /** Replica that is brought level. */
  readonly target: string;
  /** Replica that should lead afterwards. */
  readonly preferred: string;
  /** The new voters, or null for a hand-over. */
  readonly voters: readonly Replica[] | null;
  readonly startedAt: number;
  prepared: Sent | null;
  /** The reservation that was sent for it, and when it was confirmed: then the old leader's Seal answer is waited for. */
  reservationId: string;
  reservedAt: number | null;
  /** The old leader did not answer: what follows is an unplanned failover. */
  unplanned: boolean;
}

/** A voter changes its node; without `from` one is added, without `to` one is given up. Node ids. */
export interface ReplicaMove {
  readonly from: string | null;
  readonly to: string | null;
}

/** Everything about one partition. Times are monotonic ms. */
export interface PartitionState {
  readonly partition: number;
  record: PartitionRecord | null;
  /** Since when the record has its present epoch and leader, and its present configuration, for this controller. */
  recordSince: number;
  configurationSince: number;
  readonly replies: Map<string, SealReply>;
  readonly sealed: Map<string, Sent>;
  quorumAt: number | null;
  plan: Plan | null;
  /** Highest promise heard of; `refused` is the (epoch, reservation) that some replica would not seal. */
  promiseHeard: number;
  refused: string;
  /** Record revision that a fresh read has confirmed although promises contradict it. */
  verifiedRevision: number;
  rebuilding: boolean;
  /** Records of this partition known from elsewhere: nodes' topologies, a store that went back. Newest by epoch. */
  hearsay: PartitionRecord[];
  /** The reservation was found, not made, at the start: it is not joined (a restored store may have forgotten its leader). */
  foundLeaderless: boolean;
  /** The record was found at the start, and not compared yet with what a quorum of its sets has sworn to (`found.ts`). */
  found: boolean;
  lastLeader: Leader | null;
  /** Since when the leader has been paused although no plan of ours is under way. */
  pausedSince: number | null;
  failures: number;
  planFailures: number;
  planNotBefore: number;
  /** The move that is under way or is to begin. */
  move: ReplicaMove | null;
  /** Node that this partition is counted for in `leaderCounts`. */
  countedFor: string | null;
  unavailable: string;
}

/** Returns the state of a partition of which nothing is known yet. */
export function createPartitionState(partition: number): PartitionState {
  return {
    partition,
    record: null,
    recordSince: 0,
    configurationSince: 0,
    replies: new Map(),
    sealed: new Map(),
    quorumAt: null,
    plan: null,
    promiseHeard: 0,
    refused: '',
    verifiedRevision: 0,
    rebuilding: false,
    hearsay: [],
    foundLeaderless: false,
    found: false,
    lastLeader: null,
    pausedSince: null,
    failures: 0,
    planFailures: 0,
    planNotBefore: 0,
    move: null,
    countedFor: null,
    unavailable: 'not led yet',
  };
}

/** What operators have asked for and the store does not have yet. */
export interface Wishes {
  readonly membership: Map<string, Membership>;
  configuration: Partial<MoveSettings & { readonly replicationFactor: number }>;
  /** To plan at once, also after an abort; to end the plan that runs. */
  plan: boolean;
  abort: boolean;
}

/** What this run knows of moves beside the stored plan. */
export interface RebalanceMemory {
  /** When it was last looked whether anything is to be moved, and as of which configurations. */
  lookedAt: number;
  lookedAs: string;
  /** The goal as text, and since when it is that. */
  goal: string;
  goalSince: number;
  /** The last goal that nothing had to be moved for. */
  settled: Goal | null;
  /** Grows with every change of a partition's voters. */
  configurations: number;
  /** Voters that should go and have nowhere to go, and as of which configurations and nodes. */
  stuck: readonly StuckVoter[];
  stuckAs: string;
  /** Nodes whose disk got full while something was copied to them: until when nothing is, and how often it has happened. */
  readonly full: Map<string, { readonly until: number; readonly times: number }>;
  /** Of moves that do not go on: why. */
  readonly waiting: Map<VoterMove, string>;
}

/** Returns the memory of a controller that has just started. */
export function createRebalanceMemory(): RebalanceMemory {
  return {
    lookedAt: Number.NEGATIVE_INFINITY,
    lookedAs: '',
    goal: '',
    goalSince: 0,
    settled: null,
    configurations: 0,
    stuck: [],
    stuckAs: '',
    full: new Map(),
    waiting: new Map(),
  };
}

/** What the parts work on. */
export interface Context {
  readonly options: ControllerOptions;
  readonly random: Random;
  readonly nodes: NodeRegistry;
  readonly store: StoreView;
  readonly partitions: Map<number, PartitionState>;
  readonly leaderCounts: Map<string, number>;
  /** Since when no failover was needed and no node came or went. */
  quietSince: number;
  /** When it was last looked at what leaders take. */
  loadLookedAt: number;
  /** Confirmed since the last push. */
  readonly dirtyRecords: Set<number>;
  readonly dirtyNodes: Set<string>;
  dirtyCluster: boolean;
  /** Default levels that somebody has asked for and the store does not have yet, by keyspace; empty: the cluster's. */
  readonly ackWishes: Map<string, AckName>;
  readonly wishes: Wishes;
  readonly rebalance: RebalanceMemory;
  seals: { node: string; seal: Seal }[];
  prepares: { node: string; prepare: Prepare }[];
  events: ControllerEvent[];
  rejections: { node: string; code: RejectionCode; message: string }[];
}

/** Adds a structured log line. */
export function emit(
  context: Context,
  level: ControllerEvent['level'],
  event: string,
  fields: Readonly<Record<string, string | number | boolean>>,
): void {
  context.events.push({ level, event, ...fields });
}

/** Sends the compare-and-swap of a partition's record, after checking that the rules allow it. */
export function writeRecord(context: Context, state: PartitionState, next: PartitionRecord): void {
  checkTransition(state.record, next);
  context.store.write([{ key: `partition/${state.partition}`, revision: next.revision, value: next }]);
}

/** Counts the partition's leadership for `node` (null: nobody), so that ties can go to the node with the fewest. */
export function countLeader(context: Context, state: PartitionState, node: string | null): void {
  const add = (id: string | null, by: number): void => {
    if (id !== null) context.leaderCounts.set(id, (context.leaderCounts.get(id) ?? 0) + by);
  };
  add(state.countedFor, -1);
  add(node, 1);
  state.countedFor = node;
}

/** Returns whether a message is due again: never sent, sent on an older stream, or unanswered for its pause. */
export function isDue(sent: Sent | null | undefined, now: number, session: number): boolean {
  return sent === null || sent === undefined || sent.session !== session || now - sent.at >= sent.pauseMs;
}

/** Returns the note for a message sent now: its pause doubles up to the longest one. */
export function noteSent(
  context: Context,
  sent: Sent | null | undefined,
  now: number,
  session: number,
): Sent {
  const { resendMs, resendMsMax } = context.options;
  const again = sent !== null && sent !== undefined && sent.session === session;
  return { at: now, session, pauseMs: again ? Math.min(sent.pauseMs * 2, resendMsMax) : resendMs };
}

/** Returns `first` doubled `times` times, at most `most`. */
export function backoff(first: number, most: number, times: number): number {
  return Math.min(most, first * 2 ** Math.min(times, 30));
}
