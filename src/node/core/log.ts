/**
 * A replica's view of its log: indexes, epochs and durability, and the entries that are still in memory (the suffix
 * that is not applied yet, and before it what some follower lacks). The bytes live in the WAL; appends and truncations are
 * emitted as WAL records by the caller's `emit`.
 * INVARIANT: entries in memory are contiguous up to lastIndex; lsns rise with the index; durableIndex covers exactly
 * the entries whose lsn is fsynced; nothing at or below commitIndex is ever truncated.
 */
import { assert } from '../../common/errors.ts';
import type { WalAppend } from '../wal/types.ts';
import { decodeEntry, type Entry, keyCommands } from './entry.ts';

/** An entry in memory; `entry` is decoded at most once. */
export interface LogItem {
  readonly index: number;
  readonly epoch: number;
  readonly bytes: Uint8Array;
  /** WAL record that holds it; 0 for one that was recovered and is durable. */
  readonly lsn: number;
  /** Weight of this entry and of all before it since the log was opened, bytes. */
  readonly weightUpTo: number;
  entry: Entry | null;
  /** This process, as leader, has acknowledged it before it was committed. */
  answered: boolean;
}

/** Returns the decoded entry of an item. Throws `UnknownEntryError`. */
export function entryOf(item: LogItem): Entry {
  item.entry ??= decodeEntry(item.bytes);
  return item.entry;
}

/** Evict at least this many bytes at a time, unless that is everything. */
const EVICT_BYTES_MIN = 64 * 1024;

/** What an entry in memory weighs besides its bytes, for each key: the item, the buffer's head, its place in arrays. */
const ITEM_BYTES = 256;

function weightOf(bytes: Uint8Array, { command }: Entry): number {
  const keys = 'key' in command ? 1 : Math.max(1, keyCommands(command).length);
  return bytes.byteLength + ITEM_BYTES * keys;
}

/** Hands a record to the WAL and returns its lsn. */
export type Emit = (record: WalAppend) => number;

/** The log of one replica; see the head of this file. */
export class ReplicaLog {
  readonly partition: number;
  private readonly emit: Emit;
  private items: LogItem[] = [];
  /** Epoch changes: from `index` on, entries have `epoch`. The first one is the lowest index whose epoch is known. */
  private epochs: { index: number; epoch: number }[];
  lastIndex: number;
  durableIndex: number;
  commitIndex: number;
  /** How often entries were removed from its end. */
  truncations = 0;
  /** Log time of the last entry. */
  lastTimestamp: number;
  /** Log time just below the entries in memory. */
  private floorTimestamp: number;
  /** `weightUpTo` just below the entries in memory. */
  private floorWeight = 0;
  /** Of the entries that came since the log was opened. */
  private count = 0;
  private bytes = 0;

  constructor(
    partition: number,
    emit: Emit,
    start: {
      baseIndex: number;
      baseEpoch: number;
      lastIndex: number;
      commitIndex: number;
      /** Epoch of the entry at commitIndex; needed where the log's head may be gone. */
      commitEpoch?: number;
      logTime: number;
    },
    epochs: readonly { index: number; epoch: number }[],
  ) {
    this.partition = partition;
    this.emit = emit;
    // Where the WAL's head is gone, nothing is known between the base and what the store or the first change tells.
    const { baseIndex, baseEpoch, commitIndex, commitEpoch = 0 } = start;
    const first = epochs[0];
    this.epochs = [{ index: baseIndex, epoch: baseEpoch }];
    if (commitIndex > baseIndex && (first === undefined || first.index > commitIndex)) {
      this.epochs = [{ index: commitIndex, epoch: commitEpoch }];
    } else if (first !== undefined && first.index > baseIndex + 1) {
      this.epochs = [{ ...first }];
    }
    for (const change of epochs) this.pushEpoch(change.index, change.epoch);
    this.lastIndex = start.lastIndex;
    this.durableIndex = start.lastIndex;
    this.commitIndex = start.commitIndex;
    this.floorTimestamp = start.logTime;
    this.lastTimestamp = start.logTime;
  }

  private measure(entry: Uint8Array): void {
    this.count++;
    this.bytes += entry.byteLength;
  }

  /** How long its entries are in the mean, by those that came since it was opened; 0: none has. */
  get meanBytes(): number {
    return this.count === 0 ? 0 : this.bytes / this.count;
  }

  get lastEpoch(): number {
    return this.epochs[this.epochs.length - 1]!.epoch;
  }

  private weightAt(index: number): number {
    const at = Math.min(index - this.firstInMemory, this.items.length - 1);
    return this.items[at]?.weightUpTo ?? this.floorWeight;
  }

  /** What the entries in memory with `from < index <= to` weigh, bytes. */
  weightBetween(from: number, to: number): number {
    return Math.max(0, this.weightAt(to) - this.weightAt(from));
  }

  /** Lowest index whose entry is in memory; lastIndex + 1 when none is. */
  get firstInMemory(): number {
    return this.lastIndex + 1 - this.items.length;
  }

  private pushEpoch(index: number, epoch: number): void {
    const last = this.epochs[this.epochs.length - 1]!;
    assert(epoch >= last.epoch, 'epochs never decrease along a log');
    if (epoch > last.epoch) this.epochs.push({ index, epoch });
  }

  /** The epoch of an entry, or of the base; undefined above the end or below what is known. */
  epochAt(index: number): number | undefined {
    if (index > this.lastIndex || index < this.epochs[0]!.index) return undefined;
    for (let i = this.epochs.length - 1; i >= 0; i--) {
      if (this.epochs[i]!.index <= index) return this.epochs[i]!.epoch;
    }
    return undefined;
  }

