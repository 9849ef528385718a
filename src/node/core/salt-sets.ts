/**
 * Which keys of a partition are salted, and in which partitions they have copies: replicated state, in memory and in the row of the applied
 * mark. A build that does not know salts takes such a row for a damaged one, so that it never leads a partition whose copies it would forget.
 * INVARIANT: a function of the decided log alone; the same on every replica that has decided as far.
 */
import { asBuffer, toLatin1 } from '../../common/bytes.ts';
import { DamagedRowError } from './layout.ts';

/** Where a key has copies. */
export interface SaltSet {
  /** Their leaders may hold one; none: the key is not salted. */
  readonly partitions: readonly number[];
  /** Salted since it was hot, and no longer than that. */
  readonly automatic: boolean;
}

/** Bytes of an encoded set. */
export function setBytes({ partitions }: SaltSet): number {
  return 1 + 4 * partitions.length;
}

/** Encodes a set: u8 flags (bit 0 automatic), u32 per partition. */
export function encodeSet({ partitions, automatic }: SaltSet): Buffer {
  const buffer = Buffer.alloc(1 + 4 * partitions.length);
  buffer[0] = automatic ? 1 : 0;
  for (const [at, partition] of partitions.entries()) buffer.writeUInt32LE(partition, 1 + 4 * at);
  return buffer;
}

/** Decodes what `encodeSet` made. Throws `RangeError` on bytes that are cut short. */
export function decodeSet(buffer: Buffer): SaltSet {
  const partitions: number[] = [];
  for (let offset = 1; offset < buffer.byteLength; offset += 4) partitions.push(buffer.readUInt32LE(offset));
  return { partitions, automatic: buffer.readUInt8(0) === 1 };
}

/** The salted keys of one copy of a partition. */
export class SaltSets {
  /** By user key (latin1). */
  private readonly sets = new Map<string, SaltSet>();

  get size(): number {
    return this.sets.size;
  }

  /** The key has this set from now on. */
  set(key: Uint8Array, set: SaltSet): void {
    if (set.partitions.length === 0) this.sets.delete(toLatin1(key));
    else this.sets.set(toLatin1(key), set);
  }

  has(key: Uint8Array): boolean {
    return this.sets.has(toLatin1(key));
  }

  /** User keys (latin1) and their sets. */
  all(): IterableIterator<[string, SaltSet]> {
    return this.sets.entries();
  }

  /** Encodes all, per key: u32 length of the key, u32 of the set, key, set. Nothing where no key is salted. */
  encode(): Buffer {
    const parts = [...this.sets].flatMap(([name, set]) => {
      const key = Buffer.from(name, 'latin1');
      const encoded = encodeSet(set);
      const head = Buffer.alloc(8);
      head.writeUInt32LE(key.byteLength);
      head.writeUInt32LE(encoded.byteLength, 4);
      return [head, key, encoded];
    });
    return Buffer.concat(parts);
  }

  /** Decodes what `encode` made. Throws `DamagedRowError`. */
  static decode(bytes: Uint8Array): SaltSets {
    const buffer = asBuffer(bytes);
    const sets = new SaltSets();
    try {
      for (let offset = 0; offset < buffer.byteLength; ) {
        const keyEnd = offset + 8 + buffer.readUInt32LE(offset);
        const end = keyEnd + buffer.readUInt32LE(offset + 4);
        sets.set(buffer.subarray(offset + 8, keyEnd), decodeSet(buffer.subarray(keyEnd, end)));
        offset = end;
      }
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      throw new DamagedRowError('salts beyond the end of their row');
    }
    return sets;
  }
}
