/**
 * Shadows: what a node's WAL must hold, worked out from the records given to it and the fsyncs it reported. The checks
 * ask shadows, never the cores, which entries a replica holds durably.
 * INVARIANT: a crash loses a suffix of the records that were not fsynced, and nothing else (DESIGN section 5, 5).
 */
import { crc32c } from '../../src/common/crc32c.ts';
import type { RecoveredReplica, ReplicaMeta, WalAppend } from '../../src/node/wal/types.ts';

/** An entry as a shadow knows it. */
export interface ShadowEntry {
  readonly epoch: number;
  readonly hash: number;
  readonly payload: Uint8Array;
}

/** One partition's log and replica state after some WAL record. */
export class ShadowLog {
  meta: ReplicaMeta | null = null;
  base = 0;
  baseEpoch = 0;
  entries: ShadowEntry[] = [];

  get lastIndex(): number {
    return this.base + this.entries.length;
  }

  get lastEpoch(): number {
    return this.entries.at(-1)?.epoch ?? this.baseEpoch;
  }

  at(index: number): ShadowEntry | undefined {
    return this.entries[index - this.base - 1];
  }

  /** Epoch at an index; undefined outside of the log (the base included). */
  epochAt(index: number): number | undefined {
    return index === this.base ? this.baseEpoch : this.at(index)?.epoch;
  }

  copy(): ShadowLog {
    const copy = new ShadowLog();
    copy.meta = this.meta;
    copy.base = this.base;
    copy.baseEpoch = this.baseEpoch;
    copy.entries = [...this.entries];
    return copy;
  }

  /** Applies one record as recovery would (src/node/wal/types.ts). `hash` is that of an entry's payload. */
  apply(record: WalAppend, hash: number): void {
    if (record.type === 'entry') {
      this.entries.push({ epoch: record.epoch, hash, payload: record.payload });
    } else if (record.type === 'truncate') {
      this.entries.length = Math.max(0, record.index - this.base);
    } else if (record.type === 'drop') {
      this.meta = null;
      this.reset(0, 0);
    } else {
      const { meta } = record;
      if (this.meta === null || this.meta.replica !== meta.replica)
        this.reset(meta.baseIndex, meta.baseEpoch);
      else if (meta.baseIndex > this.base) {
        if (this.lastIndex < meta.baseIndex) this.reset(meta.baseIndex, meta.baseEpoch);
        else {
          this.entries.splice(0, meta.baseIndex - this.base);
          this.base = meta.baseIndex;
          this.baseEpoch = meta.baseEpoch;
        }
      }
      this.meta = meta;
    }
  }

  private reset(base: number, baseEpoch: number): void {
    this.base = base;
    this.baseEpoch = baseEpoch;
    this.entries = [];
  }
}

/** The WAL of one data directory. */
export class ShadowWal {
  /** After every record given to the WAL. */
  appended = new Map<number, ShadowLog>();
  /** After every record that is fsynced. */
  readonly durable = new Map<number, ShadowLog>();
  /** Partitions whose log was damaged on purpose: their contents are no longer compared. */
  readonly damaged = new Set<number>();
  /** A bit of it was flipped, and no process has recovered from it since: a copy has the same flipped bit. */
  tainted = false;
  private pending: { readonly lsn: number; readonly record: WalAppend; readonly hash: number }[] = [];

  /** A copy of what is known, for a copy of the directory. */
  copy(): ShadowWal {
    const copy = new ShadowWal();
    for (const [partition, log] of this.appended) copy.appended.set(partition, log.copy());
    for (const [partition, log] of this.durable) copy.durable.set(partition, log.copy());
    for (const partition of this.damaged) copy.damaged.add(partition);
    copy.tainted = this.tainted;
    copy.pending = [...this.pending];
    return copy;
  }

  append(lsn: number, record: WalAppend): void {
    const hash = record.type === 'entry' ? crc32c(record.payload) : 0;
    logOf(this.appended, record.partition).apply(record, hash);
    this.pending.push({ lsn, record, hash });
  }

  /** Takes note of an fsync up to `lsn` and returns the partitions with new durable records. */
  synced(lsn: number): Set<number> {
    const touched = new Set<number>();
    let count = 0;
    for (const { lsn: at, record, hash } of this.pending) {
      if (at > lsn) break;
      logOf(this.durable, record.partition).apply(record, hash);
      touched.add(record.partition);
      count += 1;
    }
    this.pending.splice(0, count);
    return touched;
  }

  /**
   * Takes note of what recovery found. Returns null, or why it is not what was fsynced plus a prefix of the rest.
   * Damaged replicas are not compared. In a `tainted` WAL a replica may be missing: its identity is what was damaged.
   */
  recovered(replicas: readonly RecoveredReplica[]): string | null {
    const present = new Set(replicas.map(({ partition }) => partition));
    for (const [partition, { meta }] of this.durable) {
      if (this.tainted && meta !== null && !present.has(partition)) this.damaged.add(partition);
    }
    for (const { partition, damage, meta } of replicas) {
      if (damage !== null || meta.damaged) this.damaged.add(partition);
    }
    this.tainted = false;
    const byPartition = new Map(replicas.map((replica) => [replica.partition, replica]));
    let reason = this.difference(byPartition);
    for (const { record, hash } of this.pending) {
      if (reason === null) break;
      logOf(this.durable, record.partition).apply(record, hash);
      reason = this.difference(byPartition);
    }
    this.pending = [];
    this.appended = new Map([...this.durable].map(([partition, log]) => [partition, log.copy()]));
    return reason;
  }

  private difference(found: ReadonlyMap<number, RecoveredReplica>): string | null {
    for (const [partition, { meta }] of found) {
      if (this.damaged.has(partition) || this.durable.has(partition)) continue;
      return `p${partition}: replica ${meta.replica} was never there`;
    }
    for (const [partition, log] of this.durable) {
      if (this.damaged.has(partition)) continue;
      const replica = found.get(partition);
      if (log.meta === null) {
        if (replica !== undefined) return `p${partition}: replica ${replica.meta.replica} was dropped`;
        continue;
      }
      if (replica === undefined) return `p${partition}: replica ${log.meta.replica} is gone`;
      const expected = describe(log.meta, log.lastIndex, log.lastEpoch);
      const epoch = replica.epochs.at(-1)?.epoch ?? replica.meta.baseEpoch;
      // Below the first readable entry nothing is known of the epoch: the index must do.
      const known = replica.firstIndex <= replica.lastIndex || replica.lastIndex === replica.meta.baseIndex;
      const actual = describe(replica.meta, replica.lastIndex, known ? epoch : log.lastEpoch);
      if (expected !== actual) return `p${partition}: expected ${expected}, found ${actual}`;
    }
    return null;
  }
}

function describe(meta: ReplicaMeta, lastIndex: number, lastEpoch: number): string {
  const { replica, promiseEpoch, reservationId, configuration, damaged } = meta;
  return `${replica} promise ${promiseEpoch}/${reservationId} c${configuration} last ${lastEpoch}:${lastIndex}${damaged ? ' damaged' : ''}`;
}

function logOf(logs: Map<number, ShadowLog>, partition: number): ShadowLog {
  let log = logs.get(partition);
  if (log === undefined) {
    log = new ShadowLog();
    logs.set(partition, log);
  }
  return log;
}
