/**
 * Where the epochs begin in what a replica has decided: part of the replicated state, so that a replica can tell of which epoch an
 * entry was whose log it has not, or has no more.
 * INVARIANT: a function of the decided log alone; the same on every replica that has decided as far.
 */
import { asBuffer, readU64, writeU64 } from '../../common/bytes.ts';
import { assert } from '../../common/errors.ts';
import { EPOCH_STARTS_MAX } from '../../common/limits.ts';
import { DamagedRowError } from './layout.ts';

/** The last epochs of one copy of a partition. */
export class EpochStarts {
  private readonly starts: { readonly index: number; readonly epoch: number }[];

  constructor(starts: readonly { readonly index: number; readonly epoch: number }[] = []) {
    this.starts = [...starts];
  }

  /** The entry at `index`, the first one of a higher epoch, is decided. */
  add(index: number, epoch: number): void {
    const last = this.starts[this.starts.length - 1];
    assert(last === undefined || (last.index < index && last.epoch < epoch), 'epochs begin in order');
    this.starts.push({ index, epoch });
    if (this.starts.length > EPOCH_STARTS_MAX) this.starts.shift();
  }

  /** The epoch of a decided entry; undefined when it is from before all epochs that are known. */
  epochAt(index: number): number | undefined {
    let low = 0;
    let high = this.starts.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.starts[middle]!.index <= index) low = middle + 1;
      else high = middle;
    }
    return this.starts[low - 1]?.epoch;
  }

  /** The epoch of the last decided entry; 0: none is decided. */
  get lastEpoch(): number {
    return this.starts.at(-1)?.epoch ?? 0;
  }

  /** Encodes it: per epoch u64 first index, u64 epoch. */
  encode(): Buffer {
    const buffer = Buffer.allocUnsafe(16 * this.starts.length);
    for (const [i, { index, epoch }] of this.starts.entries()) {
      writeU64(buffer, 16 * i, index);
      writeU64(buffer, 16 * i + 8, epoch);
    }
    return buffer;
  }

  /** Decodes what `encode` made. Throws `DamagedRowError`. */
  static decode(bytes: Uint8Array): EpochStarts {
    const buffer = asBuffer(bytes);
    if (buffer.byteLength % 16 !== 0) throw new DamagedRowError('starts of epochs of a wrong size');
    const starts: { index: number; epoch: number }[] = [];
    for (let at = 0; at < buffer.byteLength; at += 16) {
      starts.push({ index: readU64(buffer, at), epoch: readU64(buffer, at + 8) });
    }
    return new EpochStarts(starts);
  }
}
