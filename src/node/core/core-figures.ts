/** Figures of a node core, for metrics and the status of its node. Read when somebody asks; bytes count from the start of the process. */
import type { NodeCore } from './node-core.ts';

export interface CoreFigures {
  readonly replicas: number;
  readonly leaders: number;
  readonly openRequests: number;
  readonly durableLsn: number;
  /** Writes are refused for lack of space. */
  readonly diskFull: boolean;
  /** Copies of replicas are taken: there is space for them. */
  readonly roomForCopies: boolean;
  /** Gets that were answered by what was read for another one, since the start. */
  readonly sharedReads: number;
  /** Salted keys of the partitions led here, copies of others' that are held here, and writes that wait for copies to be dropped. */
  readonly saltedKeys: number;
  readonly keyCopies: number;
  readonly writesWaiting: number;
  /** Of all operations here, what the hottest key and the hottest partition have. */
  readonly hottestKeyShare: number;
  readonly hottestPartitionShare: number;
  /** Bytes per second that moves may use now, in each direction. */
  readonly moveLimit: number;
  /** Partitions led here whose writers wait for a replica that is being filled. */
  readonly slowedPartitions: number;
  /** How far values that are due are behind their time, at the worst of the partitions led here, ms. */
  readonly expiryLatenessMs: number;
  /** Bytes of rows that scrubs have read. */
  readonly scrubbedBytes: number;
  /** Bytes of rows in snapshots. */
  readonly sentBytes: number;
  readonly receivedBytes: number;
  /** Bytes of log entries to and of learners. */
  readonly sentLogBytes: number;
  readonly receivedLogBytes: number;
}

/** Returns the figures of a core that has so many requests open. */
export function figuresOf(core: NodeCore, openRequests: number): CoreFigures {
  let expiryLatenessMs = 0;
  let slowedPartitions = 0;
  const salts = { saltedKeys: 0, keyCopies: 0, writesWaiting: 0 };
  for (const { leadership } of core.replicas.byPartition.values()) {
    if (leadership === null) continue;
    expiryLatenessMs = Math.max(expiryLatenessMs, leadership.expiry.latenessMs);
    if (leadership.pace.isSlowed) slowedPartitions++;
    salts.saltedKeys += leadership.salts.size + leadership.counters.size;
    salts.keyCopies += leadership.copies.count;
    salts.writesWaiting += leadership.salts.waitingCount + leadership.counters.waitingCount;
  }
  return {
    replicas: core.replicas.byPartition.size,
    leaders: core.leaderCount(),
    openRequests,
    durableLsn: core.durableLsn,
    diskFull: core.diskFull,
    roomForCopies: !core.room.full,
    sharedReads: core.hot.sharedReads,
    ...core.hot.shares(),
    ...salts,
    moveLimit: core.copies.moveLimit,
    slowedPartitions,
    expiryLatenessMs,
    scrubbedBytes: core.scrubs.bytesRead,
    sentBytes: core.copies.sentBytes,
    receivedBytes: core.copies.receivedBytes,
    sentLogBytes: core.copies.sentLogBytes,
    receivedLogBytes: core.copies.receivedLogBytes,
  };
}
