import { describe, expect, test } from 'vitest';
import { Machine, meta, payload } from '../../../test/support/wal-machine.ts';
import { MANIFEST_NAME } from './manifest.ts';
import { segmentSeed, TYPE_MARK } from './record.ts';
import { RESERVE_NAME } from './recovery.ts';
import { SEGMENT_HEADER_BYTES, scanSegment, segmentName, segmentNumber } from './segment.ts';

const SALT = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);

/** Counts the disk calls of a machine's handles from now on: how many syncs run at once, and how many ran. */
function watchSyncs(machine: Machine): { running: number; most: number; syncs: number; writes: number } {
  const counts = { running: 0, most: 0, syncs: 0, writes: 0 };
  const { disk } = machine;
  const open = disk.openSync.bind(disk);
  disk.openSync = (path, create) => {
    const file = open(path, create);
    return {
      ...file,
      write: (offset, chunks, done) => {
        counts.writes++;
        file.write(offset, chunks, done);
      },
      sync: (done) => {
        counts.syncs++;
        counts.running++;
        counts.most = Math.max(counts.most, counts.running);
        file.sync((error) => {
          counts.running--;
          done(error);
        });
      },
    };
  };
  return counts;
}

function withReplica(machine: Machine, partitions: readonly number[] = [1]): Machine {
  machine.open();
  for (const partition of partitions)
    machine.wal.append({ type: 'meta', partition, meta: meta(`r${partition}`) });
  machine.wal.flush();
  machine.settle(partitions.length);
  return machine;
}

function records(machine: Machine, name: string): number[] {
  const bytes = machine.disk.readSync(`wal/${name}`);
  const types: number[] = [];
  for (const piece of scanSegment(bytes, segmentSeed(SALT, segmentNumber(name) ?? 0))) {
    if (piece.kind === 'record') types.push(piece.header.type);
  }
  return types;
}

function segments(machine: Machine): string[] {
  return machine.disk.listSync('wal').filter((name) => segmentNumber(name) !== null);
}

describe('group commit', () => {
  test('one fsync runs at a time and carries everything that was appended meanwhile', () => {
    const machine = new Machine(1, { segmentBytes: 1 << 20 });
    const counts = watchSyncs(machine);
    withReplica(machine);
    const before = { ...counts };
    machine.entries(1, 1, 1);
    // All of these arrive while the first entry's group is written.
    for (let index = 2; index <= 500; index++) machine.entries(1, index, index);
    machine.settle(501);
    expect(counts.most).toBe(1);
    expect(counts.syncs - before.syncs).toBe(2);
    expect(counts.writes - before.writes).toBe(2);
  });

  test('buffered entries can be read at once, and from the disk later', () => {
    const machine = withReplica(new Machine(1, { segmentBytes: 1 << 20 }));
    machine.entries(1, 1, 30);
    const indexes = (from: number, count?: number) =>
      machine.read(1, from, count).entries.map(({ index }) => index);
    expect(indexes(28)).toEqual([28, 29, 30]);
    machine.settle(31);
    machine.entries(1, 31, 32);
    expect(indexes(28)).toEqual([28, 29, 30]);
    expect(indexes(31)).toEqual([31, 32]);
    expect(indexes(5, 3)).toEqual([5, 6, 7]);
    expect(machine.read(1, 33)).toEqual({ gone: false, entries: [] });
    expect(machine.read(1, 0).gone).toBe(true);
    expect(machine.read(9, 1).gone).toBe(true);
    expect(machine.read(1, 1, 100, 30).entries.length).toBe(2);
    expect(machine.read(1, 1, 100, 1).entries.length).toBe(1);
  });

  test('reads over segments, past other partitions and records longer than a window', () => {
    const machine = withReplica(new Machine(1, { segmentBytes: 100_000 }), [1, 2]);
    let lsn = 2;
    for (let index = 1; index <= 40; index++) {
      machine.entries(1, index, index, 1, index % 7 === 0 ? 20_000 : 50);
      machine.entries(2, index, index, 1, 3000);
      lsn += 2;
      machine.settle(lsn);
    }
    expect(segments(machine).length).toBeGreaterThan(2);
    for (const partition of [1, 2]) {
      let next = 1;
      while (next <= 40) {
        const { entries } = machine.read(partition, next, 15, 30_000);
        expect(entries.length).toBeGreaterThan(0);
        for (const entry of entries) {
          const bytes = partition === 2 ? 3000 : next % 7 === 0 ? 20_000 : 50;
          expect(entry.index).toBe(next);
          expect(Buffer.compare(entry.payload, payload(partition, next, 1, bytes))).toBe(0);
          next++;
        }
      }
    }
  });
});

