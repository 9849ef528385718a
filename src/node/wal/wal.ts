/**
 * Opens a node's WAL: recovery, then the writer on top of what it found. See DESIGN.md in this folder. The
 * pieces: `record`, `segment`, `manifest`, `payloads` (bytes), `replay`, `tail`, `recovery` (start), `group`,
 * `segment-files`, `space`, `reader`, `copies`, `writer` (running), `wal-index` (both), `dump` (for people).
 */
import { randomBytes } from 'node:crypto';
import { type Disk, DiskError } from '../../common/disk.ts';
import {
  WAL_AHEAD_BYTES,
  WAL_COPY_BYTES,
  WAL_COPY_RUN_BYTES,
  WAL_SEGMENT_BYTES,
} from '../../common/limits.ts';
import { entryFrom } from './reader.ts';
import { segmentSeed } from './record.ts';
import { type Recovered, recover } from './recovery.ts';
import { segmentName } from './segment.ts';
import type { RecoveredReplica, Wal, WalEntry, WalListener } from './types.ts';
import { WalWriter, type WriterOptions } from './writer.ts';

/**
 * Defaults. The reserve is larger than a segment, so that a node can also copy its tail and restart on a full
 * disk.
 */
export const WAL_DEFAULTS: WriterOptions = {
  segmentBytes: WAL_SEGMENT_BYTES,
  reserveBytes: WAL_SEGMENT_BYTES + 8 * 1024 * 1024,
  markIdleMs: 20,
  fullRetryMs: 500,
  aheadBytes: WAL_AHEAD_BYTES,
  copyBytes: WAL_COPY_BYTES,
  copyRunBytes: WAL_COPY_RUN_BYTES,
};

/** What `openWal` needs. */
export interface OpenWal {
  readonly disk: Disk;
  /** Of the WAL alone; created when absent. */
  readonly directory: string;
  /** Runs something after a time; on virtual time in the simulator. */
  readonly schedule: (delayMs: number, run: () => void) => void;
  readonly listener: WalListener;
  readonly options?: Partial<WriterOptions>;
  /**
   * Makes the 8 random bytes that tell this directory's records from others; only used for a new directory.
   */
  readonly newSalt?: () => Uint8Array;
  /** Told the lsn of the last record that was found, before recovery or anybody else adds one. */
  readonly found?: (lastLsn: number) => void;
}

/** An open WAL and what its recovery found. */
export interface OpenedWal {
  readonly wal: Wal;
  readonly replicas: readonly RecoveredReplica[];
  /** lsn of the last recovered record: the next append gets this plus 1. */
  readonly lastLsn: number;
  /**
   * Entries from `from` (at least the replica's firstIndex) to the recovered end, in order, blocking; for
   * start-up only, before anything is appended. Throws DiskError EIO at an entry that is damaged.
   */
  readonly entries: (partition: number, from: number) => Iterable<WalEntry>;
  /** What was wrong with the files, in words, for the operator's log; empty after a clean stop. */
  readonly problems: readonly string[];
}

function replicasOf(recovered: Recovered): RecoveredReplica[] {
  const replicas: RecoveredReplica[] = [];
  for (const log of recovered.logs.values()) {
    const { partition, meta, firstIndex, lastIndex, epochs } = log;
    if (meta === null) continue;
    const damage = recovered.damage.get(partition) ?? null;
    replicas.push({
      partition,
      meta,
      firstIndex,
      lastIndex,
      epochs: epochs.map((run) => ({ ...run })),
      damage,
    });
  }
  return replicas.sort((a, b) => a.partition - b.partition);
}

/** Segments kept for replaying partition by partition: what lies behind a checkpoint is seldom more. */
const REPLAY_SEGMENTS = 4;

/** Reads recovered entries; keeps the bytes of a few segments until the event that opened the WAL is over. */
function entryReader(open: OpenWal, recovered: Recovered): OpenedWal['entries'] {
  const { disk, directory, schedule } = open;
  const cache = new Map<number, Uint8Array>();
  schedule(0, () => cache.clear());
  const load = (number: number): { bytes: Uint8Array; seed: number } => {
    const bytes = cache.get(number) ?? disk.readSync(`${directory}/${segmentName(number)}`);
    cache.delete(number);
    cache.set(number, bytes);
    const oldest = cache.keys().next();
    if (cache.size > REPLAY_SEGMENTS && !oldest.done) cache.delete(oldest.value);
    return { bytes, seed: segmentSeed(recovered.salt, number) };
  };
  return function* entries(partition: number, from: number): Generator<WalEntry> {
    const log = recovered.logs.get(partition);
    if (log === undefined) return;
    const last = log.storedLast;
    let number = 0;
    let segment: { bytes: Uint8Array; seed: number } = { bytes: new Uint8Array(0), seed: 0 };
    for (let index = Math.max(from, log.firstIndex); index <= last; index++) {
      const place = { index, epoch: log.epochAt(index), ...log.locate(index) };
      if (number !== place.segment) {
        number = place.segment;
        segment = load(number);
      }
      const entry = entryFrom(segment.bytes, place.offset, segment.seed, partition, place);
      if (entry === null || typeof entry === 'number') {
        throw new DiskError('EIO', `damaged: partition ${partition} entry ${index}`);
      }
      yield entry;
    }
  };
}

/**
 * Opens the WAL, blocking, and recovers what was durable; everything in the result is fsynced. Nobody else
 * may have the directory open (`lockDirectory`). Damage is reported per replica, never thrown, and never
 * served. Throws RingkeepError FORMAT_TOO_NEW or DISK_FULL; DiskError when the disk fails.
 */
export function openWal(open: OpenWal): OpenedWal {
  const { disk, directory, schedule, listener } = open;
  const recovered = recover(disk, directory, open.newSalt ?? (() => randomBytes(8)), open.found);
  const replicas = replicasOf(recovered);
  const options = { ...WAL_DEFAULTS, ...open.options };
  const wal = new WalWriter(disk, directory, recovered, schedule, listener, options);
  const entries = entryReader(open, recovered);
  return { wal, replicas, lastLsn: recovered.lastLsn, entries, problems: recovered.problems };
}
