/**
 * Reads a WAL directory for people (`ringkeep waldump`): every record in file order, and every stretch of
 * bytes that is none, with place and reason. Read-only, and it goes on behind damage. Decides nothing: what
 * damage means for a partition is `replay.ts`.
 */
import type { Disk } from '../../common/disk.ts';
import { copiedPayload, decodeMark, decodeMeta, type MarkLine } from './payloads.ts';
import {
  FLAG_COPY,
  FLAG_RESET,
  segmentSeed,
  TYPE_DROP,
  TYPE_ENTRY,
  TYPE_MARK,
  TYPE_META,
  TYPE_TRUNCATE,
} from './record.ts';
import { loadSegment, readDirectory } from './recovery.ts';
import { scanSegment } from './segment.ts';
import type { ReplicaMeta } from './types.ts';

const TYPES: Readonly<Record<number, string>> = {
  [TYPE_ENTRY]: 'entry',
  [TYPE_TRUNCATE]: 'truncate',
  [TYPE_META]: 'meta',
  [TYPE_DROP]: 'drop',
  [TYPE_MARK]: 'mark',
};

/** One line of a dump. Offsets and lengths in bytes. */
export type DumpLine =
  | {
      readonly kind: 'manifest';
      readonly salt: string;
      readonly durableLsn: number;
      readonly problem: string | null;
    }
  | { readonly kind: 'segment'; readonly segment: number; readonly baseLsn: number; readonly bytes: number }
  | {
      readonly kind: 'record';
      readonly segment: number;
      readonly offset: number;
      /** entry, truncate, meta, drop, mark, or a number that this build does not know. */
      readonly type: string;
      readonly lsn: number;
      readonly durableLsn: number;
      readonly previousLsn: number;
      /** Null in a mark. */
      readonly partition: number | null;
      readonly index: number;
      readonly epoch: number;
      readonly payloadBytes: number;
      /** Of entries: this is one that the log held already. */
      readonly copy?: boolean;
      readonly reset?: boolean;
      readonly meta?: ReplicaMeta;
      readonly lines?: readonly MarkLine[];
    }
  | {
      readonly kind: 'bad';
      readonly segment: number;
      readonly offset: number;
      readonly length: number;
      readonly reason: string;
    };

/**
 * Yields the contents of the WAL in `directory`; changes nothing, so it may look at a log that is in use
 * (whose end may then look torn). Throws RingkeepError FORMAT_TOO_NEW, DiskError when the disk fails.
 */
export function* dumpWal(disk: Disk, directory: string): Generator<DumpLine> {
  const { manifest, problem } = readDirectory(disk, directory, () => new Uint8Array(8));
  const { salt, durableLsn } = manifest;
  yield { kind: 'manifest', salt: Buffer.from(salt).toString('hex'), durableLsn, problem };
  for (const listed of manifest.segments) {
    const { bytes } = loadSegment(disk, directory, salt, listed);
    const segment = listed.number;
    if (bytes === null) {
      yield {
        kind: 'bad',
        segment,
        offset: 0,
        length: 0,
        reason: 'the segment is missing or is another one',
      };
      continue;
    }
    yield { kind: 'segment', segment, baseLsn: listed.baseLsn, bytes: bytes.length };
    for (const piece of scanSegment(bytes, segmentSeed(salt, segment))) {
      const { offset } = piece;
      if (piece.kind === 'bad') {
        yield { kind: 'bad', segment, offset, length: piece.length, reason: 'no intact record header' };
        continue;
      }
      const { header, intact, payload } = piece;
      const { type, lsn, partition, index, epoch, payloadLength } = header;
      const name = TYPES[type] ?? String(type);
      if (!intact) {
        const reason = `payload of ${name} lsn ${lsn}, partition ${partition}, index ${index} is damaged`;
        yield { kind: 'bad', segment, offset, length: payloadLength, reason };
        continue;
      }
      const isCopy = type === TYPE_ENTRY && (header.flags & FLAG_COPY) !== 0;
      yield {
        kind: 'record',
        segment,
        offset,
        type: name,
        lsn,
        durableLsn: header.durableLsn,
        previousLsn: header.previousLsn,
        partition: type === TYPE_MARK ? null : partition,
        index,
        epoch,
        payloadBytes: isCopy ? copiedPayload(payload).length : payloadLength,
        ...(isCopy ? { copy: true } : {}),
        ...(type === TYPE_META
          ? { meta: decodeMeta(payload), reset: (header.flags & FLAG_RESET) !== 0 }
          : {}),
        ...(type === TYPE_MARK ? { lines: decodeMark(payload) } : {}),
      };
    }
  }
}
