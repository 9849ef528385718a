/**
 * The new segment that a recovery writes: the good records of the last one, encoded again for their new
 * place, and what recovery adds. In memory, since it is written with one blocking call. Pure.
 * INVARIANT: a copied record keeps its lsn, its chain and its durable lsn; only its place changes.
 */
import { byteView, putRecord, recordLength, sealHeader, segmentSeed } from './record.ts';
import { type Piece, SEGMENT_HEADER_BYTES } from './segment.ts';

export class Tail {
  readonly number: number;
  readonly #seed: number;
  #target = byteView(new Uint8Array(4096));
  #end = SEGMENT_HEADER_BYTES;

  constructor(salt: Uint8Array, number: number) {
    this.number = number;
    this.#seed = segmentSeed(salt, number);
  }

  /** Takes a good record over and returns its new offset. */
  copy(piece: Piece & { kind: 'record' }): number {
    const { header, payload } = piece;
    return this.#put(header.type, header.flags, header.partition, header.index, header.epoch, header.lsn, {
      durableLsn: header.durableLsn,
      previousLsn: header.previousLsn,
      payload,
    });
  }

  /** Adds a record of recovery's own; what it proves durable is what comes before it in the tail. */
  add(
    type: number,
    partition: number,
    index: number,
    epoch: number,
    lsn: number,
    previousLsn: number,
    payload: Uint8Array,
  ): void {
    // The tail is offered as a whole after its fsync or not at all, so it may vouch for itself.
    this.#put(type, 0, partition, index, epoch, lsn, { durableLsn: lsn, previousLsn, payload });
  }

  /** The bytes of the whole segment. */
  contents(header: Uint8Array): Uint8Array {
    this.#target.bytes.set(header);
    return this.#target.bytes.subarray(0, this.#end);
  }

  #put(
    type: number,
    flags: number,
    partition: number,
    index: number,
    epoch: number,
    lsn: number,
    rest: { durableLsn: number; previousLsn: number; payload: Uint8Array },
  ): number {
    const { payload } = rest;
    const offset = this.#end;
    this.#end += recordLength(payload.length);
    this.#reserve(this.#end);
    putRecord(this.#target, offset, type, flags, partition, index, epoch, lsn, rest.previousLsn, payload);
    sealHeader(this.#target, offset, rest.durableLsn, this.#seed, offset);
    return offset;
  }

  #reserve(length: number): void {
    let capacity = this.#target.bytes.length;
    if (length <= capacity) return;
    while (capacity < length) capacity *= 2;
    const bytes = new Uint8Array(capacity);
    bytes.set(this.#target.bytes);
    this.#target = byteView(bytes);
  }
}
