/**
 * A group of records that is written with one call and made durable by one fsync. Owns the slabs that records
 * are encoded in, so that an append allocates nothing but its index entry.
 * INVARIANT: a record never spans two slabs. `absorb` keeps the bytes before it unchanged, so that a group
 * that is written again after a full disk overwrites what the first attempt may have left with the same
 * bytes.
 */
import { assert } from '../../common/errors.ts';
import {
  type ByteView,
  byteView,
  HEADER_BYTES,
  putRecord,
  recordLength,
  recordLengthAt,
  sealHeader,
  TYPE_ENTRY,
} from './record.ts';
import type { PartitionLog, PendingEntry } from './wal-index.ts';

const SLAB_BYTES = 256 * 1024;
/** Slabs kept for reuse: a few groups' worth, 2 MiB. */
const POOLED_MAX = 8;

interface Slab extends ByteView {
  used: number;
}

/** Hands out slabs and takes them back. */
export class SlabPool {
  #free: Slab[] = [];

  take(bytesMin: number): Slab {
    const pooled = bytesMin <= SLAB_BYTES ? this.#free.pop() : undefined;
    if (pooled !== undefined) return pooled;
    const bytes = Buffer.allocUnsafeSlow(Math.max(bytesMin, SLAB_BYTES));
    return { ...byteView(bytes), used: 0 };
  }

  give(slab: Slab): void {
    if (slab.bytes.length !== SLAB_BYTES || this.#free.length >= POOLED_MAX) return;
    slab.used = 0;
    this.#free.push(slab);
  }
}

/** The records that one write and one fsync will carry. */
export class Group {
  readonly #pool: SlabPool;
  #slabs: Slab[] = [];
  bytes = 0;
  /** Of the records that have an lsn; 0 while there is none. */
  lastLsn = 0;
  /** lsn of the last record that a caller appended, as the caller counts; 0 while there is none. */
  callerLsn = 0;
  /** The group is to open a new segment: it begins with a mark. */
  roll = false;
  readonly entries: PendingEntry[] = [];
  readonly metas: PartitionLog[] = [];

  constructor(pool: SlabPool) {
    this.#pool = pool;
  }

  get empty(): boolean {
    return this.bytes === 0;
  }

  /** Encodes one record and returns the view on its payload; arguments as of `putRecord`. */
  add(
    type: number,
    flags: number,
    partition: number,
    index: number,
    epoch: number,
    lsn: number,
    previousLsn: number,
    payload: Uint8Array,
  ): Uint8Array {
    const length = recordLength(payload.length);
    let slab = this.#slabs.at(-1);
    if (slab === undefined || slab.used + length > slab.bytes.length) {
      slab = this.#pool.take(length);
      this.#slabs.push(slab);
    }
    const at = slab.used;
    putRecord(slab, at, type, flags, partition, index, epoch, lsn, previousLsn, payload);
    slab.used += length;
    this.bytes += length;
    return slab.bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + payload.length);
  }

  /** Puts a later group behind this one. */
  absorb(later: Group): void {
    this.#slabs.push(...later.#slabs);
    later.#slabs = [];
    this.bytes += later.bytes;
    if (later.lastLsn !== 0) this.lastLsn = later.lastLsn;
    if (later.callerLsn !== 0) this.callerLsn = later.callerLsn;
    for (const entry of later.entries) this.entries.push(entry);
    for (const log of later.metas) this.metas.push(log);
  }

  /**
   * Completes the records for being written at `offset` of the segment with this `seed`; returns the chunks
   * to write.
   */
  seal(durableLsn: number, seed: number, offset: number): Uint8Array[] {
    let to = offset;
    let entryAt = 0;
    for (const slab of this.#slabs) {
      for (let at = 0; at < slab.used; ) {
        sealHeader(slab, at, durableLsn, seed, to);
        if (slab.view.getUint8(at + 8) === TYPE_ENTRY) {
          const entry = this.entries[entryAt++];
          assert(entry !== undefined, 'every entry of the group is noted');
          entry.offset = to;
        }
        const length = recordLengthAt(slab.view, at);
        at += length;
        to += length;
      }
    }
    assert(entryAt === this.entries.length && to === offset + this.bytes, 'the group is what was added');
    return this.#slabs.map((slab) => slab.bytes.subarray(0, slab.used));
  }

  /** Gives the slabs back; payload views of its entries die. */
  recycle(): void {
    for (const slab of this.#slabs) this.#pool.give(slab);
    this.#slabs = [];
  }
}
