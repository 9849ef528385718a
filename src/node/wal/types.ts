/**
 * What the WAL offers to the node: one log for all partitions of a node, one fdatasync in flight.
 * It interprets only what recovery needs: ENTRY and TRUNCATE move a partition's last index, META replaces a replica's
 * durable state, DROP forgets it. Payloads are opaque, save that META carries `baseIndex`.
 */
import type { DiskError } from '../../common/disk.ts';
import type { Replica } from '../../common/topology.ts';

/** Durable state of a replica besides its log: identity, promise, the sets the promise was made for, snapshot base. */
export interface ReplicaMeta {
  readonly replica: string;
  readonly promiseEpoch: number;
  readonly reservationId: string;
  readonly configuration: number;
  readonly voters: readonly Replica[];
  readonly previousVoters: readonly Replica[];
  /** Which copy of the partition in the store is current (`layout.ts`). */
  readonly generation: number;
  /** The state up to here came from a snapshot, or is empty (0); log entries start above. */
  readonly baseIndex: number;
  readonly baseEpoch: number;
  /** The newest epoch that this replica has led; absent: none. After a restart it tells whose acknowledgements were lost. */
  readonly ledEpoch?: number;
  /** Found damaged: answers nothing, waits to be replaced. */
  readonly damaged: boolean;
}

/** One record to append. `lsn`s are assigned in call order, from the last recovered one plus 1. */
export type WalAppend =
  | {
      readonly type: 'entry';
      readonly partition: number;
      readonly index: number;
      readonly epoch: number;
      readonly payload: Uint8Array;
    }
  /** Entries above `index` are gone. */
  | { readonly type: 'truncate'; readonly partition: number; readonly index: number }
  /** A `meta` with another replica id than before starts an empty log at its base; one with a higher base drops
   *  the entries up to it, and all of them if the log ended below it. */
  | { readonly type: 'meta'; readonly partition: number; readonly meta: ReplicaMeta }
  | { readonly type: 'drop'; readonly partition: number };

/** Entry as read back. `payload` is a copy. */
export interface WalEntry {
  readonly index: number;
  readonly epoch: number;
  readonly payload: Uint8Array;
}

/** A partition after recovery. */
export interface RecoveredReplica {
  readonly partition: number;
  readonly meta: ReplicaMeta;
  /** First entry that is still in the WAL; lastIndex + 1 when there is none. */
  readonly firstIndex: number;
  readonly lastIndex: number;
  /** Epoch changes in the readable log: from `index` on, entries have `epoch`. Ascending. */
  readonly epochs: readonly { readonly index: number; readonly epoch: number }[];
  /** Null, or why this replica's log cannot be trusted (never offer, acknowledge or truncate from it). */
  readonly damage: string | null;
}

/** Told by the WAL, from its disk's callbacks. */
export interface WalListener {
  /** Everything up to and including `lsn` is fsynced. */
  durable(lsn: number): void;
  /** The disk is full (or is not any more). While full, groups wait; metas go through on reserved space. */
  full(full: boolean): void;
  /** fsync or write failed for good: the process must exit. */
  failed(error: DiskError): void;
}

export interface Wal {
  /** Buffers one record and returns its lsn. Writing starts at the end of the current event (`flush`). */
  append(record: WalAppend): number;
  /** Starts writing what is buffered if no group is in flight; otherwise it joins the next group. */
  flush(): void;
  /** Reads entries from `from` (at most `countMax`, about `bytesMax` bytes, at least one). `gone` when `from` is no longer in
   *  the WAL; an error with code EIO means damage: the entry cannot be read. Sees buffered entries too. */
  read(
    partition: number,
    from: number,
    countMax: number,
    bytesMax: number,
    done: (error: DiskError | null, result?: { gone: boolean; entries: WalEntry[] }) => void,
  ): void;
  /**
   * Drops whole segments from the head, no more than leaves `keepBytes` (for followers that come back), after
   * writing every newest meta again. Entries below their partition's floor (exclusive) go; those from it on
   * stay, and so that a few of them do not keep everything, they are copied to the end of the log (DESIGN.md
   * says how many). `floors` lacks a partition: nothing of it is needed. Goes on in the background; one at a
   * time, a further call meanwhile does nothing.
   */
  truncateHead(floors: ReadonlyMap<number, number>, keepBytes: number): void;
  /** Lowest entry index still readable; the next index when none is. */
  firstIndex(partition: number): number;
  /**
   * lsn in the file of the last fsynced record. Records of the WAL's own count here, not in what `append` returns before the
   * next start, so this is what runs of one directory can be compared by.
   */
  durableLsn(): number;
  /** Bytes in all segments. */
  bytes(): number;
  /** Bytes written to segments since the opening: records, copies, marks, headers and blanks; the reserve and the manifest not. */
  writtenBytes(): number;
  /** Writes what is buffered and a closing mark, fsyncs, closes. */
  close(done: (error: DiskError | null) => void): void;
}
