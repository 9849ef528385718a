/**
 * What a node's storage costs: how often a byte of a client is written, how much more is on the disk than the data needs, and
 * how often writers had to wait for compaction. Plain arithmetic over counters that the WAL, the store and the core keep; it
 * reads no disk. All counters begin with the process.
 */
import type { LevelFigures } from '../common/leveldb.ts';

/** A batch that the store takes longer for than this counts as slow: the usual ones take single ms. */
export const SLOW_BATCH_MS = 100;

/** Below that much of clients' writes the WAL, whose file grows ahead, says nothing about their amplification. */
const AMPLIFIED_BYTES_MIN = 1024 * 1024;

/**
 * How long the store took for batches, from the call of LevelDB to its answer. LevelDB makes a writer wait 1 ms at 8 files in
 * level 0, and as long as it takes at 12, or while both memtables are full. The time holds what else is in the way too: a
 * free thread of the pool, and the turn of the event loop that hears the answer.
 */
export interface BatchFigures {
  readonly batches: number;
  /** Bytes of keys and values in them, rows of our own included: about what LevelDB's log took. */
  readonly batchBytes: number;
  /** Those that took longer than `SLOW_BATCH_MS`, the time that they took in all, and the longest. */
  readonly slowBatches: number;
  readonly slowBatchMs: number;
  readonly longestBatchMs: number;
}

/** Counts the batches of a store. */
export class BatchTimes {
  #batches = 0;
  #batchBytes = 0;
  #slowBatches = 0;
  #slowBatchMs = 0;
  #longestBatchMs = 0;

  /** Notes a batch of `bytes` that took `ms`. */
  add(bytes: number, ms: number): void {
    this.#batches += 1;
    this.#batchBytes += bytes;
    this.#longestBatchMs = Math.max(this.#longestBatchMs, ms);
    if (ms <= SLOW_BATCH_MS) return;
    this.#slowBatches += 1;
    this.#slowBatchMs += ms;
  }

  get figures(): BatchFigures {
    return {
      batches: this.#batches,
      batchBytes: this.#batchBytes,
      slowBatches: this.#slowBatches,
      slowBatchMs: this.#slowBatchMs,
      longestBatchMs: this.#longestBatchMs,
    };
  }
}

/** Bytes, files and ms of one node; a field of the figures that its Status call returns as JSON. */
export interface StorageFigures extends BatchFigures {
  /** Keys and values of all writes of clients that took effect in the replicas of this node. */
  readonly clientBytes: number;
  /** Written to the WAL. */
  readonly walBytesWritten: number;
  /** Written to tables by flushes and compactions, to the MiB per level. LevelDB's own log is not among them. */
  readonly tableBytesWritten: number;
  /** In all tables now, to the MiB per level. */
  readonly tableBytes: number;
  /** In the tables of the deepest level that has any, to the MiB. */
  readonly deepestBytes: number;
  /** Files in level 0 now: LevelDB slows writes down at 8 and stops them at 12. */
  readonly level0Files: number;
  /** (`walBytesWritten` + `tableBytesWritten`) / `clientBytes`; null before clients have written a MiB. */
  readonly writeAmplification: number | null;
  /**
   * `tableBytes` / `deepestBytes`: the usual estimate of an LSM tree. The deepest level holds each key once and nearly all of
   * the data; what is above it replaces or deletes something there, or is new. Null while the deepest level has less than
   * half a MiB. Too high while a store is loaded with new keys, too low for what is deleted in the deepest level only.
   */
  readonly spaceAmplification: number | null;
}

/** Returns the figures that follow from the counters. */
export function storageFigures(
  clientBytes: number,
  walBytesWritten: number,
  store: LevelFigures & BatchFigures,
): StorageFigures {
  const { tableBytesWritten, tableBytes, deepestBytes, level0Files } = store;
  const { batches, batchBytes, slowBatches, slowBatchMs, longestBatchMs } = store;
  return {
    ...{ clientBytes, walBytesWritten, tableBytesWritten, tableBytes, deepestBytes, level0Files },
    ...{ batches, batchBytes, slowBatches, slowBatchMs, longestBatchMs },
    writeAmplification:
      clientBytes < AMPLIFIED_BYTES_MIN ? null : (walBytesWritten + tableBytesWritten) / clientBytes,
    spaceAmplification: deepestBytes > 0 ? tableBytes / deepestBytes : null,
  };
}
