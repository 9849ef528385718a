/**
 * Recovery of a WAL directory, blocking: reads manifest and segments, replays them, and writes what the last
 * segment held to a new one before anything is trusted. Keeps no payloads and at most two segments' bytes in
 * memory.
 * INVARIANT: nothing is offered before it is fsynced *by this process*: what was read may exist in the page
 * cache only, left by a process whose fsync failed (Rebello et al., USENIX ATC 2020). Earlier segments are
 * safe: a segment is left only after a successful fsync.
 * INVARIANT: damage that is found is durable (META with `damaged`) before the bytes that showed it may go.
 */
import { dirname } from 'node:path';
import { type Disk, DiskError } from '../../common/disk.ts';
import { RingkeepError } from '../../common/errors.ts';
import {
  decodeManifest,
  encodeManifest,
  type ListedSegment,
  MANIFEST_NAME,
  type Manifest,
} from './manifest.ts';
import { encodeMark, encodeMeta } from './payloads.ts';
import { NO_PARTITION, segmentSeed, TYPE_DROP, TYPE_MARK, TYPE_META } from './record.ts';
import { type Placement, Replay } from './replay.ts';
import {
  decodeSegmentHeader,
  encodeSegmentHeader,
  type Piece,
  SEGMENT_HEADER_BYTES,
  scanSegment,
  segmentName,
  segmentNumber,
} from './segment.ts';
import { Tail } from './tail.ts';
import type { PartitionLog } from './wal-index.ts';

/** File name of the space held back for metas. */
export const RESERVE_NAME = 'RESERVE';

/** A segment of the recovered log. */
export interface SegmentState extends ListedSegment {
  bytes: number;
}

/** A recovered WAL directory. */
export interface Recovered {
  readonly salt: Uint8Array;
  /** The last one is new, ends at `bytes` and takes the next records. */
  readonly segments: SegmentState[];
  readonly logs: Map<number, PartitionLog>;
  readonly damage: ReadonlyMap<number, string>;
  /** Everything up to here is durable. */
  readonly lastLsn: number;
  readonly problems: readonly string[];
}

/** What the directory says of itself, before any record is read. */
interface Directory {
  readonly manifest: Manifest;
  /** All segment numbers there are, listed or not. */
  readonly numbers: readonly number[];
  readonly problem: string | null;
}

/** A segment's bytes if they are there and are its own. */
interface Loaded {
  readonly listed: ListedSegment;
  readonly bytes: Uint8Array | null;
}

function readIfThere(disk: Disk, path: string): Uint8Array | null {
  try {
    return disk.readSync(path);
  } catch (error) {
    // An unreadable file is damage like any other; what is missing is told by the manifest.
    if (error instanceof DiskError && (error.code === 'ENOENT' || error.code === 'EIO')) return null;
    throw error;
  }
}

/** Lists the segments by their own headers, for want of a manifest. */
function manifestFromHeaders(disk: Disk, directory: string, numbers: readonly number[]): Manifest | null {
  const segments: ListedSegment[] = [];
  let salt: Uint8Array | null = null;
  for (const number of numbers) {
    const bytes = readIfThere(disk, `${directory}/${segmentName(number)}`);
    const header = bytes === null ? null : decodeSegmentHeader(bytes);
    if (header?.number !== number || header.baseLsn < (segments.at(-1)?.baseLsn ?? 0)) continue;
    salt = header.salt;
    segments.push({ number, baseLsn: header.baseLsn });
  }
  return salt === null ? null : { salt, durableLsn: 0, segments };
}

/** Reads the manifest, or what can stand for it. `newSalt` is used for a directory without one. */
export function readDirectory(disk: Disk, directory: string, newSalt: () => Uint8Array): Directory {
  const numbers: number[] = [];
  for (const name of disk.listSync(directory)) {
    const number = segmentNumber(name);
    if (number !== null) numbers.push(number);
  }
  const bytes = readIfThere(disk, `${directory}/${MANIFEST_NAME}`);
  const manifest = bytes === null ? null : decodeManifest(bytes);
  if (manifest !== null) return { manifest, numbers, problem: null };
  const fallback = manifestFromHeaders(disk, directory, numbers);
  const fresh = bytes === null && numbers.length === 0;
  return {
    manifest: fallback ?? { salt: newSalt(), durableLsn: 0, segments: [] },
    numbers,
    problem: fresh ? null : 'the manifest is lost: nothing proves that the segments are all there',
  };
}

