/**
 * What the records of a WAL mean to a recovery: it is fed pieces in log order and keeps, per partition, the
 * log as it stands and whether it can be trusted. Decides between torn tail and damage; does no I/O. The
 * argument is DESIGN.md.
 * INVARIANT: after a gap (lsns that were durable and cannot be read) a partition is trusted only if a later
 * record of it, or a mark, names the very record before the gap as its last one; else it is damaged from
 * there on.
 * INVARIANT: only a whole new identity (META with RESET) ends damage.
 * INVARIANT: a copy changes neither what a log holds nor where it ends.
 */
import { decodeMark, decodeMeta, epochBelowCopy, type MarkLine } from './payloads.ts';
import {
  FLAG_COPY,
  FLAG_RESET,
  type RecordHeader,
  TYPE_DROP,
  TYPE_ENTRY,
  TYPE_MARK,
  TYPE_META,
  TYPE_TRUNCATE,
} from './record.ts';
import type { Piece } from './segment.ts';
import { PartitionLog } from './wal-index.ts';

/** The flags that each type may have. */
const FLAGS: Readonly<Record<number, number>> = { [TYPE_ENTRY]: FLAG_COPY, [TYPE_META]: FLAG_RESET };

/** A partition during replay. */
export interface Track {
  readonly log: PartitionLog;
  damage: string | null;
  /** Gaps that are proven not to have held a record of this partition. */
  gapsCleared: number;
  /** Its log begins before the first segment and no record has told yet where it stands. */
  unplaced: boolean;
  /**
   * Where its last record was a copy: the segment that has it, and the index that the next one of the run
   * has.
   */
  run: { readonly segment: number; readonly next: number } | null;
}

/** Where the good records of a segment go: returns the (segment, offset) at which the record will be read. */
export interface Placement {
  readonly segment: number;
  place(piece: Piece & { kind: 'record' }): number;
}

/** One segment's pieces with what is known of it. `nextBaseLsn` is null for the last segment. */
export interface SegmentPieces {
  readonly number: number;
  readonly baseLsn: number;
  readonly nextBaseLsn: number | null;
  readonly length: number;
  /** Null when the segment is missing or is not the one it should be. */
  readonly pieces: Iterable<Piece> | null;
}

export class Replay {
  readonly tracks = new Map<number, Track>();
  /** What was wrong, for the operator's log. */
  readonly problems: string[] = [];
  lastLsn: number;
  readonly #firstLsn: number;
  readonly #provenLsn: number;
  readonly #gaps: string[] = [];

  /**
   * `firstLsn` is the base of the first segment; everything up to `provenLsn` is known to have been durable.
   */
  constructor(firstLsn: number, provenLsn: number) {
    this.#firstLsn = firstLsn;
    this.#provenLsn = provenLsn;
    this.lastLsn = firstLsn - 1;
  }

