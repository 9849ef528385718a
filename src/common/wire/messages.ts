/**
 * TypeScript shapes of proto/ringkeep.proto, exactly as proto-loader delivers them (camelCase, numbers for 64-bit
 * integers, enum names, defaults filled in, absent messages null). The pure cores speak these shapes directly: there
 * is no second model to translate into. A test compares them with the schema.
 */
import type { Outcome } from '../errors.ts';
import type { AckLevel, Replica, Topology } from '../topology.ts';

export interface Hello {
  protocolMin: number;
  protocolMax: number;
  clusterId: string;
  role: 'client' | 'router' | 'node';
  nodeId: string;
  incarnation: string;
  boot: number;
  clientId: Uint8Array;
  auth: Uint8Array;
  expectedNode: string;
  storeId: string;
}

export interface Welcome {
  protocol: number;
  clusterId: string;
  role: 'router' | 'node';
  nodeId: string;
  boot: number;
  partitions: number;
  maxInFlight: number;
  keyBytesMax: number;
  valueBytesMax: number;
  storeId: string;
}

export interface Failure {
  code: string;
  outcome: Outcome;
  message: string;
  retryAfterMs: number;
  leader: string;
  partition: number;
  epoch: number;
  logTime: number;
  version: number;
  reached: number;
  voters: number;
}

// ------------------------------------------------------------ client data path

export type AckName = AckLevel | 'ACK_DEFAULT';

export type ConditionKind = 'CONDITION_NONE' | 'CONDITION_ABSENT' | 'CONDITION_EXISTS' | 'CONDITION_VERSION';
export interface Condition {
  kind: ConditionKind;
  version: number;
}
export interface PutOperation {
  value: Uint8Array;
  codec: number;
  ttlMs: number;
}
export interface TouchOperation {
  ttlMs: number;
}
/** 64 bits: a number while it is a safe integer, else a bigint. */
export interface IncrementOperation {
  delta: number | bigint;
  ttlMs: number;
  /** The receipt need not tell the counter, and does not. */
  unread?: boolean;
}
/** One command of a batch; `operation` names the field that is set. */
export interface BatchItem {
  key: Uint8Array;
  condition?: Condition | null;
  operation: 'put' | 'delete' | 'increment' | 'check';
  put?: PutOperation | null;
  delete?: Record<string, never> | null;
  increment?: IncrementOperation | null;
  check?: Record<string, never> | null;
}
/** Of a hot key; 0 copies: it is a key like any other again. */
export interface SaltOperation {
  copies: number;
  /** Sub-counters instead of copies; `delta`: what each increment adds, 0: anything. */
  counter?: boolean;
  delta?: number | bigint;
}
/** Partitions whose leaders have a copy of a hot key, or sub-counters of a counter. */
export interface Salts {
  partitions: number[];
  /** Of sub-counters: their id; 0: these are copies. */
  set?: number;
  delta?: number | bigint;
  /** Of sub-counters: their set is in effect once this entry of their home is decided. */
  index?: number;
}
export interface BatchOperation {
  items: BatchItem[];
}
export interface ScanOperation {
  partition: number;
  cursor: Uint8Array;
  bytesMax: number;
  allKeyspaces: boolean;
}

export type ReadLevelName = 'READ_LINEARIZABLE' | 'READ_QUORUM' | 'READ_SESSION' | 'READ_STALE';
export interface SessionMark {
  index: number;
  epoch: number;
}
export interface GetOperation {
  level: ReadLevelName;
  sessionIndex: number;
  early: SessionMark[];
  maxStalenessMs: number;
}

/** `operation` names the field that is set. */
export interface Request {
  id: number;
  timeLeftMs: number;
  keyspace: string;
  key: Uint8Array;
  clientId: Uint8Array;
  sequence: number;
  lowWater: number;
  sessionTime: number;
  attempt: number;
  ack: AckName;
  traceParent: string;
  condition?: Condition | null;
  operation: 'get' | 'put' | 'delete' | 'increment' | 'scan' | 'touch' | 'batch' | 'salt';
  idempotencyKey?: Uint8Array;
  /** Of a router: so many more gets of clients are answered by this one. */
  sharedReads?: number;
  /** 1 more than the partition whose copy of the key is read, or whose sub-counter is incremented; 0: the key itself. */
  saltIn?: number;
  /** Of increments with `saltIn`: the set of the sub-counter. */
  saltSet?: number;
  /** Of a client to a router: the id of the open get that this is the second attempt of; 0: of none. */
  beside?: number;
  get?: GetOperation | null;
  put?: PutOperation | null;
  delete?: Record<string, never> | null;
  increment?: IncrementOperation | null;
  scan?: ScanOperation | null;
  touch?: TouchOperation | null;
  batch?: BatchOperation | null;
  salt?: SaltOperation | null;
}