describe('marks', () => {
  test('an idle log ends with one durable mark, and a closed one too', () => {
    const machine = withReplica(new Machine(1));
    const name = segments(machine)[0] ?? '';
    machine.clock.run(100);
    expect(records(machine, name).at(-1)).toBe(TYPE_MARK);
    const count = records(machine, name).length;
    machine.clock.run(1000);
    expect(records(machine, name).length).toBe(count);
    machine.entries(1, 1, 1);
    machine.close();
    expect(records(machine, name).at(-1)).toBe(TYPE_MARK);
    machine.disk.crash();
    expect(machine.open().problems).toEqual([]);
  });
});

describe('a failed fsync', () => {
  test('is told once and never retried', () => {
    const machine = withReplica(new Machine(1));
    machine.disk.failSyncs(1);
    const counts = machine.durableLsn;
    machine.entries(1, 1, 3);
    machine.clock.run(1000);
    expect(machine.failure?.code).toBe('EIO');
    machine.entries(1, 4, 5);
    machine.clock.run(1000);
    expect(machine.durableLsn).toBe(counts);
  });

  test('what the page cache shows afterwards is made durable before it is trusted', () => {
    for (let seed = 0; seed < 40; seed++) {
      const machine = withReplica(new Machine(seed));
      machine.disk.failSyncs(1);
      machine.entries(1, 1, 3);
      machine.clock.run(1000);
      machine.crash('process');
      machine.open();
      const { lastIndex } = machine.replica(1) ?? { lastIndex: -1 };
      expect(lastIndex).toBe(3);
      machine.crash('power');
      machine.open();
      expect(machine.replica(1)).toMatchObject({ lastIndex: 3, damage: null });
    }
  });
});

describe('a file that grows ahead', () => {
  const fileBytes = (machine: Machine): number => {
    const file = machine.disk.openSync(`wal/${segments(machine).at(-1)}`, false);
    const size = file.sizeSync();
    file.closeSync();
    return size;
  };

  test('has blanks behind its last group, which a crash leaves and a start takes no notice of', () => {
    for (const kind of ['power', 'process'] as const) {
      const machine = withReplica(new Machine(1, { segmentBytes: 1 << 20, aheadBytes: 10_000 }));
      const before = fileBytes(machine);
      expect(before).toBeGreaterThan(10_000);
      machine.entries(1, 1, 5);
      machine.settle(6);
      expect(fileBytes(machine)).toBe(before);
      machine.crash(kind);
      expect(machine.open().problems).toEqual([]);
      expect(machine.replica(1)).toMatchObject({ lastIndex: 5, damage: null });
    }
  });

  test('ends with its last record when it is left, and when it is closed', () => {
    const machine = withReplica(new Machine(1, { segmentBytes: 800, aheadBytes: 300 }));
    for (let index = 1; index <= 40; index++) {
      machine.entries(1, index, index);
      machine.settle(index + 1);
    }
    expect(segments(machine).length).toBeGreaterThan(2);
    const { wal } = machine;
    machine.close();
    let bytes = 0;
    for (const name of segments(machine)) bytes += machine.disk.readSync(`wal/${name}`).length;
    expect(bytes).toBe(wal.bytes());
  });

  test('grows by the group alone where there is no room for more', () => {
    const machine = withReplica(new Machine(1, { segmentBytes: 1 << 20, aheadBytes: 0 }));
    machine.options.aheadBytes = 10_000;
    machine.crash();
    machine.open();
    machine.disk.limitFreeBytes(5_000);
    machine.entries(1, 1, 3);
    machine.settle(machine.durableLsn + 3);
    expect(machine.full).toBe(false);
    machine.crash();
    machine.open();
    expect(machine.replica(1)).toMatchObject({ lastIndex: 3, damage: null });
  });
});

