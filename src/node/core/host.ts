/**
 * What a replica needs from its node: time, the WAL's and the store's queues, a way out for messages and replies. The
 * node core implements it; replicas know nothing else of each other.
 */
import type { RingkeepError } from '../../common/errors.ts';
import type { AckLevel, PartitionRecord, Replica as ReplicaName } from '../../common/topology.ts';
import type { PeerMessage, Receipt, Reply, SealReply } from '../../common/wire/messages.ts';
import type { WalAppend } from '../wal/types.ts';
import type { NodeCoreOptions } from './api.ts';
import type { CopyBudget } from './copy-budget.ts';
import type { CopyRoom } from './copy-room.ts';
import type { CoreEvent, StoreEffect, WalReadEffect } from './effects.ts';
import type { HotKeys } from './hot-keys.ts';
import type { PeerProtocols } from './peer-protocols.ts';
import type { ScrubBook } from './scrub-book.ts';
import type { StoreRead } from './store-reads.ts';
import type { WalHolds } from './wal-holds.ts';

/** An open client request on this node; its identity is that of the object. */
export interface RequestHandle {
  readonly connection: number;
  readonly id: number;
  /** What it may make this node hold until it is answered, bytes. */
  readonly bytes: number;
  /** On the core's monotonic clock, ms. */
  readonly deadline: number;
}

/** The body of a peer message: what `Host.send` puts into its envelope. */
export type PeerBody = Omit<PeerMessage, 'partition' | 'from' | 'to' | 'epoch'>;

export interface Host {
  readonly options: NodeCoreOptions;
  /** Monotonic and wall time of the current event, ms. */
  readonly now: number;
  readonly wall: number;
  /** Every record up to this lsn is fsynced. */
  readonly durableLsn: number;
  /** The disk takes no further entries; promises still go through. */
  readonly diskFull: boolean;
  /** What is led here and not applied yet holds as much memory as it may: no more writes are taken from clients. */
  readonly overloaded: boolean;
  /** The deduplication tables hold as much memory as they may: no further client gets a session. */
  readonly sessionsFull: boolean;
  /** What is committed and not applied here yet holds as much memory as it may: followers take no more writes. */
  readonly applyBehind: boolean;
  /** Bytes of applied entries that one replica may keep in memory for followers. */
  readonly logCacheBytes: number;
  readonly protocols: PeerProtocols;
  /** What the scrubs of this node share. */
  readonly scrubs: ScrubBook;
  appendWal(record: WalAppend): number;
  readWal(effect: WalReadEffect): void;
  store(effect: StoreEffect): void;
  /** Reads a value in its turn, if it is still `wanted` then; without `wanted`, before those (store-reads.ts). */
  read(read: StoreRead, wanted?: () => boolean): void;
  send(partition: number, epoch: number, from: string, to: ReplicaName, body: PeerBody): void;
  /** Passes a message of another replica on to a node. */
  relay(node: string, message: PeerMessage): void;
  sealReply(reply: SealReply): void;
  /** Counts the bytes of a client's write that took effect here. */
  wrote(bytes: number): void;
  /** Asks for `flush` of a replica before the effects are taken. */
  touch(partition: number): void;
  event(event: CoreEvent): void;
  /** A generation number that no copy of a partition on this node ever had. */
  nextGeneration(): number;
  /** A fresh id, unique with overwhelming probability. */
  uniqueId(): string;
  /** What may be sent and taken of copies of replicas. */
  readonly copies: CopyBudget;
  /** Bytes of the copies of hot keys that all leaderships here hold. */
  readonly keyCopies: { bytes: number };
  /** What is asked for most. */
  readonly hot: HotKeys;
  /** Whether there is room for them. */
  readonly room: CopyRoom;
  /** What of the WAL is kept for those who are sent a snapshot from here. */
  readonly holds: WalHolds;
  /** A replica does not need what was held for it any more. */
  endHold(replica: string): void;
  /** The records of all partitions that this node has heard of. */
  records(): Iterable<PartitionRecord>;
  /** Partitions of the cluster. */
  readonly partitionCount: number;
  /** A partition's record as this node has heard it; undefined: it has not. */
  recordOf(partition: number): PartitionRecord | undefined;

  /** The level at which writes to a keyspace are acknowledged that name none, as the cluster has it. */
  defaultAck(keyspace: string): AckLevel;
  /** Whether anybody still waits for the answer. */
  isOpen(handle: RequestHandle): boolean;
  /** Ends a request. A request that was cancelled meanwhile is skipped silently. */
  reply(handle: RequestHandle, result: Omit<Reply, 'id' | 'end'>): void;
  succeed(handle: RequestHandle, receipt: Receipt): void;
  fail(handle: RequestHandle, error: RingkeepError): void;
}
