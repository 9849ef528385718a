/**
 * Which keys of a partition are salted, and in which partitions they have copies: replicated state, in memory and in the row of the applied
 * mark. A build that does not know salts takes such a row for a damaged one, so that it never leads a partition whose copies it would forget.
 * INVARIANT: a function of the decided log alone; the same on every replica that has decided as far.
 */
import { asBuffer, toLatin1 } from '../../common/bytes.ts';
import { DamagedRowError } from './layout.ts';

/** The salted keys of one copy of a partition. */
export class SaltSets {
  /** Partitions by user key (latin1). */
  private readonly sets = new Map<string, readonly number[]>();

  get size(): number {
    return this.sets.size;
  }

  /** The key has copies in these partitions from now on; in none: it is not salted any more. */
  set(key: Uint8Array, partitions: readonly number[]): void {
    if (partitions.length === 0) this.sets.delete(toLatin1(key));
    else this.sets.set(toLatin1(key), partitions);
  }

  has(key: Uint8Array): boolean {
    return this.sets.has(toLatin1(key));
  }

  /** User keys (latin1) and their partitions. */
  all(): IterableIterator<[string, readonly number[]]> {
    return this.sets.entries();
  }

  /** Encodes all, per key: u32 length, key, u8 count, u32 per partition. Nothing where no key is salted. */
  encode(): Buffer {
    const parts: Buffer[] = [];
    for (const [name, partitions] of this.sets) {
      const key = Buffer.from(name, 'latin1');
      const head = Buffer.alloc(4);
      head.writeUInt32LE(key.byteLength);
      const tail = Buffer.alloc(1 + 4 * partitions.length);
      tail[0] = partitions.length;
      for (const [at, partition] of partitions.entries()) tail.writeUInt32LE(partition, 1 + 4 * at);
      parts.push(head, key, tail);
    }
    return Buffer.concat(parts);
  }

  /** Decodes what `encode` made. Throws `DamagedRowError`. */
  static decode(bytes: Uint8Array): SaltSets {
    const buffer = asBuffer(bytes);
    const sets = new SaltSets();
    try {
      for (let offset = 0; offset < buffer.byteLength; ) {
        const end = offset + 4 + buffer.readUInt32LE(offset);
        const count = buffer.readUInt8(end);
        const partitions: number[] = [];
        for (let at = 0; at < count; at++) partitions.push(buffer.readUInt32LE(end + 1 + 4 * at));
        sets.set(buffer.subarray(offset + 4, end), partitions);
        offset = end + 1 + 4 * count;
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new DamagedRowError('salts beyond the end of their row');
    }
    return sets;
  }
}
