/**
 * Crash property: random appends, flushes, truncations, head drops that some partitions hold back, reads,
 * crashes at random times and inside blocking calls, full disks. What is recovered must be a prefix, in lsn
 * order, of what was appended, that holds everything reported durable.
 */
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Machine, meta, payload, seeded } from '../../../test/support/wal-machine.ts';
import type { RecoveredReplica, ReplicaMeta, WalAppend } from './types.ts';
import type { OpenedWal } from './wal.ts';

/** What one partition should be after a prefix of the appends. */
interface ModelLog {
  meta: ReplicaMeta;
  lastIndex: number;
  epochs: Map<number, number>;
  payloads: Map<number, Uint8Array>;
}

function sameState(replicas: readonly RecoveredReplica[], model: ReadonlyMap<number, ModelLog>): boolean {
  if (replicas.length !== model.size) return false;
  return replicas.every(({ partition, meta: found, lastIndex }) => {
    const log = model.get(partition);
    return log?.lastIndex === lastIndex && JSON.stringify(log.meta) === JSON.stringify(found);
  });
}

class Crash extends Error {}

/**
 * `beside`, `alone`: copies found by recoveries, with their originals and without. `read`: entries read from
 * the middle.
 */
const ZERO = { recoveries: 0, crashesInside: 0, headDrops: 0, full: 0, beside: 0, alone: 0, read: 0 };

/** Applies one append to the model, by the words of types.ts. */
function apply(model: Map<number, ModelLog>, record: WalAppend): void {
  const log = model.get(record.partition);
  if (record.type === 'meta') {
    const { baseIndex, baseEpoch } = record.meta;
    if (log === undefined || log.meta.replica !== record.meta.replica) {
      const epochs = new Map([[baseIndex, baseEpoch]]);
      const payloads = new Map<number, Uint8Array>();
      model.set(record.partition, { meta: record.meta, lastIndex: baseIndex, epochs, payloads });
    } else {
      log.meta = record.meta;
      if (log.lastIndex <= baseIndex) {
        log.lastIndex = baseIndex;
        log.epochs = new Map([[baseIndex, baseEpoch]]);
      }
    }
  } else if (record.type === 'drop') model.delete(record.partition);
  else if (log !== undefined) {
    log.lastIndex = record.index;
    if (record.type !== 'entry') return;
    log.epochs.set(record.index, record.epoch);
    log.payloads.set(record.index, record.payload);
  }
}

/** One machine, its random driver and the list of appends that the model is made from. */
class Walk {
  readonly machine: Machine;
  readonly random: () => number;
  /** What was appended and not lost at a crash, in order. */
  appended: WalAppend[] = [];
  /** How many of these were reported durable. */
  reported = 0;
  /** The record appended[baseCount] gets lsn baseLsn + 1. */
  baseCount = 0;
  baseLsn = 0;
  /** Highest head floor asked for, per replica id: below it entries may be gone. */
  floors = new Map<string, number>();
  /** Replicas whose floor does not rise, as that of one without a quorum. */
  stuck = new Set<string>();
  live = new Map<number, ModelLog>();
  replicas = 0;
  counts = { ...ZERO };
  firstSegment = 1;

  constructor(seed: number) {
    this.random = seeded(seed);
    this.machine = new Machine(seed ^ 0x5eed, { segmentBytes: 1500 + Math.floor(this.random() * 3000) });
  }

  below(bound: number): number {
    return Math.floor(this.random() * bound);
  }

  append(record: WalAppend): void {
    const lsn = this.machine.wal.append(record);
    this.appended.push(record);
    apply(this.live, record);
    const expected = this.baseLsn + this.appended.length - this.baseCount;
    if (lsn !== expected) throw new Error(`lsn ${lsn} instead of ${expected}`);
  }