export interface Value {
  found: boolean;
  value: Uint8Array;
  codec: number;
  version: number;
  epoch: number;
  partition: number;
  expiresAt: number;
  seenIndex: number;
  stalenessMs: number;
  /** Of a key that is salted. */
  salts?: Salts | null;
}

export interface Receipt {
  partition: number;
  epoch: number;
  version: number;
  durability: 'leader' | 'quorum' | 'all';
  logTime: number;
  duplicate: boolean;
  /** 64 bits, as `delta`. */
  counter: number | bigint;
  conditionFailed: boolean;
  index: number;
  items: ReceiptItem[];
  repeated: boolean;
  /** Of a salt operation: what is in effect now. */
  salts?: Salts | null;
}

export interface ReceiptItem {
  conditionFailed: boolean;
  version: number;
  counter: number | bigint;
}

export interface Row {
  keyspace: string;
  key: Uint8Array;
  value: Uint8Array;
  codec: number;
  version: number;
}
export interface Rows {
  rows: Row[];
  cursor: Uint8Array;
}

export interface Reply {
  id: number;
  end: boolean;
  result: 'value' | 'receipt' | 'failure' | 'rows';
  value?: Value | null;
  receipt?: Receipt | null;
  failure?: Failure | null;
  rows?: Rows | null;
}

export interface Credit {
  id: number;
  replies: number;
}
export interface ClientMessage {
  hello: Hello | null;
  requests: Request[];
  cancels: number[];
  credits: Credit[];
}
export interface ServerMessage {
  welcome: Welcome | null;
  replies: Reply[];
  goaway: boolean;
  failure: Failure | null;
}
export interface UnaryRequest {
  hello: Hello | null;
  request: Request | null;
}

export interface TopologyMessage {
  topology: Topology | null;
  failure: Failure | null;
}

// ------------------------------------------------------------ control

export interface Register {
  address: string;
  clientAddress: string;
  zone: string;
  pid: number;
  admittedBoot: number;
  runs: readonly string[];
  durableLsn: number;
  /** It was started to join a cluster that exists: no new one is formed of it. */
  joins: boolean;
}
export interface Heartbeat {
  sequence: number;
  draining: boolean;
  diskBytes: number;
  diskFull: boolean;
  durableLsn: number;
  figures: readonly ReplicaFigures[];
}
export interface ReplicaFigures {
  partition: number;
  bytes: number;
  copied: number;
  load: number;
}
export type ReplicaState = 'follower' | 'leader' | 'learner' | 'damaged' | 'removed';
export interface ReplicaReport {
  partition: number;
  replica: string;
  state: ReplicaState;
  promiseEpoch: number;
  reservationId: string;
  configuration: number;
  voters: readonly Replica[];
  previousVoters: readonly Replica[];
  lastEpoch: number;
  lastIndex: number;
  commitIndex: number;
  appliedIndex: number;
  ledEpoch: number;
  established: boolean;
  paused: boolean;
  levelTarget: string;
  levelLearners: readonly string[];
  durableEpoch: number;
}
export interface Seal {
  partition: number;
  replica: string;
  epoch: number;
  reservationId: string;
  configuration: number;
  voters: readonly Replica[];
  previousVoters: readonly Replica[];
}
export interface SealReply {
  partition: number;
  replica: string;
  boot: number;
  epoch: number;
  reservationId: string;
  accepted: boolean;
  promiseEpoch: number;
  lastEpoch: number;
  lastIndex: number;
}
export interface Prepare {
  partition: number;
  epoch: number;
  target: string;
}
export interface NodeMessage {
  hello: Hello | null;
  register: Register | null;
  heartbeat: Heartbeat | null;
  sealReplies: SealReply[];
  reports: ReplicaReport[];
  topology: Topology | null;
}
export interface ControllerMessage {
  welcome: Welcome | null;
  failure: Failure | null;
  topology: Topology | null;
  seals: Seal[];
  prepares: Prepare[];
  addressCheck: AddressCheck | null;
}
export interface AddressCheck {
  address: string;
  trouble: string;
}

