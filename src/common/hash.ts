/**
 * Key to partition: the wire contract that clients in any language repeat. xxHash64, seed 0, of the hash tag or of the
 * whole key; modulo the number of partitions. Golden vectors in hash.test.ts.
 * INVARIANT: never changes for an existing cluster; a change is a new protocol version.
 */
import { xxh64 } from '@node-rs/xxhash';
import { assert } from './errors.ts';
import { PARTITIONS_MAX } from './limits.ts';

const OPEN = 0x7b;
const CLOSE = 0x7d;

/** Returns xxHash64 (seed 0) of `bytes`, in [0, 2^64). */
export function hashBytes(bytes: Uint8Array): bigint {
  return xxh64(bytes);
}

/**
 * Returns the part of `key` that is hashed, as a view: what stands between the first `{` and the next `}` after it, if
 * that is not empty, else all of the key (the rule of Redis Cluster).
 */
export function hashTag(key: Uint8Array): Uint8Array {
  const open = key.indexOf(OPEN);
  if (open < 0) return key;
  const close = key.indexOf(CLOSE, open + 1);
  return close > open + 1 ? key.subarray(open + 1, close) : key;
}

/** Returns the hash of a key, in [0, 2^64): xxHash64 of its hash tag. */
export function hashKey(key: Uint8Array): bigint {
  return hashBytes(hashTag(key));
}

/** Returns the partition of a key, in [0, partitions). `partitions` is in [1, PARTITIONS_MAX]. */
export function partitionOf(key: Uint8Array, partitions: number): number {
  assert(
    Number.isInteger(partitions) && partitions >= 1 && partitions <= PARTITIONS_MAX,
    'partitions in range',
  );
  return Number(hashKey(key) % BigInt(partitions));
}
