/**
 * The payloads that the WAL reads itself: META (a replica's durable state, as JSON, since it is rare and
 * should be readable in a dump), MARK (where every partition's log stands), and what a copy has before its
 * entry's. Pure.
 *
 *     MARK:  count u32 | 0 u32 | count × ( partition u32 | 0 u32 | lastLsn u64 | lastIndex u64 | lastEpoch u64 )
 *     copy:  epoch of the entry below, 0 if unknown, u64 | payload of the entry
 */

import { byteView, getSafe, putSafe, recordLength } from './record.ts';
import type { ReplicaMeta } from './types.ts';

/** One line of a MARK: `lastEpoch` is the epoch of the entry at `lastIndex`, 0 if unknown. */
export interface MarkLine {
  readonly partition: number;
  readonly lastLsn: number;
  readonly lastIndex: number;
  readonly lastEpoch: number;
}

const LINE_BYTES = 32;
const COPY_HEAD_BYTES = 8;

/** Encodes the payload of a META record. */
export function encodeMeta(meta: ReplicaMeta): Uint8Array {
  return Buffer.from(JSON.stringify(meta));
}

/** Decodes the payload of a META record, whose checksum was verified. */
export function decodeMeta(payload: Uint8Array): ReplicaMeta {
  return JSON.parse(Buffer.from(payload).toString('utf8')) as ReplicaMeta;
}

/** Encodes the payload of a MARK record. */
export function encodeMark(lines: readonly MarkLine[]): Uint8Array {
  const { bytes, view } = byteView(new Uint8Array(8 + lines.length * LINE_BYTES));
  view.setUint32(0, lines.length, true);
  let at = 8;
  for (const line of lines) {
    view.setUint32(at, line.partition, true);
    putSafe(view, at + 8, line.lastLsn);
    putSafe(view, at + 16, line.lastIndex);
    putSafe(view, at + 24, line.lastEpoch);
    at += LINE_BYTES;
  }
  return bytes;
}

/** Decodes the payload of a MARK record, whose checksum was verified. */
export function decodeMark(payload: Uint8Array): MarkLine[] {
  const { view } = byteView(payload);
  const lines: MarkLine[] = [];
  for (let at = 8; at + LINE_BYTES <= payload.length; at += LINE_BYTES) {
    lines.push({
      partition: view.getUint32(at, true),
      lastLsn: getSafe(view, at + 8),
      lastIndex: getSafe(view, at + 16),
      lastEpoch: getSafe(view, at + 24),
    });
  }
  return lines;
}

/** Bytes of the record of a copy whose entry has a payload of `length` bytes. */
export function copyLength(length: number): number {
  return recordLength(COPY_HEAD_BYTES + length);
}

/** Encodes the payload of a copy. `epochBelow` is the epoch of the entry below, 0 if unknown. */
export function encodeCopy(epochBelow: number, payload: Uint8Array): Uint8Array {
  const { bytes, view } = byteView(new Uint8Array(COPY_HEAD_BYTES + payload.length));
  putSafe(view, 0, epochBelow);
  bytes.set(payload, COPY_HEAD_BYTES);
  return bytes;
}

/** Epoch of the entry below a copy, from the copy's payload, whose checksum was verified. */
export function epochBelowCopy(payload: Uint8Array): number {
  return getSafe(byteView(payload).view, 0);
}

/** The entry's own payload in the payload of a copy, as a view. */
export function copiedPayload(payload: Uint8Array): Uint8Array {
  return payload.subarray(COPY_HEAD_BYTES);
}
