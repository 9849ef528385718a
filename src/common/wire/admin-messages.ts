/** Shapes of the administrative messages of proto/ringkeep.proto, like those of messages.ts. */
import type { Membership, MoveSettings, Replica, Topology } from '../topology.ts';
import type { AckName, Hello, ReplicaReport } from './messages.ts';

export interface NodeStatus {
  id: string;
  diskBytes: number;
  diskFull: boolean;
  draining: boolean;
}
export interface StatusReply {
  topology: Topology | null;
  nodes: NodeStatus[];
  replicas: ReplicaReport[];
  json: string;
}
export interface HotRequest {
  hello: Hello | null;
  limit: number;
}
export interface HotKey {
  keyspace: string;
  key: Uint8Array;
  partition: number;
  reads: number;
  writes: number;
  error: number;
}
export interface HotPartition {
  partition: number;
  reads: number;
  writes: number;
}
export interface HotNode {
  node: string;
  reads: number;
  writes: number;
  problem: string;
}
/** A copy of a salted key. */
export interface KeyCopy {
  partition: number;
  node: string;
  held: boolean;
}
/** A salted key; `node` leads `partition`, its home. */
export interface SaltedKey {
  keyspace: string;
  key: Uint8Array;
  partition: number;
  node: string;
  copies: readonly KeyCopy[];
  waitingWrites: number;
  automatic: boolean;
}
/** Operations per second, of about the last `seconds`. */
export interface HotReply {
  seconds: number;
  reads: number;
  writes: number;
  keys: readonly HotKey[];
  partitions: readonly HotPartition[];
  /** Of a router: what each node has told. */
  nodes: readonly HotNode[];
  /** Of the partitions that are led there. */
  salts: readonly SaltedKey[];
}
export interface HashRequest {
  hello: Hello | null;
  partition: number;
}
export interface HashReply {
  replica: string;
  appliedIndex: number;
  hash: string;
  rows: number;
}
export interface SetAckRequest {
  hello: Hello | null;
  keyspace: string;
  ack: AckName;
}
export type MovesOrder =
  | 'MOVES_TELL'
  | 'MOVES_PREVIEW'
  | 'MOVES_RUN'
  | 'MOVES_ABORT'
  | 'MOVES_CONFIGURE'
  | 'MOVES_MEMBERSHIP'
  | 'MOVES_EXPLAIN'
  | 'MOVES_FORGET';
/** What is to be changed of `MoveSettings`. */
export interface MoveChange {
  bytesPerSecond?: number;
  perNode?: number;
  lostAfterSeconds?: number;
  automatic?: boolean;
}
export interface MovesRequest {
  hello: Hello | null;
  order: MovesOrder;
  settings: MoveChange | null;
  replicationFactor: number;
  node: string;
  membership: Membership;
  partition: number;
}
export interface Move {
  partition: number;
  from: string;
  to: string;
  state: string;
  reason: string;
  bytes: number;
  copied: number;
  /** Node that leads the partition now, and would send them; empty: none. */
  sender: string;
}
export interface StuckVoter {
  partition: number;
  node: string;
}
export interface NodeChoice {
  node: string;
  votes: boolean;
  reason: string;
  learns: boolean;
}
/** A node with more voters than its share allows. */
export interface OverfullNode {
  node: string;
  voters: number;
  bound: number;
}
export interface MovesReply {
  state: string;
  reason: string;
  moves: readonly Move[];
  stuck: readonly StuckVoter[];
  settings: MoveSettings | null;
  replicationFactor: number;
  choices: readonly NodeChoice[];
  bytesPerSecond: number;
  plan: string;
  overfull: readonly OverfullNode[];
}
export interface ScrubRequest {
  hello: Hello | null;
  run: number;
  partitions: readonly number[];
}
export interface ScrubReply {
  run: number;
  partitions: readonly PartitionScrub[];
}
export type ScrubState =
  | 'SCRUB_RUNNING'
  | 'SCRUB_AGREED'
  | 'SCRUB_DIFFERS'
  | 'SCRUB_DAMAGED'
  | 'SCRUB_NO_QUORUM'
  | 'SCRUB_UNDECIDED'
  | 'SCRUB_UNAVAILABLE';
/** What is known of one scrub of one partition. */
export interface PartitionScrub {
  partition: number;
  state: ScrubState;
  index: number;
  hash: string;
  rows: number;
  bytes: number;
  voters: number;
  differing: readonly Replica[];
  damaged: readonly Replica[];
  repaired: boolean;
  reason: string;
}