// ------------------------------------------------------------ replication

export interface Append {
  configuration: number;
  prevIndex: number;
  prevEpoch: number;
  entries: Uint8Array[];
  commitIndex: number;
  voters: readonly Replica[];
  previousVoters: readonly Replica[];
  sentAt: number;
  echo: number;
  echoBoot: number;
}
export interface AppendReply {
  success: boolean;
  matchIndex: number;
  promiseEpoch: number;
  hintIndex: number;
  sentAt: number;
  appliedIndex: number;
  diskFull: boolean;
  clock: number;
  boot: number;
}
export interface Confirm {
  round: number;
  commitIndex: number;
}
export interface ConfirmReply {
  round: number;
  granted: boolean;
  promiseEpoch: number;
}
export interface SnapshotOffer {
  snapshot: string;
  index: number;
  indexEpoch: number;
  configuration: number;
}
export interface SnapshotPull {
  snapshot: string;
  cursor: Uint8Array;
}
export interface SnapshotChunk {
  snapshot: string;
  cursor: Uint8Array;
  keys: Uint8Array[];
  values: Uint8Array[];
  next: Uint8Array;
  done: boolean;
  checksum: number;
  gone: boolean;
}
export interface Scrub {
  index: number;
  hash: string;
  damaged: boolean;
  underWay: number;
  rows: number;
  bytes: number;
}
export interface Probe {
  round: number;
  configuration: number;
  voters: readonly string[];
  keys: Uint8Array[];
}
export interface ProbeReply {
  round: number;
  granted: boolean;
  newest: number[];
  commitIndex: number;
  commitEpoch: number;
}
export type CopyOrderKind = 'COPY_DROP' | 'COPY_INSTALL' | 'COPY_LOOK';
export interface CopyOrder {
  kind: CopyOrderKind;
  home: number;
  number: number;
  key: Uint8Array;
  confirm: boolean;
  token: string;
  value: Value | null;
}
export interface CopyReply {
  number: number;
  homeEpoch: number;
  token: string;
  held: boolean;
  reads: number;
}
export type CounterOrderKind =
  | 'COUNTER_LOOK'
  | 'COUNTER_OPEN'
  | 'COUNTER_CLOSE'
  | 'COUNTER_FORGET'
  | 'COUNTER_ASK';
export interface CounterOrder {
  kind: CounterOrderKind;
  home: number;
  number: number;
  key: Uint8Array;
  set: number;
  delta: number | bigint;
}
export interface CounterReply {
  number: number;
  homeEpoch: number;
  closed: boolean;
  value: number | bigint;
}
export interface PeerMessage {
  partition: number;
  from: string;
  to: string;
  epoch: number;
  /** By a voter, between the leaders of two partitions that do not reach each other. */
  relayed?: boolean;
  body:
    | 'append'
    | 'appendReply'
    | 'confirm'
    | 'confirmReply'
    | 'snapshotOffer'
    | 'snapshotPull'
    | 'snapshotChunk'
    | 'scrub'
    | 'probe'
    | 'probeReply'
    | 'copyOrder'
    | 'copyReply'
    | 'counterOrder'
    | 'counterReply';
  append?: Append | null;
  appendReply?: AppendReply | null;
  confirm?: Confirm | null;
  confirmReply?: ConfirmReply | null;
  snapshotOffer?: SnapshotOffer | null;
  snapshotPull?: SnapshotPull | null;
  snapshotChunk?: SnapshotChunk | null;
  scrub?: Scrub | null;
  probe?: Probe | null;
  probeReply?: ProbeReply | null;
  copyOrder?: CopyOrder | null;
  copyReply?: CopyReply | null;
  counterOrder?: CounterOrder | null;
  counterReply?: CounterReply | null;
}
export interface PeerBatch {
  welcome: Welcome | null;
  failure: Failure | null;
  messages: PeerMessage[];
}
