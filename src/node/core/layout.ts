/**
 * How a node's replicas lie in the one ordered store: keys and values as bytes, with our own CRC on every value, since
 * LevelDB does not check its own. Pure: the store itself is `store.ts`.
 *
 *   key     u32 BE partition | u32 BE generation | u8 table | row key
 *   tables  1 values    row key = user key: u8 keyspace length, keyspace, key; behind all of these, from 0xff on, records of
 *                       idempotency keys (once.ts) and sub-counters (sub-rows.ts)
 *           2 results   row key = client id (16), u64 BE sequence: outcome of a write that was not blind
 *           3 meta      row key empty: applied index, its epoch, log time; where keys are salted, these (salt-sets.ts)
 *           4 sessions  row key empty: the deduplication table as of an index
 *           5 expiries  row key = u64 BE expires at, user key; no bytes. One for every value that expires, and for some that
 *                       were overwritten since: they go when their time has come
 *           6 epochs    row key empty: where each of the last epochs begins (epoch-starts.ts)
 *   A generation is one copy of a partition; a snapshot is installed under the next one and switched to atomically.
 *
 *   value   u8 format (1) | u8 kind (1 value, 2 counter) | u8 codec | u8 0 | u32 CRC32C
 *           | u64 version | u64 epoch | u64 expires at | bytes (a counter: i64)
 *   The CRC covers everything else and the row key, so that a value under a wrong key is found too.
 */
import { asBuffer, NO_BYTES, readU64, writeU64 } from '../../common/bytes.ts';
import { crc32c } from '../../common/crc32c.ts';
import type { DueKey } from './entry.ts';

export const TABLE_VALUES = 1;
export const TABLE_RESULTS = 2;
export const TABLE_META = 3;
export const TABLE_SESSIONS = 4;
export const TABLE_EXPIRIES = 5;
export const TABLE_EPOCHS = 6;
/** First byte of the keys of records: longer than the name of any keyspace. */
export const RECORD_MARK = 0xff;
const PREFIX_BYTES = 9;
const VALUE_HEADER_BYTES = 32;
const VALUE_FORMAT = 1;
const KINDS = ['', 'value', 'counter'] as const;

/** A stored value. For a counter, `value` is its 8 bytes. */
export interface StoredValue {
  readonly kind: 'value' | 'counter';
  readonly codec: number;
  readonly version: number;
  readonly epoch: number;
  readonly expiresAt: number;
  readonly value: Uint8Array;
}

/** Bytes that fail their checksum or format. */
export class DamagedRowError extends Error {}

/** Builds a user key from keyspace and key. */
export function userKey(keyspace: string, key: Uint8Array): Uint8Array {
  const keyspaceBytes = keyspace === '' ? 0 : Buffer.byteLength(keyspace);
  const buffer = Buffer.allocUnsafe(1 + keyspaceBytes + key.byteLength);
  buffer[0] = keyspaceBytes;
  if (keyspaceBytes > 0) buffer.write(keyspace, 1);
  buffer.set(key, 1 + keyspaceBytes);
  return buffer;
}

/** Splits a user key. */
export function splitUserKey(bytes: Uint8Array): { keyspace: string; key: Uint8Array } {
  const buffer = asBuffer(bytes);
  const end = 1 + (buffer[0] ?? 0);
  return { keyspace: buffer.toString('utf8', 1, end), key: buffer.subarray(end) };
}

/** Builds a store key. */
export function storeKey(partition: number, generation: number, table: number, row: Uint8Array): Buffer {
  const buffer = Buffer.allocUnsafe(PREFIX_BYTES + row.byteLength);
  buffer.writeUInt32BE(partition, 0);
  buffer.writeUInt32BE(generation, 4);
  buffer[8] = table;
  buffer.set(row, PREFIX_BYTES);
  return buffer;
}

/** The part of a store key behind partition and generation: table and row key. What a snapshot carries. */
export function relativeKey(key: Uint8Array): Uint8Array {
  return key.subarray(8);
}

/** Puts a relative key under another partition copy. */
export function absoluteKey(partition: number, generation: number, relative: Uint8Array): Buffer {
  const buffer = Buffer.allocUnsafe(8 + relative.byteLength);
  buffer.writeUInt32BE(partition, 0);
  buffer.writeUInt32BE(generation, 4);
  buffer.set(relative, 8);
  return buffer;
}

/** The range `[from, to)` of one copy of a partition, or of one of its tables. */
export function storeRange(
  partition: number,
  generation: number,
  table?: number,
): { from: Buffer; to: Buffer } {
  const from = Buffer.alloc(table === undefined ? 8 : 9);
  const to = Buffer.alloc(from.byteLength);
  for (const bound of [from, to]) {
    bound.writeUInt32BE(partition, 0);
    bound.writeUInt32BE(generation, 4);
  }
  if (table === undefined) to.writeUInt32BE(generation + 1, 4);
  else {
    from[8] = table;
    to[8] = table + 1;
  }
  return { from, to };
}

/** The range of the values of one copy of a partition that clients can name. */
export function valueRange(partition: number, generation: number): { from: Buffer; to: Buffer } {
  const { from } = storeRange(partition, generation, TABLE_VALUES);
  return { from, to: storeKey(partition, generation, TABLE_VALUES, Buffer.of(RECORD_MARK)) };
}

