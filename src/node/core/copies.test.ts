/** What a leader does for those who are being filled from it, and what it does not do. */
import { describe, expect, it } from 'vitest';
import { CoreBench } from '../../../test/support/core-bench.ts';
import { CopyRoom } from './copy-room.ts';
import { WalHolds } from './wal-holds.ts';

const KIB = 1024;
const MIB = 1024 * KIB;
/** As in the bench. */
const RESERVE = MIB;

/** Three voters and a learner on `d`, which is level. */
function withLearner(): CoreBench {
  const bench = new CoreBench(['a', 'b', 'c', 'd']);
  bench.learning.add('d');
  bench.lead('a', 1, bench.trio);
  bench.advance(500);
  expect(bench.node('a').replica.leadership!.levelLearners()).toEqual([bench.node('d').replicaName.id]);
  return bench;
}

/** Puts `count` values, 50 of them between two ticks. */
function write(bench: CoreBench, from: number, count: number, bytes = 10): void {
  for (let sequence = from; sequence < from + count; sequence++) {
    bench.put('a', { sequence, lowWater: sequence }, Buffer.alloc(bytes));
    if (sequence % 50 === 0) bench.advance(20);
  }
}

describe('writers', () => {
  it('are slowed down for a learner that is slower, and it is told when that begins and ends', () => {
    const bench = withLearner();
    const a = bench.node('a');
    bench.node('d').disk = false;
    write(bench, 1, 3_000);
    bench.advance(600);
    expect(a.core.figures().slowedPartitions).toBe(1);
    expect(a.eventNames.filter((name) => name.startsWith('writers_'))).toEqual(['writers_slowed']);
    bench.node('d').disk = true;
    bench.advance(2_000);
    expect(a.core.figures().slowedPartitions).toBe(0);
    expect(a.eventNames.filter((name) => name.startsWith('writers_'))).toEqual([
      'writers_slowed',
      'writers_not_slowed',
    ]);
  });

  it('are not slowed down for a learner whose disk is full', () => {
    const bench = withLearner();
    const a = bench.node('a');
    bench.node('d').core.diskFullChanged(true);
    write(bench, 1, 3_000);
    bench.advance(1_000);
    expect(a.eventNames).not.toContain('writers_slowed');
  });
});

describe('the WAL', () => {
  it('is kept from the opening of a snapshot until its receiver follows', () => {
    const bench = withLearner();
    const [a, , c] = bench.trio;
    a.core.walSize(0, 1_000);
    bench.cut.add('c');
    write(bench, 1, 600, 8 * KIB);
    bench.advance(200);
    a.wal.length = 0;
    c.disk = false;
    bench.cut.delete('c');
    bench.advance(1_000);
    expect(c.eventNames).toContain('snapshot_started');
    a.core.walSize(0, 5_000);
    expect(a.core.holds.bytes).toBe(4_000);
    c.disk = true;
    bench.advance(2_000);
    expect(c.eventNames).toContain('snapshot_installed');
    expect(a.core.holds.bytes).toBe(0);
  });

  it('is kept up to the bound, and no further', () => {
    const holds = new WalHolds(1_000);
    holds.wrote(500);
    holds.begin('r');
    holds.wrote(1_500);
    expect([holds.bytes, holds.of('r')]).toEqual([1_000, { grown: 1_000, most: 1_000 }]);
    holds.wrote(1_501);
    expect([holds.bytes, holds.of('r')]).toEqual([0, null]);
    // Another snapshot begins anew.
    holds.begin('r');
    holds.wrote(1_600);
    expect(holds.bytes).toBe(99);
    holds.end('r');
    expect(holds.bytes).toBe(0);
  });
});

