/**
 * Writes with an application's own idempotency key: the first one that is decided leaves a record of what it came to, and a later
 * one with the same key is told that instead of taking effect, for as long as the record is kept. Records are values under keys
 * that no client can name, so they are stored, expired and sent along like all others.
 * INVARIANT: a record and the effects that it tells of are of one entry.
 */
import { asBuffer } from '../../common/bytes.ts';
import { hashBytes, hashTag } from '../../common/hash.ts';
import type { Request } from '../../common/wire/messages.ts';
import { FINGERPRINT_BYTES } from './entry.ts';
import { RECORD_MARK, userKey } from './layout.ts';
import { decodeResult, encodeResult, type WriteResult } from './result.ts';

/**
 * User key of the record: an idempotency key belongs to the hash tag of the keys that are written (of a key without one, to the
 * key) in their keyspace. u8 0xff, u8 idempotency key length, idempotency key, u8 keyspace length, keyspace, hash tag.
 * `key`: any of those that the request writes.
 */
export function recordKey(idempotencyKey: Uint8Array, keyspace: string, key: Uint8Array): Buffer {
  const head = Buffer.of(RECORD_MARK, idempotencyKey.byteLength);
  return Buffer.concat([head, idempotencyKey, userKey(keyspace, hashTag(key))]);
}

/** What tells one request from another: a hash of everything that was asked for but when, and how it is acknowledged. */
export function fingerprintOf({ operation, keyspace, batch, ...request }: Request): Buffer {
  const parts: Buffer[] = [];
  const add = (...values: (Uint8Array | string | number | bigint | null | undefined)[]): void => {
    for (const value of values) {
      const bytes = value instanceof Uint8Array ? asBuffer(value) : Buffer.from(String(value ?? ''));
      parts.push(Buffer.from(`${bytes.byteLength}:`), bytes);
    }
  };
  const addOne = (name: string, one: Pick<Request, 'key' | 'condition' | 'put' | 'increment' | 'touch'>) => {
    add(name, one.key, one.condition?.kind, one.condition?.version);
    add(one.put?.value, one.put?.codec, one.put?.ttlMs);
    add(one.increment?.delta, one.increment?.ttlMs, one.touch?.ttlMs);
    // Whoever wants the counter must not be told the result of one that did not.
    if (one.increment?.unread) add('unread');
  };
  // A batch of one operation is told another kind of result than the operation alone.
  add(operation, keyspace);
  if (batch) for (const item of batch.items) addOne(item.operation, item);
  else addOne(operation, request);
  const fingerprint = Buffer.alloc(FINGERPRINT_BYTES);
  fingerprint.writeBigUInt64LE(hashBytes(Buffer.concat(parts)), 0);
  return fingerprint;
}

/** Encodes what a write with this fingerprint came to. */
export function encodeRecord(fingerprint: Uint8Array, result: WriteResult): Buffer {
  return Buffer.concat([fingerprint, encodeResult(result)]);
}

/** What a write is told that finds a record. */
export function repeat(record: Uint8Array, fingerprint: Uint8Array): WriteResult {
  const bytes = asBuffer(record);
  if (!bytes.subarray(0, FINGERPRINT_BYTES).equals(fingerprint)) {
    return { kind: 'refused', code: 'IDEMPOTENCY_CONFLICT' };
  }
  const result = decodeResult(bytes.subarray(FINGERPRINT_BYTES));
  return result.kind === 'applied' || result.kind === 'condition' ? { ...result, repeated: true } : result;
}
