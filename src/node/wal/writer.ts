/**
 * The open WAL: appends, groups, marks, full disks and dropping the head. One group at a time is written and
 * fsynced; what is appended meanwhile is the next one. The crash argument is in DESIGN.md.
 * INVARIANT: group g + 1 is written only after the fsync of g has returned: the durable lsn in a record proves all up to it.
 * INVARIANT: nothing is retried after a failed fsync; a group that met a full disk is written again at the same place, byte
 * for byte (more may follow it).
 */
import { type Disk, DiskError } from '../../common/disk.ts';
import { assert } from '../../common/errors.ts';
import { copyHeld, firstNeeded } from './copies.ts';
import { Group, SlabPool } from './group.ts';
import { encodeCopy, encodeMark, encodeMeta } from './payloads.ts';
import { EntryReader } from './reader.ts';
import {
  FLAG_COPY,
  FLAG_RESET,
  NO_PARTITION,
  TYPE_DROP,
  TYPE_ENTRY,
  TYPE_MARK,
  TYPE_META,
  TYPE_TRUNCATE,
} from './record.ts';
import type { Recovered } from './recovery.ts';
import { SEGMENT_HEADER_BYTES } from './segment.ts';
import { SegmentFiles, type SegmentSizes } from './segment-files.ts';
import { SpaceReserve } from './space.ts';
import type { ReplicaMeta, Wal, WalAppend, WalEntry, WalListener } from './types.ts';
import { PartitionLog } from './wal-index.ts';

/** Sizes in bytes, times in ms. */
export interface WriterOptions extends SegmentSizes {
  readonly reserveBytes: number;
  readonly markIdleMs: number;
  readonly fullRetryMs: number;
  /** How much of what holds the head back one call of `truncateHead` copies, and its first run alone. */
  readonly copyBytes: number;
  readonly copyRunBytes: number;
}

/** A head that goes once `lsn` is durable. */
interface HeadCut {
  readonly segment: number;
  readonly lsn: number;
  readonly floors: ReadonlyMap<number, number>;
}

type Phase = 'idle' | 'writing' | 'waiting' | 'failed' | 'closed';

const NOTHING = new Uint8Array(0);

export class WalWriter implements Wal {
  readonly #schedule: (delayMs: number, run: () => void) => void;
  readonly #listener: WalListener;
  readonly #options: WriterOptions;
  readonly #logs: Map<number, PartitionLog>;
  readonly #files: SegmentFiles;
  readonly #reader: EntryReader;
  readonly #space: SpaceReserve;
  readonly #pool = new SlabPool();
  #phase: Phase = 'idle';
  #building = new Group(this.#pool);
  #writing: Group | null = null;
  #lastLsn: number;
  /** Records written on the WAL's own account: a caller's lsn is that much smaller than the one in the file. */
  #ownRecords = 0;
  #durableLsn: number;
  #markedLsn: number;
  #groups = 0;
  #markArmed = false;
  #full = false;
  #restoring = false;
  /** What holds the head back is being read and copied. */
  #copying = false;
  #headCut: HeadCut | null = null;
  #closing: ((error: DiskError | null) => void) | null = null;
  #failure: DiskError | null = null;