describe('a full disk', () => {
  test('makes entries wait and takes them when there is space again', () => {
    const machine = withReplica(new Machine(1, { segmentBytes: 1 << 20, aheadBytes: 0 }));
    machine.disk.limitFreeBytes(100);
    machine.entries(1, 1, 10);
    machine.clock.run(2000);
    expect(machine.full).toBe(true);
    expect(machine.durableLsn).toBe(1);
    expect(machine.read(1, 1).entries.length).toBe(10);
    machine.disk.limitFreeBytes(1 << 20);
    machine.clock.run(200);
    expect(machine.durableLsn).toBe(11);
    expect(machine.full).toBe(false);
    machine.crash();
    machine.open();
    expect(machine.replica(1)).toMatchObject({ lastIndex: 10, damage: null });
  });

  test('lets metas through on reserved space, with the entries before them', () => {
    const machine = withReplica(new Machine(1, { segmentBytes: 1 << 20, aheadBytes: 0 }));
    machine.disk.limitFreeBytes(0);
    machine.entries(1, 1, 3);
    machine.clock.run(100);
    expect(machine.durableLsn).toBe(1);
    machine.wal.append({ type: 'meta', partition: 1, meta: meta('r1', { promiseEpoch: 5 }) });
    machine.wal.flush();
    machine.settle(5);
    expect(machine.disk.existsSync(`wal/${RESERVE_NAME}`)).toBe(false);
    // What the reserve has given free is not for entries.
    machine.entries(1, 4, 4);
    machine.clock.run(1000);
    expect(machine.durableLsn).toBe(5);
    expect(machine.full).toBe(true);
    machine.disk.limitFreeBytes(Number.POSITIVE_INFINITY);
    machine.clock.run(1000);
    expect(machine.durableLsn).toBe(6);
    expect(machine.full).toBe(false);
    expect(machine.disk.readSync(`wal/${RESERVE_NAME}`).length).toBe(4096);
    machine.crash();
    machine.open();
    expect(machine.replica(1)).toMatchObject({ lastIndex: 4, meta: { promiseEpoch: 5 } });
  });

  test('does not keep a node from starting as long as the reserve holds its tail', () => {
    const machine = withReplica(new Machine(1, { segmentBytes: 2048 }));
    machine.entries(1, 1, 10);
    machine.settle(11);
    machine.crash();
    machine.disk.limitFreeBytes(0);
    machine.open();
    expect(machine.replica(1)).toMatchObject({ lastIndex: 10, damage: null });
    machine.clock.run(10);
    expect(machine.full).toBe(true);
    machine.disk.limitFreeBytes(1 << 20);
    machine.clock.run(1000);
    expect(machine.full).toBe(false);
  });

  test('without space for its tail a node says so', () => {
    const machine = withReplica(new Machine(1, { reserveBytes: 0 }));
    machine.crash();
    machine.disk.limitFreeBytes(10);
    expect(() => machine.open()).toThrow(/DISK_FULL/);
    machine.disk.limitFreeBytes(1 << 20);
    machine.open();
    expect(machine.replica(1)).toMatchObject({ damage: null });
  });
});

describe('truncateHead', () => {
  test("drops what no partition needs, keeps every identity and counts only the caller's records", () => {
    const machine = withReplica(new Machine(1), [1, 2]);
    machine.entries(2, 1, 5);
    let lsn = 7;
    for (let index = 1; index <= 200; index++) {
      machine.entries(1, index, index);
      machine.settle(++lsn);
    }
    const before = machine.wal.bytes();
    const count = segments(machine).length;
    expect(count).toBeGreaterThan(3);
    machine.wal.truncateHead(
      new Map([
        [1, 150],
        [2, 6],
      ]),
      0,
    );
    machine.entries(1, 201, 201);
    machine.settle(++lsn);
    machine.clock.run(10);
    expect(machine.wal.bytes()).toBeLessThan(before);
    // What was dropped has been written nevertheless.
    expect(machine.wal.writtenBytes()).toBeGreaterThan(before - SEGMENT_HEADER_BYTES);
    expect(segments(machine).length).toBeLessThan(count);
    const first = machine.wal.firstIndex(1);
    expect(first).toBeGreaterThan(1);
    expect(first).toBeLessThanOrEqual(150);
    expect(machine.read(1, first - 1).gone).toBe(true);
    expect(machine.read(1, first).entries[0]?.index).toBe(first);
    machine.crash();
    machine.open();
    expect(machine.replica(1)).toMatchObject({ firstIndex: first, lastIndex: 201, damage: null });
    expect(machine.replica(2)).toMatchObject({
      firstIndex: 6,
      lastIndex: 5,
      epochs: [{ index: 5, epoch: 1 }],
    });
  });

  test('keeps the bytes that it is asked to keep', () => {
    const machine = withReplica(new Machine(1));
    let lsn = 1;
    for (let index = 1; index <= 300; index++) {
      machine.entries(1, index, index);
      machine.settle(++lsn);
    }
    machine.wal.truncateHead(new Map(), 12_000);
    machine.clock.run(20);
    expect(machine.wal.bytes()).toBeGreaterThanOrEqual(12_000);
    machine.wal.truncateHead(new Map(), 0);
    machine.clock.run(20);
    expect(machine.wal.bytes()).toBeLessThan(12_000);
    expect(machine.wal.firstIndex(1)).toBeGreaterThan(250);
  });

  test('leaves the manifest and the segments in step', () => {
    const machine = withReplica(new Machine(1));
    let lsn = 1;
    for (let index = 1; index <= 100; index++) {
      machine.entries(1, index, index);
      machine.settle(++lsn);
    }
    machine.wal.truncateHead(new Map(), 0);
    machine.clock.run(20);
    const manifest = Buffer.from(machine.disk.readSync(`wal/${MANIFEST_NAME}`)).toString();
    for (const name of segments(machine)) expect(manifest).toContain(`[${segmentNumber(name)},`);
    expect(machine.disk.existsSync(`wal/${segmentName(1)}`)).toBe(false);
  });
});