  /** The first known index of the epoch that the entry at `index` belongs to. */
  epochStart(index: number): number {
    for (let i = this.epochs.length - 1; i >= 0; i--) {
      if (this.epochs[i]!.index <= index) return this.epochs[i]!.index;
    }
    return this.epochs[0]!.index;
  }

  /** Puts recovered, durable entries back into memory; they must end at lastIndex. Throws `UnknownEntryError`. */
  load(items: readonly { index: number; epoch: number; payload: Uint8Array }[]): void {
    const last = items[items.length - 1];
    assert(last === undefined || last.index === this.lastIndex, 'recovered entries end at lastIndex');
    let weightUpTo = 0;
    for (const { index, epoch, payload } of items) {
      // Understood before anybody relies on it; kept in its encoded form, which is the smaller one.
      const decoded = decodeEntry(payload);
      this.lastTimestamp = decoded.timestamp;
      weightUpTo += weightOf(payload, decoded);
      this.measure(payload);
      this.items.push({ index, epoch, bytes: payload, lsn: 0, weightUpTo, entry: null, answered: false });
    }
  }

  /** Appends the next entry. */
  append(epoch: number, bytes: Uint8Array, entry: Entry | null): LogItem {
    const index = this.lastIndex + 1;
    this.pushEpoch(index, epoch);
    const known = entry ?? decodeEntry(bytes);
    const lsn = this.emit({ type: 'entry', partition: this.partition, index, epoch, payload: bytes });
    const below = this.items[this.items.length - 1]?.weightUpTo ?? this.floorWeight;
    const weightUpTo = below + weightOf(bytes, known);
    const item: LogItem = { index, epoch, bytes, lsn, weightUpTo, entry: known, answered: false };
    this.items.push(item);
    this.measure(bytes);
    this.lastIndex = index;
    const { timestamp } = known;
    assert(timestamp >= this.lastTimestamp, 'log time never decreases');
    this.lastTimestamp = timestamp;
    return item;
  }

  /** Removes the entries above `index` and returns them. They are still in memory, as all uncommitted ones are. */
  truncate(index: number): LogItem[] {
    assert(index >= this.commitIndex, 'nothing at or below the commit index is truncated');
    assert(index >= this.firstInMemory - 1, 'the uncommitted suffix is in memory');
    this.emit({ type: 'truncate', partition: this.partition, index });
    const removed = this.items.splice(index + 1 - this.firstInMemory);
    this.truncations++;
    this.lastIndex = index;
    this.durableIndex = Math.min(this.durableIndex, index);
    while (this.epochs.length > 1 && this.epochs[this.epochs.length - 1]!.index > index) this.epochs.pop();
    const last = this.items[this.items.length - 1];
    this.lastTimestamp = last === undefined ? this.floorTimestamp : entryOf(last).timestamp;
    return removed;
  }

  /** Takes note that the WAL is fsynced up to `lsn`. Returns whether durableIndex moved. */
  advanceDurable(lsn: number): boolean {
    let index = Math.max(this.durableIndex + 1, this.firstInMemory);
    while (index <= this.lastIndex && this.items[index - this.firstInMemory]!.lsn <= lsn) index++;
    if (index - 1 <= this.durableIndex) return false;
    this.durableIndex = index - 1;
    return true;
  }

  /** The item at `index` when it is in memory. */
  at(index: number): LogItem | undefined {
    return this.items[index - this.firstInMemory];
  }

  /** Items from `from` on, up to about `bytesMax` bytes and `countMax` items, at least one; all must be in memory. */
  slice(from: number, countMax: number, bytesMax: number): Uint8Array[] {
    const result: Uint8Array[] = [];
    let bytes = 0;
    for (let i = from - this.firstInMemory; i < this.items.length && result.length < countMax; i++) {
      const item = this.items[i]!;
      bytes += item.bytes.byteLength;
      if (result.length > 0 && bytes > bytesMax) break;
      result.push(item.bytes);
    }
    return result;
  }

  /** Forgets entries at or below `index` until at most `keepBytes` of weight remain in memory. */
  evict(index: number, keepBytes: number): void {
    const limit = Math.min(index, this.durableIndex);
    const excess = this.weightBetween(0, this.lastIndex) - keepBytes;
    if (limit < this.firstInMemory || excess <= 0) return;
    let count = 0;
    while (count < this.items.length && this.items[count]!.index <= limit) {
      if (this.items[count]!.weightUpTo - this.floorWeight > excess) break;
      count++;
    }
    const last = this.items[count - 1];
    // In few, larger steps: every one moves the rest of the array.
    const few = last === undefined || last.weightUpTo - this.floorWeight < EVICT_BYTES_MIN;
    if (last === undefined || (few && count < this.items.length)) return;
    this.floorTimestamp = entryOf(last).timestamp;
    this.floorWeight = last.weightUpTo;
    this.items.splice(0, count);
  }

  /** Restarts the log behind an installed snapshot; keeps the suffix when the log holds the snapshot's last entry. */
  rebase(index: number, epoch: number, logTime: number): void {
    this.floorTimestamp = logTime;
    if (this.epochAt(index) === epoch && index >= this.firstInMemory - 1) {
      this.floorWeight = this.weightAt(index);
      this.items.splice(0, Math.max(index + 1 - this.firstInMemory, 0));
      const kept = this.epochs.filter((change) => change.index > index);
      this.epochs = [{ index, epoch }, ...kept];
      this.durableIndex = Math.max(this.durableIndex, index);
    } else {
      this.items = [];
      this.truncations++;
      this.floorWeight = 0;
      this.epochs = [{ index, epoch }];
      this.lastIndex = index;
      this.durableIndex = index;
      this.lastTimestamp = logTime;
    }
    this.commitIndex = Math.max(this.commitIndex, index);
  }
}