  /** Takes over what a recovery has found. */
  constructor(
    disk: Disk,
    directory: string,
    recovered: Recovered,
    schedule: (delayMs: number, run: () => void) => void,
    listener: WalListener,
    options: WriterOptions,
  ) {
    this.#schedule = schedule;
    this.#listener = listener;
    this.#options = options;
    this.#logs = recovered.logs;
    this.#lastLsn = recovered.lastLsn;
    this.#durableLsn = recovered.lastLsn;
    this.#markedLsn = recovered.lastLsn;
    this.#files = new SegmentFiles(disk, directory, recovered.salt, recovered.segments, options);
    this.#reader = new EntryReader(this.#files, recovered.salt);
    const spareBytes = Math.min(options.segmentBytes, Math.max(options.reserveBytes, 64 * 1024));
    this.#space = new SpaceReserve(disk, directory, options.reserveBytes, spareBytes);
    if (!this.#space.restoreSync()) schedule(0, () => this.#enterFull());
  }

  // ------------------------------------------------------------ Wal

  append(record: WalAppend): number {
    const lsn = this.#append(record) - this.#ownRecords;
    this.#building.callerLsn = lsn;
    return lsn;
  }

  #append(record: WalAppend): number {
    assert(this.#closing === null, 'nothing is appended to a closing WAL');
    if (this.#building.empty) this.#beginGroup();
    const lsn = ++this.#lastLsn;
    const log = this.#logs.get(record.partition);
    this.#building.lastLsn = lsn;
    if (record.type === 'meta') {
      this.#appendMeta(log ?? this.#newLog(record.partition), record.meta, lsn);
      return lsn;
    }
    assert(log?.meta, `partition ${record.partition} has a meta before any ${record.type}`);
    const { partition, lastLsn } = log;
    if (record.type === 'entry') {
      const { index, epoch, payload } = record;
      log.extend(index, epoch);
      const copy = this.#building.add(TYPE_ENTRY, 0, partition, index, epoch, lsn, lastLsn, payload);
      const entry = { log, index, epoch, payload: copy, offset: 0, dead: false, copiedAt: null };
      log.addPending(entry);
      this.#building.entries.push(entry);
    } else if (record.type === 'truncate') {
      const { index } = record;
      assert(index <= log.lastIndex, `partition ${partition}: truncation to ${index} above ${log.lastIndex}`);
      const epoch = log.epochAt(index);
      log.truncate(index, epoch);
      this.#building.add(TYPE_TRUNCATE, 0, partition, index, epoch, lsn, lastLsn, NOTHING);
    } else {
      log.reset(0, 0);
      this.#logs.delete(partition);
      this.#building.add(TYPE_DROP, 0, partition, 0, 0, lsn, lastLsn, NOTHING);
    }
    log.lastLsn = lsn;
    return lsn;
  }

  flush(): void {
    if (this.#building.empty) return;
    if (this.#phase === 'idle') this.#start();
    else if (this.#phase === 'waiting' && this.#building.metas.length > 0) this.#retry();
  }

  read(
    partition: number,
    from: number,
    countMax: number,
    bytesMax: number,
    done: (error: DiskError | null, result?: { gone: boolean; entries: WalEntry[] }) => void,
  ): void {
    this.#reader.read(this.#logs.get(partition), from, countMax, bytesMax, done);
  }

  truncateHead(floors: ReadonlyMap<number, number>, keepBytes: number): void {
    // The next checkpoint asks again.
    if (this.#copying || this.#headCut !== null || !this.#takesMore()) return;
    const segment = this.#files.holding(keepBytes);
    if (segment <= this.#files.firstNumber) return;
    this.#copying = true;
    const job = {
      logs: this.#logs,
      floors,
      segment,
      bytesMax: this.#files.bytesBefore(segment) / 4,
      callBytesMax: this.#options.copyBytes,
      runBytesMax: this.#options.copyRunBytes,
      mayAppend: () => !this.#full && this.#takesMore(),
      append: (log: PartitionLog, from: number, stored: readonly WalEntry[]) =>
        this.#appendRun(log, from, stored),
    };
    copyHeld(job, this.#reader, (reached) => {
      this.#copying = false;
      if (this.#takesMore()) this.#planCut(reached, floors);
    });
  }

  firstIndex(partition: number): number {
    return this.#logs.get(partition)?.firstIndex ?? 1;
  }

  durableLsn(): number {
    return this.#durableLsn;
  }

  bytes(): number {
    return this.#files.bytes();
  }
  writtenBytes(): number {
    return this.#files.written;
  }

  close(done: (error: DiskError | null) => void): void {
    assert(this.#closing === null, 'a WAL is closed once');
    this.#closing = done;
    if (this.#phase === 'idle') this.#continueClosing();
    else if (this.#phase === 'waiting')
      this.#finishClosing(new DiskError('ENOSPC', 'the last records are not written'));
    else if (this.#phase === 'failed') this.#finishClosing(this.#failure);
  }

  // ------------------------------------------------------------ appending

  #newLog(partition: number): PartitionLog {
    const log = new PartitionLog(partition);
    this.#logs.set(partition, log);
    return log;
  }

  #appendMeta(log: PartitionLog, meta: ReplicaMeta, lsn: number): void {
    const reset = log.meta?.replica !== meta.replica;
    if (reset) log.reset(meta.baseIndex, meta.baseEpoch);
    else log.raiseBase(meta.baseIndex, meta.baseEpoch);
    log.meta = meta;
    if (reset) log.metaSegment = 0;
    const { partition, lastIndex, lastLsn } = log;
    const payload = encodeMeta(meta);
    const flags = reset ? FLAG_RESET : 0;
    const epoch = log.epochAt(lastIndex);
    this.#building.add(TYPE_META, flags, partition, lastIndex, epoch, lsn, lastLsn, payload);
    this.#building.metas.push(log);
    log.lastLsn = lsn;
  }

  /**
   * Whether the next group opens a new segment is settled here, since its first record is the mark that
   * begins one.
   */
  #beginGroup(): void {
    const writing = this.#writing;
    // A group that is about to open a segment is the first in it.
    const before = writing?.roll ? SEGMENT_HEADER_BYTES : this.#files.current.bytes;
    const ahead = before + (writing?.bytes ?? 0);
    if (ahead < this.#options.segmentBytes) return;
    this.#building.roll = true;
    this.#addMark();
  }

  #addMark(): void {
    const lines = [];
    for (const log of this.#logs.values()) lines.push(log.markLine());
    this.#building.add(TYPE_MARK, 0, NO_PARTITION, 0, 0, this.#lastLsn, 0, encodeMark(lines));
  }

  // ------------------------------------------------------------ groups

  #start(): void {
    const group = this.#building;
    this.#building = new Group(this.#pool);
    this.#writing = group;
    this.#phase = 'writing';
    if (this.#full) group.roll = false;
    if (this.#full && !this.#mayWrite(group)) this.#guarded(() => this.#wait(group));
    else if (!group.roll) this.#write(group);
    else {
      this.#files.roll(this.#durableLsn + 1, (error) => {
        group.roll = false;
        if (error?.code === 'ENOSPC') this.#enterFull();
        else if (error !== null) this.#fail(error);
        // Without room for a new segment the group goes to the old one, if there is room for it at all.
        if (this.#phase === 'writing') this.#write(group);
      });
    }
  }

  #write(group: Group): void {
    this.#phase = 'writing';
    const { seed, current } = this.#files;
    const chunks = group.seal(this.#durableLsn, seed, current.bytes);
    this.#files.append(chunks, group.bytes, !this.#full, (error, written) => {
      if (error === null) this.#finish(group);
      else if (written || error.code !== 'ENOSPC') this.#fail(error);
      else this.#guarded(() => this.#noSpace(group));
    });
  }

  #finish(group: Group): void {
    const segment = this.#files.current.number;
    for (const entry of group.entries) {
      if (!entry.dead) entry.log.storePending(segment, entry);
    }
    for (const log of group.metas) log.metaSegment = segment;
    group.recycle();
    this.#writing = null;
    this.#phase = 'idle';
    this.#groups++;
    if (group.lastLsn === 0) this.#markedLsn = this.#durableLsn;
    else {
      this.#durableLsn = group.lastLsn;
      if (group.callerLsn !== 0) this.#listener.durable(group.callerLsn);
    }
    this.#guarded(() => this.#next());
  }

  /** What follows a group, or the end of a wait. */
  #next(): void {
    this.#cutHead();
    if (this.#full) this.#leaveFull();
    if (this.#phase !== 'idle') return;
    if (!this.#building.empty) this.#start();
    else if (this.#closing !== null) this.#continueClosing();
    else if (this.#markedLsn < this.#durableLsn) this.#armMark();
  }

  /** Writes a mark once nothing has come for a while. One timer at a time. */
  #armMark(): void {
    if (this.#markArmed) return;
    this.#markArmed = true;
    const groups = this.#groups;
    this.#schedule(this.#options.markIdleMs, () => {
      this.#markArmed = false;
      if (this.#phase === 'failed' || this.#phase === 'closed') return;
      if (this.#markedLsn === this.#durableLsn) return;
      if (this.#phase !== 'idle' || this.#groups !== groups || !this.#building.empty) this.#armMark();
      else this.#writeMark();
    });
  }

  #writeMark(): void {
    this.#addMark();
    this.#start();
  }

  #fail(error: DiskError): void {
    if (this.#phase === 'failed') return;
    this.#phase = 'failed';
    this.#failure = error;
    this.#listener.failed(error);
    if (this.#closing !== null) this.#finishClosing(error);
  }

  /** Turns a DiskError of a blocking call into the end. */
  #guarded(run: () => void): void {
    try {
      run();
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      this.#fail(error);
    }
  }

  // ------------------------------------------------------------ full disk

  #noSpace(group: Group): void {
    this.#files.cutBack();
    this.#enterFull();
    if (group.metas.length > 0 && this.#space.free()) this.#write(group);
    else this.#wait(group);
  }

  /** Whether a group may use the space there is: metas may, entries leave what the reserve needs. */
  #mayWrite(group: Group): boolean {
    return group.metas.length > 0 || this.#space.roomFor(group.bytes);
  }

  #wait(group: Group): void {
    if (group.lastLsn === 0) {
      // A mark alone is not worth waiting for.
      group.recycle();
      this.#writing = null;
      this.#phase = 'idle';
      this.#markedLsn = this.#durableLsn;
      this.#next();
    } else if (this.#closing !== null) {
      this.#finishClosing(new DiskError('ENOSPC', 'the last records are not written'));
    } else {
      this.#phase = 'waiting';
      // Metas that were appended meanwhile do not wait.
      if (this.#building.metas.length > 0 && this.#space.present) this.#retry();
    }
  }

  #enterFull(): void {
    if (this.#full || this.#phase === 'failed' || this.#phase === 'closed') return;
    this.#full = true;
    this.#armFullRetry();
    this.#listener.full(true);
  }

  #armFullRetry(): void {
    this.#schedule(this.#options.fullRetryMs, () => {
      if (!this.#full || this.#phase === 'failed' || this.#phase === 'closed') return;
      this.#guarded(() => {
        if (this.#phase === 'waiting') this.#retry();
        else if (this.#phase === 'idle') this.#leaveFull();
      });
      if (this.#full) this.#armFullRetry();
    });
  }

  /** Writes the waiting group again, with everything that has come since. */
  #retry(): void {
    const group = this.#writing;
    assert(group !== null && this.#phase === 'waiting', 'a group waits');
    group.absorb(this.#building);
    this.#building = new Group(this.#pool);
    if (this.#mayWrite(group)) this.#write(group);
  }

  #leaveFull(): void {
    if (this.#restoring || !this.#space.enough()) return;
    this.#restoring = true;
    this.#space.restore((error) => {
      this.#restoring = false;
      if (this.#phase === 'failed' || this.#phase === 'closed') return;
      if (error !== null) {
        if (error.code !== 'ENOSPC') this.#fail(error);
        return;
      }
      if (!this.#full) return;
      this.#full = false;
      this.#listener.full(false);
    });
  }

  // ------------------------------------------------------------ head and end

  /** Whether records may still be appended. */
  #takesMore(): boolean {
    return this.#closing === null && this.#phase !== 'failed' && this.#phase !== 'closed';
  }

  /**
   * Copies the entries from the last one down to `from`; those on the disk are given, the rest is pending.
   */
  #appendRun(log: PartitionLog, from: number, stored: readonly WalEntry[]): void {
    const { partition, removals: copiedAt } = log;
    for (let index = log.lastIndex; index >= from; index--) {
      const entry = stored[index - from] ?? log.pendingAt(index);
      assert(entry?.index === index, `partition ${partition}: entry ${index} is there to be copied`);
      if (this.#building.empty) this.#beginGroup();
      const { epoch } = entry;
      const payload = encodeCopy(log.epochAt(index - 1), entry.payload);
      const lsn = this.#ownLsn();
      this.#building.add(TYPE_ENTRY, FLAG_COPY, partition, index, epoch, lsn, log.lastLsn, payload);
      this.#building.entries.push({ log, index, epoch, payload: NOTHING, offset: 0, dead: false, copiedAt });
      log.lastLsn = lsn;
    }
    this.flush();
  }

  #planCut(segment: number, floors: ReadonlyMap<number, number>): void {
    if (segment <= this.#files.firstNumber) return;
    for (const log of this.#logs.values()) {
      if (log.metaSegment >= segment || log.meta === null) continue;
      if (this.#building.empty) this.#beginGroup();
      this.#appendMeta(log, log.meta, this.#ownLsn());
    }
    this.#headCut = { segment, lsn: this.#lastLsn, floors };
    this.flush();
    this.#cutHead();
  }

  /** An lsn that is not one of the caller's: callers count on theirs being consecutive. */
  #ownLsn(): number {
    this.#ownRecords++;
    this.#building.lastLsn = ++this.#lastLsn;
    return this.#lastLsn;
  }

  #cutHead(): void {
    const cut = this.#headCut;
    if (cut === null || this.#durableLsn < cut.lsn) return;
    this.#headCut = null;
    // A log that changed while it was copied may have kept its places.
    const segment = firstNeeded(this.#logs, cut.floors, cut.segment);
    this.#guarded(() => {
      try {
        this.#files.dropBefore(segment, this.#durableLsn);
      } catch (error) {
        // No room for the manifest: the head stays until the next checkpoint, or goes on the reserve's space.
        if (!(error instanceof DiskError) || error.code !== 'ENOSPC') throw error;
        this.#enterFull();
        if (!this.#space.free()) return;
        this.#files.dropBefore(segment, this.#durableLsn);
      }
      for (const log of this.#logs.values()) log.dropSegmentsBefore(segment);
    });
  }

  #continueClosing(): void {
    if (!this.#building.empty) this.#start();
    else if (this.#markedLsn < this.#durableLsn) this.#writeMark();
    else this.#finishClosing(null);
  }

  #finishClosing(error: DiskError | null): void {
    const done = this.#closing;
    assert(done !== null, 'somebody closes');
    this.#phase = 'closed';
    this.#files.close(error === null);
    done(error);
  }
}