/** Reads a listed segment. */
export function loadSegment(disk: Disk, directory: string, salt: Uint8Array, listed: ListedSegment): Loaded {
  const bytes = readIfThere(disk, `${directory}/${segmentName(listed.number)}`);
  if (bytes === null || bytes.length < SEGMENT_HEADER_BYTES) return { listed, bytes: null };
  const header = decodeSegmentHeader(bytes);
  if (header !== null && (header.number !== listed.number || Buffer.compare(header.salt, salt) !== 0)) {
    return { listed, bytes: null };
  }
  if (header === null) {
    // Header bytes that were durable are gone. If no record is left either, these are not this segment's
    // bytes at all.
    let records = 0;
    for (const piece of scanSegment(bytes, segmentSeed(salt, listed.number))) {
      if (piece.kind === 'record') records++;
    }
    if (records === 0) return { listed, bytes: null };
  }
  return { listed, bytes };
}

/** The highest lsn that something readable proves to have been durable. */
function provenLsn(manifest: Manifest, last: Loaded | undefined): number {
  let proven = Math.max(manifest.durableLsn, (manifest.segments.at(-1)?.baseLsn ?? 1) - 1);
  if (last?.bytes == null) return proven;
  for (const piece of scanSegment(last.bytes, segmentSeed(manifest.salt, last.listed.number))) {
    if (piece.kind === 'record') proven = Math.max(proven, piece.header.durableLsn);
  }
  return proven;
}

/** Replays the log; records of the last segment are copied to `tail` on the way. */
function replayAll(disk: Disk, directory: string, manifest: Manifest, tail: Tail): Replay {
  const { salt, segments } = manifest;
  const lastListed = segments.at(-1);
  const last = lastListed && loadSegment(disk, directory, salt, lastListed);
  const replay = new Replay(segments[0]?.baseLsn ?? 1, provenLsn(manifest, last));
  for (const [at, listed] of segments.entries()) {
    const isLast = listed === lastListed;
    const { bytes } = isLast && last ? last : loadSegment(disk, directory, salt, listed);
    const placement: Placement = isLast
      ? { segment: tail.number, place: (piece: Piece & { kind: 'record' }) => tail.copy(piece) }
      : { segment: listed.number, place: (piece: Piece & { kind: 'record' }) => piece.offset };
    replay.segment(
      {
        number: listed.number,
        baseLsn: listed.baseLsn,
        nextBaseLsn: segments[at + 1]?.baseLsn ?? null,
        length: bytes?.length ?? 0,
        pieces: bytes === null ? null : scanSegment(bytes, segmentSeed(salt, listed.number)),
      },
      placement,
    );
  }
  return replay;
}

/**
 * Makes what was found durable in the tail: damage, lost identities, and a mark that proves everything before
 * it.
 */
function concludeTail(replay: Replay, nameless: readonly number[], tail: Tail): void {
  for (const { log, damage } of replay.tracks.values()) {
    if (damage === null || log.meta === null || log.meta.damaged) continue;
    log.meta = { ...log.meta, damaged: true };
    const payload = encodeMeta(log.meta);
    const epoch = log.epochAt(log.lastIndex);
    replay.lastLsn++;
    tail.add(TYPE_META, log.partition, log.lastIndex, epoch, replay.lastLsn, log.lastLsn, payload);
    log.lastLsn = replay.lastLsn;
    log.metaSegment = tail.number;
  }
  for (const partition of nameless) {
    replay.lastLsn++;
    tail.add(TYPE_DROP, partition, 0, 0, replay.lastLsn, 0, new Uint8Array(0));
  }
  const lines = [...replay.tracks.values()].map(({ log }) => log.markLine());
  tail.add(TYPE_MARK, NO_PARTITION, 0, 0, replay.lastLsn, 0, encodeMark(lines));
}

