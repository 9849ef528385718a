/**
 * Reads entries back through the index, with few disk calls and every checksum verified. Neighbouring entries
 * of one partition are fetched with one call even though other partitions' records lie between; a large hole
 * starts a new call. The places are taken when the read begins: bytes of a segment never change, so what
 * happens to the log meanwhile cannot mix into the answer. Only if its segment is gone, an entry is looked up
 * again.
 * INVARIANT: no byte is returned that did not pass both checksums and is not the entry that was asked for.
 */
import { DiskError } from '../../common/disk.ts';
import { copiedPayload } from './payloads.ts';
import {
  byteView,
  FLAG_COPY,
  getHeader,
  HEADER_BYTES,
  payloadAt,
  payloadIntact,
  recordLength,
  segmentSeed,
  TYPE_ENTRY,
} from './record.ts';
import type { SegmentFiles } from './segment-files.ts';
import type { WalEntry } from './types.ts';
import type { PartitionLog } from './wal-index.ts';

/** Foreign bytes between two entries that are read along rather than skipped. */
const HOLE_BYTES = 16 * 1024;
/** One disk call reads at most about this much, unless a single record is longer. */
const WINDOW_BYTES = 256 * 1024;
/** What is read of the last record of a window before its length is known. */
const GUESS_BYTES = 4 * 1024;
/** Entries looked at in one call of `read`. */
const PLAN_MAX = 1024;

type Done = (error: DiskError | null, result?: { gone: boolean; entries: WalEntry[] }) => void;

interface Place {
  readonly index: number;
  readonly epoch: number;
  readonly segment: number;
  readonly offset: number;
}

/**
 * Where the entry at `place` lies in a read's bytes: its payload, or the length that is needed, or null if it
 * is bad.
 */
export function entryFrom(
  bytes: Uint8Array,
  at: number,
  seed: number,
  partition: number,
  place: Place,
): WalEntry | number | null {
  const source = byteView(bytes);
  if (at + HEADER_BYTES > bytes.length) return HEADER_BYTES;
  const header = getHeader(source, at, seed, place.offset);
  if (header === null || header.type !== TYPE_ENTRY || header.partition !== partition) return null;
  if (header.index !== place.index || header.epoch !== place.epoch) return null;
  const length = recordLength(header.payloadLength);
  if (at + length > bytes.length) return length;
  if (!payloadIntact(bytes, at, header)) return null;
  const payload = payloadAt(bytes, at, header);
  const own = (header.flags & FLAG_COPY) === 0 ? payload : copiedPayload(payload);
  return { index: place.index, epoch: place.epoch, payload: own.slice() };
}

export class EntryReader {
  readonly #files: SegmentFiles;
  readonly #salt: Uint8Array;

  constructor(files: SegmentFiles, salt: Uint8Array) {
    this.#files = files;
    this.#salt = salt;
  }

  /** See `Wal.read`. Buffered entries are answered before the call returns. */
  read(log: PartitionLog | undefined, from: number, countMax: number, bytesMax: number, done: Done): void {
    if (log === undefined || from < log.firstIndex) done(null, { gone: true, entries: [] });
    else if (from > log.lastIndex) done(null, { gone: false, entries: [] });
    else if (from > log.storedLast) {
      done(null, { gone: false, entries: this.#buffered(log, from, countMax, bytesMax) });
    } else {
      const places: Place[] = [];
      const count = Math.max(1, Math.min(countMax, PLAN_MAX, log.storedLast - from + 1));
      for (let index = from; index < from + count; index++) {
        places.push({ index, epoch: log.epochAt(index), ...log.locate(index) });
      }
      this.#fetch(log.partition, places, bytesMax, (error, result) => {
        // The head went meanwhile; the entry may have a copy.
        if (error?.code === 'ENOENT' && isMoved(log, places)) this.read(log, from, countMax, bytesMax, done);
        else done(error, result);
      });
    }
  }

  #buffered(log: PartitionLog, from: number, countMax: number, bytesMax: number): WalEntry[] {
    const entries: WalEntry[] = [];
    let bytes = 0;
    for (let index = from; index <= log.lastIndex; index++) {
      const entry = log.pendingAt(index);
      if (entry === undefined) break;
      entries.push({ index, epoch: entry.epoch, payload: entry.payload.slice() });
      bytes += entry.payload.length;
      if (entries.length >= countMax || bytes >= bytesMax) break;
    }
    return entries;
  }

  #fetch(partition: number, places: readonly Place[], bytesMax: number, done: Done): void {
    const entries: WalEntry[] = [];
    let bytes = 0;
    const finish = (error: DiskError | null): void => {
      // What was read before a bad entry is good; the next read meets the bad one first.
      if (error !== null && entries.length === 0) done(error);
      else done(null, { gone: false, entries });
    };
    const step = (at: number, lengthMin: number): void => {
      const first = places[at];
      if (first === undefined || (entries.length > 0 && bytes >= bytesMax)) {
        finish(null);
        return;
      }
      const { from, length: guessed } = windowFrom(places, at, bytesMax - bytes);
      const length = Math.max(first.offset - from + lengthMin, guessed);
      this.#files.read(first.segment, from, length, (error, window) => {
        if (error !== null || window === undefined) {
          finish(error ?? new DiskError('EIO', 'nothing was read'));
          return;
        }
        const seed = segmentSeed(this.#salt, first.segment);
        let next = at;
        for (; next < places.length && (entries.length === 0 || bytes < bytesMax); next++) {
          const place = places[next];
          if (place === undefined || place.segment !== first.segment) break;
          const within = place.offset - from;
          if (within < 0 || within >= length) break;
          const entry = entryFrom(window, within, seed, partition, place);
          const short = typeof entry === 'number' && next > at;
          if (short) break;
          if (typeof entry === 'number' && within + entry > length) {
            step(at, entry);
            return;
          }
          if (entry === null || typeof entry === 'number') {
            const where = `segment ${place.segment} at ${place.offset}`;
            finish(new DiskError('EIO', `damaged: partition ${partition} entry ${place.index}, ${where}`));
            return;
          }
          entries.push(entry);
          bytes += entry.payload.length;
        }
        step(next, 0);
      });
    };
    step(0, 0);
  }
}

/** Whether the first of `places` is not where it was. */
function isMoved(log: PartitionLog, [first]: readonly Place[]): boolean {
  if (first === undefined || first.index < log.firstIndex || first.index > log.storedLast) return true;
  return log.locate(first.index).segment !== first.segment;
}

/**
 * The bytes to read for `places[at]` and its neighbours. Copies lie in descending order, so it may begin
 * before.
 */
function windowFrom(
  places: readonly Place[],
  at: number,
  bytesMax: number,
): { from: number; length: number } {
  let last = places[at];
  let from = last?.offset ?? 0;
  let to = from;
  const limit = Math.min(WINDOW_BYTES, Math.max(bytesMax, 0) + GUESS_BYTES);
  for (let next = at + 1; next < places.length; next++) {
    const place = places[next];
    if (last === undefined || place === undefined) break;
    if (place.segment !== last.segment || Math.abs(place.offset - last.offset) > HOLE_BYTES) break;
    if (Math.max(to, place.offset) - Math.min(from, place.offset) > limit) break;
    from = Math.min(from, place.offset);
    to = Math.max(to, place.offset);
    last = place;
  }
  return { from, length: to - from + GUESS_BYTES };
}
