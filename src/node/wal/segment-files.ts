/**
 * The segment files of an open WAL: the one that is written, handles for reading the others, and the manifest
 * that lists them all. Creates and drops segments; knows nothing of groups or partitions.
 * INVARIANT: a segment is listed only after its header and its name are durable, and removed only after it is
 * not listed.
 * INVARIANT: a segment is left (`roll`) only when everything in it is durable; the caller calls between two
 * groups.
 * INVARIANT: behind the last group a file holds what a torn group left, and blanks.
 */
import { type Disk, DiskError, type DiskFile } from '../../common/disk.ts';
import { assert } from '../../common/errors.ts';
import { encodeManifest, MANIFEST_NAME } from './manifest.ts';
import { segmentSeed } from './record.ts';
import type { SegmentState } from './recovery.ts';
import { encodeSegmentHeader, SEGMENT_HEADER_BYTES, segmentName } from './segment.ts';

/** Handles kept open for reading: enough for a few followers that catch up at different places. */
const OPEN_MAX = 32;

/** In bytes: how long a segment gets, and how far its file grows at once while it is shorter. */
export interface SegmentSizes {
  readonly segmentBytes: number;
  readonly aheadBytes: number;
}

interface OpenFile {
  readonly file: DiskFile;
  users: number;
  dropped: boolean;
}

/** Blanks to be written; never changed. */
let zeroes = new Uint8Array(0);

function blanks(length: number): Uint8Array {
  if (zeroes.length < length) zeroes = new Uint8Array(length);
  return zeroes.subarray(0, length);
}

/** Returns what a blocking call threw if it is the disk's; anything else is a bug and goes on its way. */
export function diskError(error: unknown): DiskError {
  if (error instanceof DiskError) return error;
  throw error;
}

export class SegmentFiles {
  readonly #disk: Disk;
  readonly #directory: string;
  readonly #salt: Uint8Array;
  readonly #segments: SegmentState[];
  readonly #sizes: SegmentSizes;
  #current: SegmentState;
  #file: DiskFile;
  /** Where the current segment's file ends: behind its last group it is blank. */
  #fileEnd: number;
  #nextNumber: number;
  /** In order of last use. */
  readonly #open = new Map<number, OpenFile>();
  /** Seed of the current segment's header checksums. */
  seed: number;
  /** Bytes given to the disk so far: groups, also those that met a full disk, blanks, and headers. */
  written = 0;

  constructor(
    disk: Disk,
    directory: string,
    salt: Uint8Array,
    segments: SegmentState[],
    sizes: SegmentSizes,
  ) {
    const current = segments.at(-1);
    assert(current !== undefined, 'an open WAL has a segment');
    this.#disk = disk;
    this.#directory = directory;
    this.#salt = salt;
    this.#segments = segments;
    this.#sizes = sizes;
    this.#current = current;
    this.#fileEnd = current.bytes;
    this.#nextNumber = current.number + 1;
    this.#file = disk.openSync(this.#path(current.number), false);
    this.seed = segmentSeed(salt, current.number);
  }

  /** Number and length of the segment that takes the next group. */
  get current(): Readonly<SegmentState> {
    return this.#current;
  }

  /** Number of the oldest segment. */
  get firstNumber(): number {
    return this.#segments[0]?.number ?? this.#current.number;
  }