  /** Takes one segment in and returns the offset where its good part ends. */
  segment(segment: SegmentPieces, placement: Placement): number {
    const where = `segment ${segment.number}`;
    if (this.lastLsn < segment.baseLsn - 1)
      this.#gap(segment.baseLsn - 1, `the end of what precedes ${where}`);
    if (segment.pieces === null) {
      this.#gap((segment.nextBaseLsn ?? this.#provenLsn + 1) - 1, `${where} is missing`);
      return 0;
    }
    let badFrom: number | null = null;
    for (const piece of segment.pieces) {
      if (piece.kind === 'bad' || !this.#fits(piece)) {
        badFrom ??= piece.offset;
        continue;
      }
      const { header, offset } = piece;
      const from = badFrom ?? offset;
      const before = header.type === TYPE_MARK ? header.lsn : header.lsn - 1;
      if (this.lastLsn < before) {
        if (this.#provenLsn <= this.lastLsn) return this.#torn(where, from);
        this.#gap(before, `${where} at ${from}`);
      } else if (badFrom !== null) this.problems.push(`${where}: a mark at ${badFrom} is unreadable`);
      badFrom = null;
      if (!piece.intact && this.#provenLsn < header.lsn) return this.#torn(where, from);
      if (!piece.intact) this.#damagedPayload(header, `${where} at ${offset}: payload damaged`);
      else this.#apply(piece, placement);
    }
    const lastDurable = (segment.nextBaseLsn ?? this.#provenLsn + 1) - 1;
    if (this.lastLsn < lastDurable) this.#gap(lastDurable, `${where} at ${badFrom ?? segment.length}`);
    else if (badFrom !== null && segment.nextBaseLsn === null) return this.#torn(where, badFrom);
    return badFrom ?? segment.length;
  }

  /**
   * Ends the replay: what no record has cleared is damaged, and what has no identity is forgotten and
   * returned.
   */
  finish(): number[] {
    const nameless: number[] = [];
    for (const [partition, track] of this.tracks) {
      if (track.gapsCleared < this.#gaps.length) this.#damage(track, this.#gapReason(track));
      if (track.log.meta?.damaged) track.damage ??= 'found damaged by an earlier recovery';
      if (track.log.meta !== null) continue;
      this.problems.push(
        `partition ${partition}: its identity is lost (${track.damage ?? 'no META record'})`,
      );
      this.tracks.delete(partition);
      nameless.push(partition);
    }
    return nameless;
  }

  /** Declares every partition damaged. */
  damageAll(reason: string): void {
    for (const track of this.tracks.values()) this.#damage(track, reason);
  }

  /**
   * Whether a record can stand here: its lsn is not behind us, and a mark is readable or else worth nothing.
   */
  #fits(piece: Piece & { kind: 'record' }): boolean {
    const { header, intact } = piece;
    return header.type === TYPE_MARK ? intact && header.lsn >= this.lastLsn : header.lsn > this.lastLsn;
  }

  #torn(where: string, offset: number): number {
    this.problems.push(`${where}: torn tail cut at ${offset}`);
    return offset;
  }

  #gap(to: number, where: string): void {
    const last = Math.max(to, this.lastLsn + 1);
    const reason = `lsn ${this.lastLsn + 1} to ${last} unreadable (${where})`;
    this.problems.push(reason);
    this.#gaps.push(reason);
    this.lastLsn = last;
  }

  #gapReason(track: Track): string {
    return this.#gaps[track.gapsCleared] ?? 'a record is missing';
  }

