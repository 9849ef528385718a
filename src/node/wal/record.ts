/**
 * Codec of one WAL record. Pure; knows neither files nor what a record means.
 *
 *     0        4        8     9     10      12          16       24       32    40
 *     +--------+--------+-----+-----+-------+-----------+--------+--------+-----+
 *     | magic  | hcrc   |type |flags| 0     | partition | index  | epoch  | lsn |
 *     | "RKWR" | u32    | u8  | u8  | u16   | u32       | u64    | u64    | u64 |
 *     +--------+--------+-----+-----+-------+-----------+--------+--------+-----+
 *     40           48            56        60        64
 *     +------------+-------------+---------+---------+---------------------------+
 *     | durableLsn | previousLsn | length  | pcrc    | payload, zeroes to a      |
 *     | u64        | u64         | u32     | u32     | multiple of 8             |
 *     +------------+-------------+---------+---------+---------------------------+
 *
 * Little-endian; u64 are safe integers. `hcrc` is the CRC-32C of bytes 8 to 64, begun from the segment's seed
 * (salt of the directory, segment number) xor the record's offset / 8: bytes of another log, segment or place
 * never pass. `pcrc` covers payload and padding, so that every bit of a segment is under one checksum.
 * `previousLsn` is the lsn of the same partition's record before this one (0: none): what a recovery needs to
 * prove that a lost record was not this partition's. `durableLsn` is the last lsn whose fsync had returned
 * when this was written. MARK has partition 0xffffffff and the lsn of the record before it; it takes no lsn
 * of its own. An ENTRY with FLAG_COPY is an entry of the log once more, at a new place: it adds nothing, and
 * its payload is drawn in `payloads.ts`. A flag that is not known means that the record is not understood.
 */
import { crc32c } from '../../common/crc32c.ts';
import { assert } from '../../common/errors.ts';

/** Bytes of a record header. */
export const HEADER_BYTES = 64;
/** Partition field of records that belong to none. */
export const NO_PARTITION = 0xffff_ffff;

export const TYPE_ENTRY = 1;
export const TYPE_TRUNCATE = 2;
export const TYPE_META = 3;
export const TYPE_DROP = 4;
export const TYPE_MARK = 5;
/** META only: it starts an empty log at its base, whatever was there. */
export const FLAG_RESET = 1;
/**
 * ENTRY only: the log holds it already; this is its new place (DESIGN.md, "Entries that hold the head back").
 */
export const FLAG_COPY = 2;

const MAGIC = 0x52_57_4b_52;
const TWO_32 = 2 ** 32;

/** A decoded header. */
export interface RecordHeader {
  readonly type: number;
  readonly flags: number;
  readonly partition: number;
  /** ENTRY: its index, copy or not. TRUNCATE, META: the log's last index after it. */
  readonly index: number;
  /** ENTRY: its epoch. TRUNCATE, META: the epoch of the entry at `index`, 0 if unknown. */
  readonly epoch: number;
  readonly lsn: number;
  readonly durableLsn: number;
  readonly previousLsn: number;
  readonly payloadLength: number;
  readonly payloadCrc: number;
}

/** Bytes with the view that writes numbers into them. */
export interface ByteView {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** Views `bytes` without copying. */
export function byteView(bytes: Uint8Array): ByteView {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

/** Writes a safe integer as u64. */
export function putSafe(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / TWO_32), true);
}

/** Reads a u64; above the safe integers the result is inexact. */
export function getSafe(view: DataView, at: number): number {
  return view.getUint32(at, true) + view.getUint32(at + 4, true) * TWO_32;
}

/** Bytes that a payload of `length` bytes takes. */
export function paddedLength(length: number): number {
  return Math.ceil(length / 8) * 8;
}

/** Bytes of a whole record with a payload of `length` bytes. */
export function recordLength(length: number): number {
  return HEADER_BYTES + paddedLength(length);
}

