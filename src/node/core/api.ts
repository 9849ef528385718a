/**
 * The contract of the node core with its shell: options, events in, effects out. `NodeCore` (node-core.ts) is the one
 * production implementation; the simulator drives the same class.
 */
import type { Topology } from '../../common/topology.ts';
import type { PeerMessage, Prepare, ReplicaReport, Request, Seal } from '../../common/wire/messages.ts';
import type { Store } from '../store.ts';
import type { RecoveredReplica, WalEntry } from '../wal/types.ts';
import type { Effects } from './effects.ts';

/** Identity and bounds of a node; sizes in bytes, times in ms. */
export interface NodeCoreOptions {
  readonly nodeId: string;
  readonly incarnation: string;
  readonly boot: number;
  /** Random id of this process run: the node is silent until the topology names it (`topologyPushed`). */
  readonly run: string;
  readonly valueBytesMax: number;
  /** Seeded by the shell; used for ids and jitter only. */
  readonly random: () => number;
  readonly checkpointBytes: number;
  readonly walRetentionBytes: number;
  /** WAL bytes kept besides for replicas that are sent a snapshot (wal-holds.ts). */
  readonly walHeldBytes: number;
  /** Free disk space below which no copies of replicas are taken (copy-room.ts). */
  readonly copyReserveBytes: number;
  readonly sessionWindowMs: number;
  /** How long idempotency keys are kept. */
  readonly idempotencyMs: number;
  readonly logCacheBytes: number;
  /** Bounds of one append: entries, and bytes that close it (a longer entry goes alone). */
  readonly appendEntriesMax: number;
  readonly appendBytesTarget: number;
  readonly snapshotChunkBytes: number;
  readonly snapshotBytesPerSecond: number;
  /** Time between two scrubs of a partition. */
  readonly scrubIntervalMs: number;
  /** What all scrubs of the node read together. */
  readonly scrubBytesPerSecond: number;
  /** A key that is read more often than that, and is a fifth of what the node is asked for, gets copies; 0: none does by itself. */
  readonly saltReadsPerSecond: number;
  readonly requestsMax: number;
  readonly requestBytesMax: number;
}

/** What recovery found: the WAL's replicas, its reader, and the store opened for blocking reads. */
export interface RestoreInput {
  readonly replicas: readonly RecoveredReplica[];
  /** Entries of a partition from `from` on, in order. */
  readonly entries: (partition: number, from: number) => Iterable<WalEntry>;
  readonly store: Pick<Store, 'getSync'>;
  /** lsn of the last record in the WAL: the next append gets this plus 1. */
  readonly lastLsn: number;
  /** The last topology this node had persisted, or null. */
  readonly topology: Topology | null;
}

/** Events in. Every call may add effects; `advance` precedes each event with the current times. */
export interface NodeCoreEvents {
  /** Sets monotonic and wall time in ms. Wall time feeds log timestamps only. */
  advance(now: number, wall: number): void;
  restore(input: RestoreInput): void;
  tick(): void;
  /** A peer link to `node` came up anew: messages sent before may be lost. */
  peerConnected(node: string): void;
  /** `node`, whose messages come from now on, speaks this protocol version with us. */
  peerSpeaks(node: string, protocol: number): void;
  peerMessages(node: string, messages: readonly PeerMessage[]): void;
  /**
   * A full topology or changed records, pushed by a router. Once one names this very run of the node, it is admitted: until
   * then it answers no Seal and no other node, since its directory may be an old copy that has forgotten what it swore.
   */
  topologyPushed(topology: Topology): void;
  seal(seal: Seal): void;
  prepare(prepare: Prepare): void;
  /** A validated stream's request; the reply comes with the same connection and request id. */
  request(connection: number, request: Request, clientId: Uint8Array): void;
  cancel(connection: number, id: number): void;
  connectionClosed(connection: number): void;
  /** The WAL has fsynced everything up to `lsn`. */
  durable(lsn: number): void;
  diskFullChanged(full: boolean): void;
  /** The WAL's size, and the bytes that were written to it since the start, told now and then: drives checkpoints. */
  walSize(bytes: number, written: number): void;
  /** Free bytes of the disk, told now and then: whether copies of replicas are taken. */
  diskSpace(freeBytes: number): void;
  /** Whether a topology names this very run of the node. */
  isAdmittedBy(topology: Topology): boolean;
  /** Graceful stop: refusals say so; what is led here is served until the controller has handed it over. */
  drain(): void;
  take(): Effects;
  topology(): Topology | null;
  /** Reports for a new controller connection: of all replicas, and of those that this run has dropped. */
  openingReports(): ReplicaReport[];
  /** Reports of all replicas. */
  reportAll(): ReplicaReport[];
  /** Partitions that this node leads at present. */
  leaderCount(): number;
}
