/**
 * Which keys of a partition are salted, and where: replicated state, in memory and in the row of the applied mark. A build that does not know
 * salts takes such a row for a damaged one, so that it never leads a partition whose copies it would forget.
 * INVARIANT: a function of the decided log alone; the same on every replica that has decided as far.
 */
import { asBuffer, readU64, toLatin1, writeU64 } from '../../common/bytes.ts';
import { DamagedRowError } from './layout.ts';

/** A counter that consists of several. */
export interface CounterSet {
  /** Of this set of sub-counters, and never of another one. */
  readonly id: number;
  /** What each increment adds; 0: anything. */
  readonly delta: bigint;
}

/** Where a key has copies or, if it is a salted counter, sub-counters. */
export interface SaltSet {
  /** Their leaders may hold one; none: the key is not salted. */
  readonly partitions: readonly number[];
  /** Salted since it was hot, and no longer than that. */
  readonly automatic: boolean;
  readonly counter: CounterSet | null;
}

/** A set of sub-counters. */
export type SubSet = SaltSet & { readonly counter: CounterSet };

const AUTOMATIC = 1;
const COUNTER = 2;

function headBytes({ counter }: SaltSet): number {
  return counter === null ? 1 : 17;
}

/** Bytes of an encoded set. */
export function setBytes(set: SaltSet): number {
  return headBytes(set) + 4 * set.partitions.length;
}

/** Encodes a set: u8 flags (bit 0 automatic, bit 1 sub-counters), of sub-counters u64 id and i64 delta, u32 per partition. */
export function encodeSet(set: SaltSet): Buffer {
  const { partitions, automatic, counter } = set;
  const buffer = Buffer.alloc(setBytes(set));
  buffer[0] = (automatic ? AUTOMATIC : 0) | (counter === null ? 0 : COUNTER);
  if (counter !== null) {
    writeU64(buffer, 1, counter.id);
    buffer.writeBigInt64LE(counter.delta, 9);
  }
  const start = headBytes(set);
  for (const [at, partition] of partitions.entries()) buffer.writeUInt32LE(partition, start + 4 * at);
  return buffer;
}

/** Decodes what `encodeSet` made. Throws `RangeError` on bytes that are cut short. */
export function decodeSet(buffer: Buffer): SaltSet {
  const flags = buffer.readUInt8(0);
  const isCounter = (flags & COUNTER) !== 0;
  const counter = isCounter ? { id: readU64(buffer, 1), delta: buffer.readBigInt64LE(9) } : null;
  const partitions: number[] = [];
  for (let offset = isCounter ? 17 : 1; offset < buffer.byteLength; offset += 4)
    partitions.push(buffer.readUInt32LE(offset));
  return { partitions, automatic: (flags & AUTOMATIC) !== 0, counter };
}

/** Whether a set is one of sub-counters. */
export function isSubSet(set: SaltSet | undefined): set is SubSet {
  return set !== undefined && set.counter !== null;
}

/** The salted keys of one copy of a partition. */
export class SaltSets {
  /** By user key (latin1). */
  private readonly sets = new Map<string, SaltSet>();
  /** Sets of sub-counters that have come or gone. */
  revision = 0;

  get size(): number {
    return this.sets.size;
  }

  /** The key has this set from now on. */
  set(key: Uint8Array, set: SaltSet): void {
    const name = toLatin1(key);
    if (set.counter !== null || isSubSet(this.sets.get(name))) this.revision++;
    if (set.partitions.length === 0) this.sets.delete(name);
    else this.sets.set(name, set);
  }

  has(key: Uint8Array): boolean {
    return this.sets.has(toLatin1(key));
  }

  /** The sub-counters of a key; null: it has none. */
  subSetOf(key: Uint8Array): SubSet | null {
    const set = this.sets.size === 0 ? undefined : this.sets.get(toLatin1(key));
    return isSubSet(set) ? set : null;
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
