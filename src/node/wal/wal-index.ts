/**
 * The WAL's memory of one partition's log: which indexes are readable, where each lies and which epoch it
 * has. Four bytes an entry (offset / 8), with runs for segments and epochs; payloads only of entries that are
 * not yet fsynced, and those in the group's own buffer. Used by the writer and by recovery; does no I/O.
 * INVARIANT: readable entries are [firstIndex, lastIndex] without a hole; the last `pending` of them are not
 * yet stored.
 * INVARIANT: epochs never fall with the index, and neither do segments: a run of copies begins at the last
 * entry.
 */
import { assert } from '../../common/errors.ts';
import type { MarkLine } from './payloads.ts';
import type { ReplicaMeta } from './types.ts';

const CHUNK = 512;

/** A list of multiples of 8 that grows and shrinks at the end and shrinks at the front. */
export class OffsetList {
  #chunks: Uint32Array[] = [];
  #skip = 0;
  length = 0;

  push(offset: number): void {
    const at = this.#skip + this.length;
    if (at === this.#chunks.length * CHUNK) this.#chunks.push(new Uint32Array(CHUNK));
    const chunk = this.#chunks[Math.floor(at / CHUNK)];
    assert(chunk !== undefined, 'the last chunk has room');
    chunk[at % CHUNK] = offset / 8;
    this.length++;
  }

  get(position: number): number {
    const at = this.#skip + position;
    const value = this.#chunks[Math.floor(at / CHUNK)]?.[at % CHUNK];
    assert(position >= 0 && position < this.length && value !== undefined, 'position within the list');
    return value * 8;
  }

  /** Puts a value before the first. */
  unshift(offset: number): void {
    if (this.#skip === 0) {
      this.#chunks.unshift(new Uint32Array(CHUNK));
      this.#skip = CHUNK;
    }
    this.#skip--;
    this.length++;
    this.set(0, offset);
  }

  set(position: number, offset: number): void {
    const at = this.#skip + position;
    const chunk = this.#chunks[Math.floor(at / CHUNK)];
    assert(position >= 0 && position < this.length && chunk !== undefined, 'position within the list');
    chunk[at % CHUNK] = offset / 8;
  }

  /** Keeps the first `length` values. */
  truncate(length: number): void {
    assert(length >= 0 && length <= this.length, 'truncate does not grow');
    this.length = length;
    this.#chunks.length = Math.ceil((this.#skip + length) / CHUNK);
  }

  /** Drops the first `count` values. */
  dropFront(count: number): void {
    assert(count >= 0 && count <= this.length, 'no more than there are');
    this.#skip += count;
    this.length -= count;
    const whole = Math.floor(this.#skip / CHUNK);
    if (whole === 0) return;
    this.#chunks.splice(0, whole);
    this.#skip -= whole * CHUNK;
  }
}

/**
 * An appended entry, or copy of one, whose group is not yet fsynced. `dead` once a later record has undone
 * it.
 */
export interface PendingEntry {
  readonly log: PartitionLog;
  readonly index: number;
  readonly epoch: number;
  /** View on the group's buffer, valid until the group is done. */
  readonly payload: Uint8Array;
  /** Place in the segment, known when the group is written. */
  offset: number;
  dead: boolean;
  /** Of a copy: `PartitionLog.removals` when it was appended. Null: a new entry. */
  readonly copiedAt: number | null;
}

/** The log of one partition as the WAL knows it. */
export class PartitionLog {
  readonly partition: number;
  meta: ReplicaMeta | null = null;
  /** Segment that holds the newest durable META; 0 when none does. */
  metaSegment = 0;
  lastLsn = 0;
  firstIndex = 1;
  lastIndex = 0;
  /**
   * How often entries were taken out: what was read or copied before such a moment may not be this log's any
   * more.
   */
  removals = 0;
  #offsets = new OffsetList();
  #segments: { from: number; segment: number }[] = [];
  #epochs: { index: number; epoch: number }[] = [];
  #pending: PendingEntry[] = [];
  #pendingFrom = 0;

  constructor(partition: number) {
    this.partition = partition;
  }

  /** Index of the last entry that is fsynced and readable; firstIndex - 1 when none is. */
  get storedLast(): number {
    return this.firstIndex + this.#offsets.length - 1;
  }

  /** Epoch changes from the entry before `firstIndex` on, where known. */
  get epochs(): readonly { readonly index: number; readonly epoch: number }[] {
    return this.#epochs;
  }

  /** Epoch of the entry at `index`; 0 if unknown. */
  epochAt(index: number): number {
    if (index > this.lastIndex) return 0;
    for (let at = this.#epochs.length - 1; at >= 0; at--) {
      const run = this.#epochs[at];
      if (run !== undefined && run.index <= index) return run.epoch;
    }
    return 0;
  }

  /** Notes the entry lastIndex + 1, which must be stored or pending right after. */
  extend(index: number, epoch: number): void {
    assert(
      index === this.lastIndex + 1,
      `partition ${this.partition}: entry ${index} follows ${this.lastIndex}`,
    );
    const last = this.#epochs.at(-1);
    assert(last === undefined || last.epoch <= epoch, `partition ${this.partition}: epochs do not fall`);
    this.lastIndex = index;
    if (last?.epoch !== epoch) this.#epochs.push({ index, epoch });
  }

  /** Where the log stands, for a MARK. */
  markLine(): MarkLine {
    const { partition, lastLsn, lastIndex } = this;
    return { partition, lastLsn, lastIndex, lastEpoch: this.epochAt(lastIndex) };
  }

  addPending(entry: PendingEntry): void {
    this.#pending.push(entry);
  }

  /** The place of the oldest pending entry, or of the next copy, is final. */
  storePending(segment: number, entry: PendingEntry): void {
    if (entry.copiedAt !== null) {
      if (entry.copiedAt === this.removals) this.move(segment, entry.index, entry.epoch, entry.offset);
      return;
    }
    assert(this.#pending[this.#pendingFrom] === entry, 'pending entries are stored in order');
    this.#pendingFrom++;
    if (this.#pendingFrom === this.#pending.length) {
      this.#pending = [];
      this.#pendingFrom = 0;
    }
    this.store(segment, entry.offset);
  }

  /** Notes the place of the entry storedLast + 1. */
  store(segment: number, offset: number): void {
    const index = this.storedLast + 1;
    if (this.#segments.at(-1)?.segment !== segment) this.#segments.push({ from: index, segment });
    this.#offsets.push(offset);
  }

  /** Whether a copy of an entry can be one of this log's, or of the one just below the first. */
  fits(index: number, epoch: number): boolean {
    if (index < 1 || index < this.firstIndex - 1 || index > this.lastIndex) return false;
    const known = this.epochAt(index);
    return known === 0 ? epoch <= (this.#epochs[0]?.epoch ?? epoch) : epoch === known;
  }

  /**
   * Notes the new place of an entry that `fits`. Stored entries above it must lie in `segment` already:
   * copies come from the last entry downwards.
   */
  move(segment: number, index: number, epoch: number, offset: number): void {
    assert(this.fits(index, epoch) && index <= Math.max(this.storedLast, this.firstIndex - 1), 'a copy fits');
    if (index >= this.firstIndex) this.#offsets.set(index - this.firstIndex, offset);
    else {
      this.#offsets.unshift(offset);
      this.firstIndex = index;
      this.#learnEpoch(index, epoch);
    }
    let run = this.#segments.at(-1);
    while (run !== undefined && run.from >= index) {
      assert(run.from === index || run.segment === segment, 'the entries above were moved before');
      this.#segments.pop();
      run = this.#segments.at(-1);
    }
    if (this.#segments.at(-1)?.segment !== segment) this.#segments.push({ from: index, segment });
  }

  /** Notes the epoch of an entry that `fits`, if it is the one before the first. */
  noteBefore(index: number, epoch: number): void {
    if (index < this.firstIndex) this.#learnEpoch(index, epoch);
  }

  #learnEpoch(index: number, epoch: number): void {
    const first = this.#epochs[0];
    if (first?.epoch === epoch) first.index = Math.min(first.index, index);
    else if (this.epochAt(index) === 0) this.#epochs.unshift({ index, epoch });
  }

  /** The pending entry at `index`, or undefined when it is stored. */
  pendingAt(index: number): PendingEntry | undefined {
    return index <= this.storedLast
      ? undefined
      : this.#pending[this.#pendingFrom + index - this.storedLast - 1];
  }

  /** The place of a stored entry. */
  locate(index: number): { segment: number; offset: number } {
    let segment = 0;
    for (const run of this.#segments) {
      if (run.from > index) break;
      segment = run.segment;
    }
    return { segment, offset: this.#offsets.get(index - this.firstIndex) };
  }

  /** Removes the entries above `index`; `epoch` is that of the entry at `index`, 0 if unknown. */
  truncate(index: number, epoch: number): void {
    if (index >= this.lastIndex) return;
    this.removals++;
    if (index < this.firstIndex - 1) {
      this.reset(index, epoch);
      return;
    }
    const known = this.epochAt(index);
    for (let at = this.#pending.length - 1; at >= this.#pendingFrom; at--) {
      const entry = this.#pending[at];
      if (entry === undefined || entry.index <= index) break;
      entry.dead = true;
      this.#pending.pop();
    }
    if (index < this.storedLast) this.#offsets.truncate(index - this.firstIndex + 1);
    while ((this.#segments.at(-1)?.from ?? 0) > index) this.#segments.pop();
    while ((this.#epochs.at(-1)?.index ?? 0) > index) this.#epochs.pop();
    if (known === 0 && epoch !== 0) this.#epochs.push({ index, epoch });
    this.lastIndex = index;
  }

  /** Empties the log: the next entry is `index` + 1. */
  reset(index: number, epoch: number): void {
    this.removals++;
    for (const entry of this.#pending) entry.dead = true;
    this.#pending = [];
    this.#pendingFrom = 0;
    this.#offsets = new OffsetList();
    this.#segments = [];
    this.#epochs = epoch === 0 ? [] : [{ index, epoch }];
    this.firstIndex = index + 1;
    this.lastIndex = index;
  }

  /**
   * Removes the entries up to `index`, which a snapshot of that epoch stands for; all of them if the log ends
   * below.
   */
  raiseBase(index: number, epoch: number): void {
    if (index >= this.lastIndex) this.reset(index, epoch);
    else if (index >= this.firstIndex) {
      // Pending entries have no place yet and cannot be skipped: they stay readable, which does no harm.
      this.#dropStored(Math.min(index, this.storedLast) + 1);
    }
  }

  /** Removes the entries that lie in segments before `segment`. */
  dropSegmentsBefore(segment: number): void {
    const kept = this.#segments.find((run) => run.segment >= segment);
    this.#dropStored(kept === undefined ? this.storedLast + 1 : kept.from);
  }

  /** The first segment that holds a stored entry at or above `index`; undefined when none does. */
  segmentFrom(index: number): number | undefined {
    const first = Math.max(index, this.firstIndex);
    return first > this.storedLast ? undefined : this.locate(first).segment;
  }

  #dropStored(firstIndex: number): void {
    if (firstIndex <= this.firstIndex) return;
    this.removals++;
    this.#offsets.dropFront(firstIndex - this.firstIndex);
    this.firstIndex = firstIndex;
    while ((this.#segments[1]?.from ?? Number.POSITIVE_INFINITY) <= firstIndex) this.#segments.shift();
    const run = this.#segments[0];
    if (run !== undefined) {
      if (this.#offsets.length === 0) this.#segments = [];
      else run.from = Math.max(run.from, firstIndex);
    }
    // The epoch before the first readable entry is kept: the previous-entry check of that entry needs it.
    while ((this.#epochs[1]?.index ?? Number.POSITIVE_INFINITY) < firstIndex) this.#epochs.shift();
    const epoch = this.#epochs[0];
    if (epoch !== undefined) epoch.index = Math.max(epoch.index, firstIndex - 1);
  }
}