/** The seed of the header checksums of segment `number` in the directory with this `salt` (8 bytes). */
export function segmentSeed(salt: Uint8Array, number: number): number {
  assert(salt.length === 8, 'a salt has 8 bytes');
  const { bytes, view } = byteView(new Uint8Array(8));
  putSafe(view, 0, number);
  return crc32c(bytes, crc32c(salt));
}

function headerSum(bytes: Uint8Array, at: number, seed: number, offset: number): number {
  return crc32c(bytes.subarray(at + 8, at + HEADER_BYTES), (seed ^ (offset / 8)) >>> 0);
}

/**
 * Writes a record at `at` and returns its length. The header is incomplete until `sealHeader`, since the
 * place in the file and the durable lsn are known only when the record's group starts.
 */
export function putRecord(
  target: ByteView,
  at: number,
  type: number,
  flags: number,
  partition: number,
  index: number,
  epoch: number,
  lsn: number,
  previousLsn: number,
  payload: Uint8Array,
): number {
  const { bytes, view } = target;
  const length = recordLength(payload.length);
  view.setUint32(at, MAGIC, true);
  view.setUint32(at + 8, type | (flags << 8), true);
  view.setUint32(at + 12, partition, true);
  putSafe(view, at + 16, index);
  putSafe(view, at + 24, epoch);
  putSafe(view, at + 32, lsn);
  putSafe(view, at + 48, previousLsn);
  view.setUint32(at + 56, payload.length, true);
  bytes.set(payload, at + HEADER_BYTES);
  bytes.fill(0, at + HEADER_BYTES + payload.length, at + length);
  view.setUint32(at + 60, crc32c(bytes.subarray(at + HEADER_BYTES, at + length)), true);
  return length;
}

/** Completes the header at `at` for a record that goes to `offset` of the segment with this `seed`. */
export function sealHeader(
  target: ByteView,
  at: number,
  durableLsn: number,
  seed: number,
  offset: number,
): void {
  putSafe(target.view, at + 40, durableLsn);
  target.view.setUint32(at + 4, headerSum(target.bytes, at, seed, offset), true);
}

/** Length, with header and padding, of the record at `at`, whose header must be intact. */
export function recordLengthAt(view: DataView, at: number): number {
  return recordLength(view.getUint32(at + 56, true));
}

/**
 * Decodes the header at `at`, read from `offset` of the segment with this `seed`; null unless it is intact.
 */
export function getHeader(source: ByteView, at: number, seed: number, offset: number): RecordHeader | null {
  const { bytes, view } = source;
  if (at + HEADER_BYTES > bytes.length || view.getUint32(at, true) !== MAGIC) return null;
  if (view.getUint32(at + 4, true) !== headerSum(bytes, at, seed, offset)) return null;
  return {
    type: view.getUint8(at + 8),
    flags: view.getUint8(at + 9),
    partition: view.getUint32(at + 12, true),
    index: getSafe(view, at + 16),
    epoch: getSafe(view, at + 24),
    lsn: getSafe(view, at + 32),
    durableLsn: getSafe(view, at + 40),
    previousLsn: getSafe(view, at + 48),
    payloadLength: view.getUint32(at + 56, true),
    payloadCrc: view.getUint32(at + 60, true),
  };
}

/** Whether the payload behind the header at `at` is complete and matches its checksum. */
export function payloadIntact(bytes: Uint8Array, at: number, header: RecordHeader): boolean {
  const from = at + HEADER_BYTES;
  const to = from + paddedLength(header.payloadLength);
  return to <= bytes.length && crc32c(bytes.subarray(from, to)) === header.payloadCrc;
}

/** The payload behind the header at `at`, as a view. */
export function payloadAt(bytes: Uint8Array, at: number, header: RecordHeader): Uint8Array {
  return bytes.subarray(at + HEADER_BYTES, at + HEADER_BYTES + header.payloadLength);
}