describe('a new learner', () => {
  /** A learner on `d` of a partition with one value that was written `count` times; `rowsBytes`: as large as its rows are said to be. */
  function filled(count: number, rowsBytes: number): CoreBench {
    const bench = new CoreBench(['a', 'b', 'c', 'd']);
    bench.learning.add('d');
    bench.cut.add('d');
    bench.lead('a', 1, bench.trio);
    for (let sequence = 1; sequence <= count; sequence++) {
      bench.put('a', { sequence, lowWater: sequence, key: Buffer.from('k') }, Buffer.alloc(64 * KIB));
      if (sequence % 10 === 0) bench.advance(20);
    }
    bench.node('a').replica.rowsBytes = rowsBytes;
    bench.cut.delete('d');
    bench.advance(3_000);
    expect(bench.node('d').replica.machine.appliedIndex).toBe(count + 1);
    return bench;
  }

  it('is sent a snapshot where the log would be longer than the rows', () => {
    const bench = filled(160, 64 * KIB);
    const { receivedBytes, receivedLogBytes } = bench.node('d').core.figures();
    expect(bench.node('d').eventNames).toContain('snapshot_installed');
    expect(receivedBytes).toBeGreaterThan(64 * KIB);
    expect(receivedBytes + receivedLogBytes).toBeLessThan(200 * KIB);
  });

  it('is sent the log where that is short, or the rows are as many; and that is counted', () => {
    for (const [count, rowsBytes] of [
      [30, 0],
      [160, 20 * MIB],
    ] as const) {
      const bench = filled(count, rowsBytes);
      const learner = bench.node('d');
      expect(learner.eventNames).not.toContain('snapshot_installed');
      expect(learner.core.figures().receivedLogBytes).toBeGreaterThan(count * 64 * KIB);
      expect(learner.replica.copiedBytes).toBeGreaterThan(count * 64 * KIB);
      expect(bench.node('a').core.figures().sentLogBytes).toBeGreaterThan(count * 64 * KIB);
    }
  });
});

describe('room for copies', () => {
  it('is there above the reserve', () => {
    const room = new CopyRoom(100);
    expect(room.full).toBe(false);
    room.look(99);
    expect(room.full).toBe(true);
    room.look(100);
    expect(room.full).toBe(false);
  });

  it('is not there for a copy that was given up, before there is more than it had', () => {
    const room = new CopyRoom(100);
    room.look(90);
    room.gaveUp(5_000);
    room.look(5_090);
    expect([room.full, room.tight]).toEqual([true, false]);
    room.look(5_190);
    expect(room.full).toBe(false);
    room.look(150);
    expect(room.full).toBe(false);
  });

  it('is not there on a node that still takes writes: what has come is removed, and nothing more is taken', () => {
    const bench = new CoreBench(['a', 'b', 'c', 'd']);
    bench.learning.add('d');
    bench.cut.add('d');
    bench.lead('a', 1, bench.trio);
    write(bench, 1, 64, 64 * KIB);
    bench.advance(200);
    bench.node('a').wal.length = 0;
    bench.node('a').replica.log.evict(65, 0);
    const d = bench.node('d');
    // So that it comes chunk by chunk.
    d.core.copies.receivedLess(-100 * MIB);
    bench.cut.delete('d');
    for (let tick = 0; tick < 500 && d.core.copies.receivedBytes === 0; tick++) bench.advance(20);
    expect(d.replica.copiedBytes).toBeGreaterThan(0);
    d.core.diskSpace(RESERVE - 1);
    bench.advance(5_000);
    expect(d.eventNames).toContain('snapshot_given_up');
    expect(d.eventNames.filter((name) => name === 'snapshot_started')).toHaveLength(1);
    expect(d.rows.size).toBe(0);
    expect([d.core.room.full, d.core.diskFull]).toEqual([true, false]);
    expect(d.eventNames).toContain('no_room_for_copies');
    // The space of what was removed is not enough.
    d.core.diskSpace(RESERVE + MIB / 2);
    bench.advance(5_000);
    expect(d.replica.machine.appliedIndex).toBe(0);
    d.core.diskSpace(100 * MIB);
    bench.advance(5_000);
    expect(d.replica.machine.appliedIndex).toBe(65);
  });

  it('is not needed by a voter, which takes what it lacks as long as it takes writes', () => {
    const bench = new CoreBench(['a', 'b', 'c']);
    bench.cut.add('c');
    bench.lead('a', 1, bench.nodes.slice(0, 2));
    write(bench, 1, 50);
    const [, , c] = bench.trio;
    c.core.diskSpace(0);
    bench.cut.delete('c');
    bench.advance(1_000);
    expect(c.replica.machine.appliedIndex).toBe(51);
  });
});