/** Runs `write`, and once more on the space of the reserve if the disk is full. */
function onReservedSpace(disk: Disk, directory: string, write: () => void): void {
  try {
    write();
  } catch (error) {
    if (!(error instanceof DiskError) || error.code !== 'ENOSPC') throw error;
    const reserve = `${directory}/${RESERVE_NAME}`;
    if (!disk.existsSync(reserve)) throw diskFull(error);
    disk.removeSync(reserve);
    try {
      write();
    } catch (again) {
      if (again instanceof DiskError && again.code === 'ENOSPC') throw diskFull(again);
      throw again;
    }
  }
}

function diskFull(cause: DiskError): RingkeepError {
  const text = 'the WAL needs room for a copy of its last segment to start';
  return new RingkeepError('DISK_FULL', text, 'not_applied', { cause });
}

/** Removes everything that the manifest does not list. */
function removeLeftovers(disk: Disk, directory: string, listed: readonly ListedSegment[]): void {
  const keep = new Set(listed.map(({ number }) => segmentName(number)));
  for (const name of disk.listSync(directory)) {
    const leftover = name.endsWith('.tmp') || (segmentNumber(name) !== null && !keep.has(name));
    if (leftover) disk.removeSync(`${directory}/${name}`);
  }
  disk.syncDirectorySync(directory);
}

/**
 * Recovers the WAL in `directory`, creating it when it is absent. Afterwards everything in the result is
 * durable. `found` is told the last lsn before anything is added. Damage is reported per partition and never thrown.
 * Throws RingkeepError FORMAT_TOO_NEW or DISK_FULL, DiskError when the disk fails.
 */
export function recover(
  disk: Disk,
  directory: string,
  newSalt: () => Uint8Array,
  found: (lastLsn: number) => void = () => {},
): Recovered {
  disk.makeDirectorySync(directory);
  const parent = dirname(directory);
  disk.syncDirectorySync(parent === '.' ? '' : parent);
  const { manifest, numbers, problem } = readDirectory(disk, directory, newSalt);
  const manifestPath = `${directory}/${MANIFEST_NAME}`;
  const baseLsn = manifest.segments.at(-1)?.baseLsn ?? 1;
  const number = Math.max(0, ...numbers, ...manifest.segments.map((segment) => segment.number)) + 1;
  const tail = new Tail(manifest.salt, number);
  const replay = replayAll(disk, directory, manifest, tail);
  if (problem !== null) {
    replay.problems.unshift(problem);
    replay.damageAll(problem);
  }
  found(replay.lastLsn);
  concludeTail(replay, replay.finish(), tail);
  const header = encodeSegmentHeader({ number, baseLsn, salt: manifest.salt });
  const contents = tail.contents(header);
  const earlier = manifest.segments.slice(0, -1);
  const segments = [...earlier, { number, baseLsn }];
  const next: Manifest = { salt: manifest.salt, durableLsn: replay.lastLsn, segments };
  onReservedSpace(disk, directory, () => {
    // A manifest without segments first: segments without a manifest then always mean that it was lost.
    if (manifest.segments.length === 0) disk.replaceSync(manifestPath, encodeManifest(manifest));
    disk.replaceSync(`${directory}/${segmentName(number)}`, contents);
    disk.replaceSync(manifestPath, encodeManifest(next));
  });
  removeLeftovers(disk, directory, segments);
  const logs = new Map<number, PartitionLog>();
  const damage = new Map<number, string>();
  for (const [partition, track] of replay.tracks) {
    logs.set(partition, track.log);
    if (track.damage !== null) damage.set(partition, track.damage);
  }
  return {
    salt: manifest.salt,
    segments: segments.map((segment) => ({
      ...segment,
      bytes: segment.number === number ? contents.length : sizeOf(disk, directory, segment.number),
    })),
    logs,
    damage,
    lastLsn: replay.lastLsn,
    problems: replay.problems,
  };
}

function sizeOf(disk: Disk, directory: string, number: number): number {
  const path = `${directory}/${segmentName(number)}`;
  if (!disk.existsSync(path)) return 0;
  const file = disk.openSync(path, false);
  const size = file.sizeSync();
  file.closeSync();
  return size;
}
