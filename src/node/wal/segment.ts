/**
 * A segment file's name, header and byte-level scan. Pure; what the records mean is `recovery.ts`.
 *
 *     0        4      8         12    16       24        32     40               64
 *     +--------+------+---------+-----+--------+---------+------+----------------+---------
 *     | magic  | crc  | version | 0   | number | baseLsn | salt | zeroes         | records
 *     | "RKWS" | u32  | u32     | u32 | u64    | u64     | 8 B  |                |
 *     +--------+------+---------+-----+--------+---------+------+----------------+---------
 *
 * `crc` covers bytes 8 to 64. `baseLsn` is the lsn of the first record to come; everything below it was
 * durable before the segment came into being. The manifest repeats number, baseLsn and salt, so a damaged
 * header costs nothing. Records start at multiples of 8, which is where the scan looks for the next good one
 * behind damage.
 */
import { crc32c } from '../../common/crc32c.ts';
import { RingkeepError } from '../../common/errors.ts';
import {
  type ByteView,
  byteView,
  getHeader,
  getSafe,
  HEADER_BYTES,
  payloadAt,
  payloadIntact,
  putSafe,
  type RecordHeader,
  recordLength,
} from './record.ts';

/** Version of segments and records that this build writes and reads. */
export const SEGMENT_VERSION = 1;
/** Bytes of a segment header: the offset of its first record. */
export const SEGMENT_HEADER_BYTES = 64;

const MAGIC = 0x53_57_4b_52;
const NAME = /^([0-9]{12})\.wal$/;

/** What a segment says of itself. */
export interface SegmentHeader {
  readonly number: number;
  readonly baseLsn: number;
  readonly salt: Uint8Array;
}

/** Returns the file name of segment `number`. */
export function segmentName(number: number): string {
  return `${String(number).padStart(12, '0')}.wal`;
}

/** Returns the number in a segment's file name, or null for any other name. */
export function segmentNumber(name: string): number | null {
  const digits = NAME.exec(name)?.[1];
  return digits === undefined ? null : Number(digits);
}

/** Encodes a segment header. */
export function encodeSegmentHeader(header: SegmentHeader): Uint8Array {
  const { bytes, view } = byteView(new Uint8Array(SEGMENT_HEADER_BYTES));
  view.setUint32(0, MAGIC, true);
  view.setUint32(8, SEGMENT_VERSION, true);
  putSafe(view, 16, header.number);
  putSafe(view, 24, header.baseLsn);
  bytes.set(header.salt, 32);
  view.setUint32(4, crc32c(bytes.subarray(8)), true);
  return bytes;
}

/** Decodes a segment's header; null when it is damaged. Throws RingkeepError FORMAT_TOO_NEW. */
export function decodeSegmentHeader(segment: Uint8Array): SegmentHeader | null {
  if (segment.length < SEGMENT_HEADER_BYTES) return null;
  const { bytes, view } = byteView(segment.subarray(0, SEGMENT_HEADER_BYTES));
  if (view.getUint32(0, true) !== MAGIC || view.getUint32(4, true) !== crc32c(bytes.subarray(8))) return null;
  const version = view.getUint32(8, true);
  if (version > SEGMENT_VERSION) {
    const known = `this build knows up to ${SEGMENT_VERSION}`;
    throw new RingkeepError('FORMAT_TOO_NEW', `WAL segment format ${version}, ${known}`);
  }
  return { number: getSafe(view, 16), baseLsn: getSafe(view, 24), salt: bytes.slice(32, 40) };
}

/**
 * A piece of a segment: a record with an intact header (`intact` tells of its payload), or bytes that are
 * none.
 */
export type Piece =
  | {
      readonly kind: 'record';
      readonly offset: number;
      readonly header: RecordHeader;
      readonly intact: boolean;
      /** A view; only to be used if `intact`. */
      readonly payload: Uint8Array;
    }
  | { readonly kind: 'bad'; readonly offset: number; readonly length: number };

/** Offset of the next record at or behind `from` with both checksums right, or the end. */
function resynchronise(source: ByteView, from: number, seed: number): number {
  const { bytes } = source;
  for (let offset = from; offset + HEADER_BYTES <= bytes.length; offset += 8) {
    const header = getHeader(source, offset, seed, offset);
    if (header !== null && payloadIntact(bytes, offset, header)) return offset;
  }
  return bytes.length;
}

/** Whether nothing but zeroes is left: the writer lets a file grow ahead of what it writes. */
function isBlank(bytes: Uint8Array, from: number): boolean {
  for (let at = from; at < bytes.length; at++) if (bytes[at] !== 0) return false;
  return true;
}

/** Yields the pieces of a whole segment's bytes in order, without a hole, up to the blanks at its end; never throws. */
export function* scanSegment(segment: Uint8Array, seed: number): Generator<Piece> {
  const source = byteView(segment);
  let offset = SEGMENT_HEADER_BYTES;
  while (offset < segment.length) {
    const header = getHeader(source, offset, seed, offset);
    if (header === null) {
      if (isBlank(segment, offset)) return;
      const next = resynchronise(source, offset + 8, seed);
      yield { kind: 'bad', offset, length: next - offset };
      offset = next;
    } else {
      const intact = payloadIntact(segment, offset, header);
      yield { kind: 'record', offset, header, intact, payload: payloadAt(segment, offset, header) };
      offset += recordLength(header.payloadLength);
    }
  }
}
