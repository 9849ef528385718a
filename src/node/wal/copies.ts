/**
 * What holds the log's head back, and reading it so that it can be copied to the end: which partitions, in
 * which order, how much. Appends nothing itself and cuts nothing; the argument is in DESIGN.md, "Entries that
 * hold the head back".
 * INVARIANT: a run is handed over whole, in the event in which it was found complete: all that the disk has
 * of it, the rest being pending; and only if nothing was taken out of the log since it was read.
 * INVARIANT: the segment that is reached is not behind the first one that a partition without a run needs.
 */
import { copyLength } from './payloads.ts';
import type { EntryReader } from './reader.ts';
import type { WalEntry } from './types.ts';
import type { PartitionLog } from './wal-index.ts';

/** Entries and bytes that one read asks for. */
const READ_COUNT = 1024;
const READ_BYTES = 1024 * 1024;

/** What is to be copied, and how. */
export interface HeadCopies {
  readonly logs: ReadonlyMap<number, PartitionLog>;
  /** Per partition, the lowest index that is needed. */
  readonly floors: ReadonlyMap<number, number>;
  /** The segments before this one are to go. */
  readonly segment: number;
  /** Bytes of records: in all, all runs but for a longer first one, the first run. */
  readonly bytesMax: number;
  readonly callBytesMax: number;
  readonly runBytesMax: number;
  /** Whether a run may be appended now. */
  readonly mayAppend: () => boolean;
  /** Appends the run of `log` down to `from`: `stored` from there on, then what is pending. */
  readonly append: (log: PartitionLog, from: number, stored: readonly WalEntry[]) => void;
}

/** A log whose entries hold the head back, from segment `segment` on. */
interface Held {
  readonly log: PartitionLog;
  readonly floor: number;
  readonly segment: number;
}

interface Run {
  readonly from: number;
  readonly stored: readonly WalEntry[];
  readonly bytes: number;
}

/** Returns the first segment that holds an entry at or above its floor, or `segment` if that is before it. */
export function firstNeeded(
  logs: ReadonlyMap<number, PartitionLog>,
  floors: ReadonlyMap<number, number>,
  segment: number,
): number {
  let first = segment;
  for (const [partition, floor] of floors) {
    first = Math.min(first, logs.get(partition)?.segmentFrom(floor) ?? first);
  }
  return first;
}

function heldBack({ logs, floors, segment }: HeadCopies): Held[] {
  const held: Held[] = [];
  for (const [partition, floor] of floors) {
    const log = logs.get(partition);
    const first = log?.segmentFrom(floor);
    if (log !== undefined && first !== undefined && first < segment)
      held.push({ log, floor, segment: first });
  }
  return held.sort((a, b) => a.segment - b.segment);
}

function pendingBytes(log: PartitionLog): number {
  let bytes = 0;
  for (let index = log.storedLast + 1; index <= log.lastIndex; index++) {
    bytes += copyLength(log.pendingAt(index)?.payload.length ?? 0);
  }
  return bytes;
}

/**
 * Reads what the disk has of a run; null if it is longer than `bytesMax`, unreadable, or not the log's any
 * more.
 */
function readRun(
  reader: EntryReader,
  { log, floor }: Held,
  bytesMax: number,
  done: (run: Run | null) => void,
): void {
  const { removals } = log;
  const from = Math.max(log.firstIndex, floor);
  const stored: WalEntry[] = [];
  let bytes = 0;
  const step = (): void => {
    const next = from + stored.length;
    const left = log.lastIndex + 1 - next;
    if (bytes + left * copyLength(0) > bytesMax) done(null);
    else if (next > log.storedLast) {
      const all = bytes + pendingBytes(log);
      done(all > bytesMax ? null : { from, stored, bytes: all });
    } else {
      reader.read(log, next, READ_COUNT, READ_BYTES, (error, result) => {
        if (error !== null || result === undefined || log.removals !== removals) {
          done(null);
          return;
        }
        for (const entry of result.entries) {
          stored.push(entry);
          bytes += copyLength(entry.payload.length);
        }
        step();
      });
    }
  };
  step();
}

/**
 * Hands over the runs of the logs that hold the head back, the oldest first, as far as the limits go. `done`
 * is told the segment before which nothing is needed any more once the runs are durable; at once if nothing
 * holds the head back.
 */
export function copyHeld(job: HeadCopies, reader: EntryReader, done: (reached: number) => void): void {
  const held = heldBack(job);
  let copied = 0;
  const step = (at: number): void => {
    const one = held[at];
    if (one === undefined || !job.mayAppend()) {
      done(one?.segment ?? job.segment);
      return;
    }
    if ((one.log.segmentFrom(one.floor) ?? job.segment) >= job.segment) {
      // It was truncated or replaced while the others were read.
      step(at + 1);
      return;
    }
    const limit = at === 0 ? Math.max(job.callBytesMax, job.runBytesMax) : job.callBytesMax;
    readRun(reader, one, Math.min(limit, job.bytesMax) - copied, (run) => {
      if (run === null || !job.mayAppend()) {
        done(one.segment);
        return;
      }
      job.append(one.log, run.from, run.stored);
      copied += run.bytes;
      step(at + 1);
    });
  };
  step(0);
}