  /** Bytes in all segments. */
  bytes(): number {
    let sum = 0;
    for (const segment of this.#segments) sum += segment.bytes;
    return sum;
  }

  /** Bytes in the segments before `number`. */
  bytesBefore(number: number): number {
    let sum = 0;
    for (const segment of this.#segments) if (segment.number < number) sum += segment.bytes;
    return sum;
  }

  /** Number of the newest segment that, with those after it, holds `bytes`; the oldest when all do not. */
  holding(bytes: number): number {
    let sum = 0;
    for (const segment of this.#segments.toReversed()) {
      sum += segment.bytes;
      if (sum >= bytes) return segment.number;
    }
    return this.firstNumber;
  }

  /**
   * Writes a group's chunks behind the last group and fsyncs them. A file that has to grow grows ahead, if it may, for an
   * fsync that changes no length needs no commit of the file system. `written` tells which of the two failed.
   */
  append(
    chunks: readonly Uint8Array[],
    length: number,
    mayGrowAhead: boolean,
    done: (error: DiskError | null, written: boolean) => void,
  ): void {
    const file = this.#file;
    const segment = this.#current;
    const end = segment.bytes + length;
    const aheadEnd = Math.min(end + this.#sizes.aheadBytes, this.#sizes.segmentBytes);
    const ahead = mayGrowAhead && end > this.#fileEnd && aheadEnd > end ? [blanks(aheadEnd - end)] : [];
    this.#fileEnd = Math.max(this.#fileEnd, ahead.length > 0 ? aheadEnd : end);
    this.written += length + (ahead[0]?.length ?? 0);
    file.write(segment.bytes, [...chunks, ...ahead], (writeError) => {
      if (writeError?.code === 'ENOSPC' && ahead.length > 0) {
        // It may have room for the group.
        try {
          this.cutBack();
          this.append(chunks, length, false, done);
        } catch (error) {
          done(diskError(error), false);
        }
        return;
      }
      if (writeError !== null) {
        done(writeError, false);
        return;
      }
      file.sync((syncError) => {
        if (syncError === null) segment.bytes += length;
        done(syncError, true);
      });
    });
  }

  /** Takes back what a failed write may have left behind the last group. Throws DiskError. */
  cutBack(): void {
    this.#file.truncateSync(this.#current.bytes);
    this.#fileEnd = this.#current.bytes;
  }

  /** Takes back the blanks of a segment that is left. If the disk refuses, they stay: recovery takes no notice of them. */
  #cutBlanks(): void {
    if (this.#fileEnd === this.#current.bytes) return;
    try {
      this.cutBack();
    } catch (error) {
      diskError(error);
    }
  }

  /** Starts a new segment. ENOSPC leaves everything as it was; any other error is final. */
  roll(baseLsn: number, done: (error: DiskError | null) => void): void {
    const number = this.#nextNumber++;
    const path = this.#path(number);
    const header = encodeSegmentHeader({ number, baseLsn, salt: this.#salt });
    const next: SegmentState = { number, baseLsn, bytes: SEGMENT_HEADER_BYTES };
    let file: DiskFile;
    try {
      file = this.#disk.openSync(path, true);
    } catch (error) {
      done(diskError(error));
      return;
    }
    const giveUp = (error: DiskError): void => {
      // The next recovery removes the file if this does not.
      file.closeSync();
      if (error.code === 'ENOSPC') this.#disk.removeSync(path);
      done(error);
    };
    this.written += header.byteLength;
    file.write(0, [header], (writeError) => {
      if (writeError !== null) {
        giveUp(writeError);
        return;
      }
      file.sync((syncError) => {
        if (syncError !== null) {
          // fsync is never retried, whatever it says.
          done(syncError);
          return;
        }
        try {
          this.#disk.syncDirectorySync(this.#directory);
          this.#writeManifest([...this.#segments, next], baseLsn - 1);
        } catch (error) {
          giveUp(diskError(error));
          return;
        }
        this.#cutBlanks();
        this.#segments.push(next);
        this.#keepOpen(this.#current.number, this.#file);
        this.#current = next;
        this.#file = file;
        this.#fileEnd = next.bytes;
        this.seed = segmentSeed(this.#salt, number);
        done(null);
      });
    });
  }

  /**
   * Removes the segments before `number`, which stays. Throws DiskError; after ENOSPC nothing has changed.
   */
  dropBefore(number: number, durableLsn: number): void {
    const kept = this.#segments.filter((segment) => segment.number >= number);
    assert(kept.at(-1) === this.#current, 'the current segment stays');
    const dropped = this.#segments.slice(0, this.#segments.length - kept.length);
    if (dropped.length === 0) return;
    this.#writeManifest(kept, durableLsn);
    this.#segments.splice(0, dropped.length);
    for (const segment of dropped) {
      const open = this.#open.get(segment.number);
      if (open !== undefined) {
        open.dropped = true;
        this.#open.delete(segment.number);
        this.#closeUnused(open);
      }
      // A segment that damage has taken is listed still, but not there.
      const path = this.#path(segment.number);
      if (this.#disk.existsSync(path)) this.#disk.removeSync(path);
    }
    this.#disk.syncDirectorySync(this.#directory);
  }

  /** Reads bytes of a segment; fewer at its end. */
  read(
    number: number,
    offset: number,
    length: number,
    done: (error: DiskError | null, bytes?: Uint8Array) => void,
  ): void {
    if (number === this.#current.number) {
      this.#file.read(offset, length, done);
      return;
    }
    const known = this.#open.get(number);
    let open: OpenFile;
    try {
      open = known ?? this.#keepOpen(number, this.#disk.openSync(this.#path(number), false));
    } catch (error) {
      done(diskError(error));
      return;
    }
    this.#open.delete(number);
    this.#open.set(number, open);
    open.users++;
    open.file.read(offset, length, (error, bytes) => {
      open.users--;
      this.#closeUnused(open);
      done(error, bytes);
    });
  }

  /** Closes all files; nothing may be called afterwards. `clean`: nothing has failed, and no group is left half written. */
  close(clean: boolean): void {
    if (clean) this.#cutBlanks();
    this.#file.closeSync();
    for (const open of this.#open.values()) {
      open.dropped = true;
      this.#closeUnused(open);
    }
    this.#open.clear();
  }

  #path(number: number): string {
    return `${this.#directory}/${segmentName(number)}`;
  }

  #writeManifest(segments: readonly SegmentState[], durableLsn: number): void {
    const path = `${this.#directory}/${MANIFEST_NAME}`;
    this.#disk.replaceSync(path, encodeManifest({ salt: this.#salt, durableLsn, segments }));
  }

  #keepOpen(number: number, file: DiskFile): OpenFile {
    const open = { file, users: 0, dropped: false };
    this.#open.set(number, open);
    for (const [oldest, other] of this.#open) {
      if (this.#open.size <= OPEN_MAX) break;
      if (other.users > 0 || other === open) continue;
      this.#open.delete(oldest);
      other.file.closeSync();
    }
    return open;
  }

  #closeUnused(open: OpenFile): void {
    if (open.dropped && open.users === 0) open.file.closeSync();
  }
}