/** Row key of a write's stored result. */
export function resultRow(client: string, sequence: number): Buffer {
  const buffer = Buffer.allocUnsafe(24);
  buffer.write(client, 0, 16, 'latin1');
  buffer.writeBigUInt64BE(BigInt(sequence), 16);
  return buffer;
}

/** Row key of a value's time to expire: in the order of these times. */
export function expiryRow(expiresAt: number, key: Uint8Array): Buffer {
  const buffer = Buffer.allocUnsafe(8 + key.byteLength);
  buffer.writeBigUInt64BE(BigInt(expiresAt), 0);
  buffer.set(key, 8);
  return buffer;
}

/** Splits what `expiryRow` made. */
export function splitExpiryRow(row: Uint8Array): DueKey {
  const buffer = asBuffer(row);
  if (buffer.byteLength < 9) throw new DamagedRowError('an expiry without a key');
  return { expiresAt: Number(buffer.readBigUInt64BE(0)), key: buffer.subarray(8) };
}

/** Encodes a value for the row `row`. */
export function encodeValue(row: Uint8Array, stored: StoredValue): Buffer {
  const buffer = Buffer.allocUnsafe(VALUE_HEADER_BYTES + stored.value.byteLength);
  buffer[0] = VALUE_FORMAT;
  buffer[1] = KINDS.indexOf(stored.kind);
  buffer[2] = stored.codec;
  buffer[3] = 0;
  buffer.writeUInt32LE(0, 4);
  writeU64(buffer, 8, stored.version);
  writeU64(buffer, 16, stored.epoch);
  writeU64(buffer, 24, stored.expiresAt);
  buffer.set(stored.value, VALUE_HEADER_BYTES);
  buffer.writeUInt32LE(crc32c(buffer, crc32c(row)), 4);
  return buffer;
}

/** Decodes and verifies a value; throws `DamagedRowError`. `value` is a view on `bytes`. */
export function decodeValue(row: Uint8Array, bytes: Uint8Array): StoredValue {
  const buffer = asBuffer(bytes);
  const kind = KINDS[buffer[1] ?? 0];
  if (
    buffer.byteLength < VALUE_HEADER_BYTES ||
    buffer[0] !== VALUE_FORMAT ||
    kind === undefined ||
    kind === ''
  ) {
    throw new DamagedRowError('a value row has no valid header');
  }
  const expected = buffer.readUInt32LE(4);
  let actual = crc32c(buffer.subarray(0, 4), crc32c(row));
  actual = crc32c(ZERO_CRC, actual);
  actual = crc32c(buffer.subarray(8), actual);
  if (actual !== expected) throw new DamagedRowError('a value row fails its checksum');
  return {
    kind,
    codec: buffer.readUInt8(2),
    version: readU64(buffer, 8),
    epoch: readU64(buffer, 16),
    expiresAt: readU64(buffer, 24),
    value: buffer.subarray(VALUE_HEADER_BYTES),
  };
}

const ZERO_CRC = Buffer.alloc(4);

/** Puts a checksum before opaque bytes (rows of all tables but that of values): u32 CRC32C over row key and bytes. */
export function sealRow(row: Uint8Array, bytes: Uint8Array): Buffer {
  const buffer = Buffer.allocUnsafe(4 + bytes.byteLength);
  buffer.set(bytes, 4);
  buffer.writeUInt32LE(crc32c(bytes, crc32c(row)), 0);
  return buffer;
}

/** Verifies and strips the checksum of `sealRow`; throws `DamagedRowError`. */
export function openRow(row: Uint8Array, sealed: Uint8Array): Buffer {
  const buffer = asBuffer(sealed);
  const bytes = buffer.subarray(4);
  if (buffer.byteLength < 4 || crc32c(bytes, crc32c(row)) !== buffer.readUInt32LE(0)) {
    throw new DamagedRowError('a row fails its checksum');
  }
  return bytes;
}

/** Verifies the checksum of any row; `relative` is its table and row key. Throws `DamagedRowError`. */
export function verifyRow(relative: Uint8Array, bytes: Uint8Array): void {
  const row = relative.subarray(1);
  if (relative[0] === TABLE_VALUES) decodeValue(row, bytes);
  else openRow(row, bytes);
}

const MARK_BYTES = 24;

/** What the store has applied of a partition. */
export interface AppliedMark {
  readonly index: number;
  readonly epoch: number;
  /** Timestamp of that entry: the partition's log time. */
  readonly logTime: number;
}

/** Encodes an applied mark as three u64, and what stands behind it: the salted keys, if there are any (salt-sets.ts). */
export function encodeApplied(mark: AppliedMark, salts: Uint8Array = NO_BYTES): Buffer {
  const buffer = Buffer.allocUnsafe(MARK_BYTES + salts.byteLength);
  buffer.set(salts, MARK_BYTES);
  writeU64(buffer, 0, mark.index);
  writeU64(buffer, 8, mark.epoch);
  writeU64(buffer, 16, mark.logTime);
  return buffer;
}

/** What stands behind an applied mark. */
export function behindApplied(bytes: Uint8Array): Uint8Array {
  return bytes.subarray(MARK_BYTES);
}

/** Decodes an applied mark. */
export function decodeApplied(bytes: Uint8Array): AppliedMark {
  const buffer = asBuffer(bytes);
  if (buffer.byteLength < MARK_BYTES) throw new DamagedRowError('an applied mark of a wrong size');
  return { index: readU64(buffer, 0), epoch: readU64(buffer, 8), logTime: readU64(buffer, 16) };
}