  #damage(track: Track, reason: string): void {
    if (track.damage === null) this.problems.push(`partition ${track.log.partition} is damaged: ${reason}`);
    track.damage ??= reason;
    track.gapsCleared = this.#gaps.length;
  }

  /**
   * The track of a record's partition, after checking that nothing between its last record and this one is
   * lost.
   */
  #follow(header: RecordHeader): Track {
    const { partition, previousLsn, lsn } = header;
    let track = this.tracks.get(partition);
    if (track === undefined) {
      track = this.#newTrack(partition);
      // Its earlier records were dropped with the log's head; gaps lie above that.
      if (previousLsn >= this.#firstLsn)
        this.#damage(track, 'records before its first readable one are missing');
    } else if (previousLsn === track.log.lastLsn) track.gapsCleared = this.#gaps.length;
    else this.#damage(track, this.#gapReason(track));
    track.log.lastLsn = lsn;
    return track;
  }

  #newTrack(partition: number): Track {
    const log = new PartitionLog(partition);
    const track = { log, damage: null, gapsCleared: this.#gaps.length, unplaced: true, run: null };
    this.tracks.set(partition, track);
    return track;
  }

  #damagedPayload(header: RecordHeader, reason: string): void {
    this.lastLsn = header.lsn;
    this.#damage(this.#follow(header), reason);
  }

  #apply(piece: Piece & { kind: 'record' }, placement: Placement): void {
    const { header, payload } = piece;
    const offset = placement.place(piece);
    if (header.type === TYPE_MARK) {
      this.#mark(decodeMark(payload));
      return;
    }
    this.lastLsn = header.lsn;
    if ((header.flags & ~(FLAGS[header.type] ?? 0)) !== 0) {
      this.#damage(this.#follow(header), `a record with the unknown flags ${header.flags}`);
      return;
    }
    const track = header.type === TYPE_META && header.flags & FLAG_RESET ? null : this.#follow(header);
    if (header.type === TYPE_META) this.#meta(track, header, payload, placement.segment);
    else if (header.type === TYPE_DROP) this.tracks.delete(header.partition);
    else if (track !== null) {
      const isCopy = header.type === TYPE_ENTRY && (header.flags & FLAG_COPY) !== 0;
      if (track.unplaced) {
        // A run begins at the last entry, so that a copy tells, too, where the log ends.
        track.log.reset(header.type === TYPE_ENTRY && !isCopy ? header.index - 1 : header.index, 0);
        track.unplaced = false;
      }
      if (!isCopy) track.run = null;
      if (isCopy) this.#copy(track, piece, placement.segment, offset);
      else if (header.type === TYPE_ENTRY) this.#entry(track, header, placement.segment, offset);
      else if (header.type === TYPE_TRUNCATE) this.#truncate(track, header);
      else this.#damage(track, `a record of the unknown type ${header.type}`);
    }
  }

  #entry(track: Track, header: RecordHeader, segment: number, offset: number): void {
    const { log } = track;
    if (track.damage !== null) return;
    if (header.index !== log.lastIndex + 1 || header.epoch < log.epochAt(log.lastIndex)) {
      this.#damage(track, `entry ${header.index} of epoch ${header.epoch} cannot follow ${log.lastIndex}`);
      return;
    }
    log.extend(header.index, header.epoch);
    log.store(segment, offset);
  }

  #copy(track: Track, piece: Piece & { kind: 'record' }, segment: number, offset: number): void {
    const { log, run } = track;
    const { header, payload } = piece;
    if (track.damage !== null) return;
    // Where a run begins, or goes on.
    const isNext = header.index === log.lastIndex || (run?.segment === segment && header.index === run.next);
    if (!isNext || !log.fits(header.index, header.epoch)) {
      this.#damage(track, `entry ${header.index} of epoch ${header.epoch} is no copy of one in this log`);
      return;
    }
    log.move(segment, header.index, header.epoch, offset);
    track.run = { segment, next: header.index - 1 };
    const below = epochBelowCopy(payload);
    if (below === 0) return;
    if (log.fits(header.index - 1, below)) log.noteBefore(header.index - 1, below);
    else this.#damage(track, `entry ${header.index - 1} is not of epoch ${below}, as a copy says`);
  }

  #truncate(track: Track, header: RecordHeader): void {
    if (track.damage === null && header.index > track.log.lastIndex) {
      this.#damage(track, `the log ends at ${track.log.lastIndex}, below a truncation to ${header.index}`);
    }
    track.log.truncate(header.index, header.epoch);
  }

  #meta(followed: Track | null, header: RecordHeader, payload: Uint8Array, segment: number): void {
    const meta = decodeMeta(payload);
    const track = followed ?? this.tracks.get(header.partition) ?? this.#newTrack(header.partition);
    const { log } = track;
    track.run = null;
    log.lastLsn = header.lsn;
    log.meta = meta;
    log.metaSegment = segment;
    if (followed === null) {
      log.reset(meta.baseIndex, meta.baseEpoch);
      track.damage = null;
      track.gapsCleared = this.#gaps.length;
    } else if (track.unplaced) log.reset(header.index, header.epoch);
    else if (track.damage === null) log.raiseBase(meta.baseIndex, meta.baseEpoch);
    track.unplaced = false;
    if (track.damage === null && log.lastIndex !== header.index) {
      this.#damage(track, `the log ends at ${log.lastIndex}, its META says ${header.index}`);
    }
  }

  #mark(lines: readonly MarkLine[]): void {
    const listed = new Set<number>();
    for (const line of lines) {
      listed.add(line.partition);
      const track = this.tracks.get(line.partition) ?? this.#newTrack(line.partition);
      const { log } = track;
      if (log.lastLsn === 0 && line.lastLsn < this.#firstLsn) {
        log.reset(line.lastIndex, line.lastEpoch);
        track.unplaced = false;
      } else if (log.lastLsn !== line.lastLsn) {
        this.#damage(track, this.#gapReason(track));
      } else if (track.damage === null && log.lastIndex !== line.lastIndex) {
        this.#damage(track, `the log ends at ${log.lastIndex}, a mark says ${line.lastIndex}`);
      }
      log.lastLsn = line.lastLsn;
      track.gapsCleared = this.#gaps.length;
    }
    for (const track of this.tracks.values()) {
      if (!listed.has(track.log.partition)) this.#damage(track, 'a mark does not know it any more');
    }
  }
}