  act(): void {
    const partition = 1 + this.below(4);
    const log = this.live.get(partition);
    const choice = this.random();
    if (log === undefined) {
      const base = this.below(2) * 10;
      const fresh = meta(`r${++this.replicas}`, { baseIndex: base, baseEpoch: base === 0 ? 0 : 1 });
      this.append({ type: 'meta', partition, meta: fresh });
    } else if (choice < 0.58) this.appendEntries(partition, log);
    else if (choice < 0.66) this.truncate(partition, log);
    else if (choice < 0.78) {
      const promiseEpoch = log.meta.promiseEpoch + 1;
      this.append({ type: 'meta', partition, meta: { ...log.meta, promiseEpoch } });
    } else if (choice < 0.81) {
      const baseIndex = Math.max(log.meta.baseIndex, log.lastIndex - 3 + this.below(8));
      const baseEpoch = baseIndex > log.lastIndex ? this.lastEpoch(log) : (log.epochs.get(baseIndex) ?? 0);
      this.append({ type: 'meta', partition, meta: { ...log.meta, baseIndex, baseEpoch } });
    } else if (choice < 0.825) {
      this.append({ type: 'meta', partition, meta: meta(`r${++this.replicas}`) });
    } else if (choice < 0.83) this.append({ type: 'drop', partition });
    else if (choice < 0.92) this.dropHead();
    else if (choice < 0.97) this.readBack(partition, log);
    else this.toggleFull();
    if (this.random() < 0.7) this.machine.wal.flush();
  }

  lastEpoch(log: ModelLog): number {
    return log.epochs.get(log.lastIndex) ?? 0;
  }

  /** Whatever happens to the head, what is needed can be read. */
  readBack(partition: number, log: ModelLog): void {
    const lowest = Math.max(log.meta.baseIndex + 1, this.floors.get(log.meta.replica) ?? 1);
    if (lowest > log.lastIndex) return;
    const from = lowest + this.below(log.lastIndex - lowest + 1);
    const { gone, entries } = this.machine.read(partition, from, 1 + this.below(20), 1 + this.below(3000));
    if (gone || entries.length === 0) throw new Error(`partition ${partition}: entry ${from} cannot be read`);
    for (const [at, { index, epoch, payload: bytes }] of entries.entries()) {
      const right = index === from + at && epoch === log.epochs.get(index);
      const written = log.payloads.get(index);
      if (!right || written === undefined || Buffer.compare(bytes, written) !== 0)
        throw new Error(`partition ${partition}: entry ${from + at} reads as ${index} of epoch ${epoch}`);
    }
    this.counts.read += entries.length;
  }

  appendEntries(partition: number, log: ModelLog): void {
    if (this.stuck.has(log.meta.replica) && this.random() < 0.7) return;
    const count = 1 + this.below(6);
    for (let added = 0; added < count; added++) {
      const index = log.lastIndex + 1;
      const epoch = Math.max(1, this.lastEpoch(log)) + (this.random() < 0.1 ? 1 : 0);
      const bytes = this.random() < 0.05 ? 1500 : this.below(60);
      const entry = {
        type: 'entry',
        partition,
        index,
        epoch,
        payload: payload(partition, index, epoch, bytes),
      } as const;
      this.append(entry);
    }
  }

  truncate(partition: number, log: ModelLog): void {
    const lowest = Math.max(log.meta.baseIndex, (this.floors.get(log.meta.replica) ?? 1) - 1);
    if (log.lastIndex <= lowest) return;
    this.append({ type: 'truncate', partition, index: lowest + this.below(log.lastIndex - lowest + 1) });
  }

  dropHead(): void {
    const floors = new Map<number, number>();
    for (const [partition, log] of this.live) {
      const { replica } = log.meta;
      const asked = this.floors.get(replica);
      const wasStuck = this.stuck.delete(replica);
      if (this.random() < (wasStuck ? 0.9 : 0.2)) this.stuck.add(replica);
      const risen = Math.max(1, log.lastIndex - this.below(12));
      const floor = wasStuck && asked !== undefined ? asked : risen;
      this.floors.set(replica, Math.max(asked ?? 1, floor));
      floors.set(partition, floor);
    }
    this.machine.wal.truncateHead(floors, this.below(3) * 1500);
  }

  noteReported(): void {
    const { firstSegment } = this.machine;
    this.counts.headDrops += firstSegment > this.firstSegment ? 1 : 0;
    this.firstSegment = firstSegment;
    this.reported = Math.max(this.reported, this.baseCount + this.machine.durableLsn - this.baseLsn);
  }

  toggleFull(): void {
    const { disk } = this.machine;
    if (this.machine.full) disk.limitFreeBytes(Number.POSITIVE_INFINITY);
    else {
      disk.limitFreeBytes(this.below(400));
      this.counts.full++;
    }
  }

  /** Lets time pass, with a crash inside some blocking call now and then. */
  pass(): void {
    if (this.random() < 0.1) this.crashInside();
    this.machine.clock.run(this.random() * 4);
    this.noteReported();
  }

  crashInside(): void {
    let left = this.below(12);
    this.machine.disk.onStep = () => {
      if (left-- === 0) throw new Crash();
    };
  }

  recover(): void {
    this.machine.disk.limitFreeBytes(Number.POSITIVE_INFINITY);
    for (;;) {
      if (this.random() < 0.4) this.crashInside();
      try {
        this.machine.open();
        this.machine.disk.onStep = () => {};
        break;
      } catch (error) {
        if (!(error instanceof Crash)) throw error;
        this.counts.crashesInside++;
        this.machine.crash(this.random() < 0.5 ? 'power' : 'process');
      }
    }
    this.counts.recoveries++;
    this.firstSegment = this.machine.firstSegment;
    const { beside, alone } = this.machine.copies();
    this.counts.beside += beside;
    this.counts.alone += alone;
    this.compare();
  }

  /** Finds the prefix that was recovered: the longest one whose model is what the WAL says. */
  compare(): void {
    const { opened } = this.machine;
    if (opened === null) throw new Error('not open');
    for (const replica of opened.replicas) expect(replica.damage).toBe(null);
    for (let count = this.appended.length; count >= this.reported; count--) {
      const model = new Map<number, ModelLog>();
      for (const record of this.appended.slice(0, count)) apply(model, record);
      if (!sameState(opened.replicas, model) || !this.sameEntries(opened, model, count)) continue;
      this.appended.length = count;
      this.live = model;
      this.reported = count;
      this.baseCount = count;
      this.baseLsn = opened.lastLsn;
      return;
    }
    throw new Error(`no prefix of at least ${this.reported} records is what was recovered`);
  }

  sameEntries(opened: OpenedWal, model: ReadonlyMap<number, ModelLog>, count: number): boolean {
    const payloads = new Map<string, Uint8Array>();
    for (const record of this.appended.slice(0, count)) {
      if (record.type === 'entry') payloads.set(`${record.partition}/${record.index}`, record.payload);
    }
    for (const { partition, firstIndex, lastIndex, epochs } of opened.replicas) {
      const log = model.get(partition);
      if (log === undefined) return false;
      const floor = this.floors.get(log.meta.replica) ?? 1;
      if (firstIndex > Math.max(log.meta.baseIndex + 1, floor)) return false;
      const epochAt = (at: number) => epochs.findLast((run) => run.index <= at)?.epoch ?? 0;
      if (epochAt(lastIndex) !== this.lastEpoch(log)) return false;
      let index = firstIndex;
      for (const entry of opened.entries(partition, firstIndex)) {
        const written = payloads.get(`${partition}/${index}`) ?? Buffer.of();
        if (entry.index !== index || Buffer.compare(entry.payload, written) !== 0) return false;
        if (entry.epoch !== log.epochs.get(index) || entry.epoch !== epochAt(index)) return false;
        index++;
      }
      if (index !== lastIndex + 1) return false;
    }
    return true;
  }

  run(steps: number): void {
    this.machine.open();
    for (let step = 0; step < steps; step++) {
      try {
        if (this.random() < 0.03) {
          this.machine.crash(this.random() < 0.7 ? 'power' : 'process');
          this.recover();
        } else if (this.random() < 0.6) this.act();
        else this.pass();
        if (this.machine.failure !== null) throw new Error('the WAL failed', { cause: this.machine.failure });
      } catch (error) {
        if (!(error instanceof Crash)) throw error;
        this.counts.crashesInside++;
        this.noteReported();
        this.machine.crash(this.random() < 0.7 ? 'power' : 'process');
        this.recover();
      }
    }
    this.machine.crash();
    this.recover();
  }
}

describe('crashes', { timeout: 240_000 }, () => {
  test('recover a prefix that holds everything reported durable', () => {
    const sum = { ...ZERO };
    fc.assert(
      fc.property(fc.noShrink(fc.integer()), (seed) => {
        const walk = new Walk(seed);
        walk.run(250);
        for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += walk.counts[key];
      }),
      { numRuns: 60 },
    );
    // The walk is worth something only if it goes where the dangers are.
    expect(sum.crashesInside).toBeGreaterThan(20);
    expect(sum.headDrops).toBeGreaterThan(50);
    expect(sum.beside).toBeGreaterThan(200);
    expect(sum.alone).toBeGreaterThan(200);
    expect(sum.read).toBeGreaterThan(300);
    expect(sum.full).toBeGreaterThan(20);
  });
});
