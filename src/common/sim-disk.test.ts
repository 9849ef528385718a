import { describe, expect, test } from 'vitest';
import type { DiskError, DiskFile } from './disk.ts';
import { createRandom } from './random.ts';
import { SimDisk } from './sim-disk.ts';

/** Virtual time in the simplest form: a queue that is run by hand. */
function machine(seed: number) {
  const queue: (() => void)[] = [];
  const { next } = createRandom(seed);
  const disk = new SimDisk((_, run) => queue.push(run), next);
  return {
    disk,
    queue,
    run: () => {
      for (let due = queue.shift(); due !== undefined; due = queue.shift()) due();
    },
  };
}

const bytes = (value: number, length: number) => new Uint8Array(length).fill(value);

function write(file: DiskFile, offset: number, value: Uint8Array, told: (DiskError | null)[] = []): void {
  file.write(offset, [value], (error) => told.push(error));
}

describe('SimDisk', () => {
  test('a crash never touches synced sectors and tears unsynced ones in every way', () => {
    const outcomes = new Set<string>();
    for (let seed = 0; seed < 200; seed++) {
      const { disk, run } = machine(seed);
      const file = disk.openSync('a', true);
      write(file, 0, bytes(1, 1024));
      file.sync(() => {});
      run();
      disk.syncDirectorySync('');
      write(file, 512, bytes(2, 1024));
      run();
      disk.crash();
      const found = disk.readSync('a');
      expect(found.length).toBeGreaterThanOrEqual(1024);
      expect(found.subarray(0, 512)).toEqual(bytes(1, 512));
      const second = found[512];
      expect(found.subarray(512, 1024)).toEqual(bytes(second ?? 0, 512));
      expect([1, 2]).toContain(second);
      outcomes.add(
        `${second} ${found.length === 1536 ? (found[1024] === 2 ? 'whole' : 'garbage') : 'short'}`,
      );
    }
    expect([...outcomes].sort()).toEqual([
      '1 garbage',
      '1 short',
      '1 whole',
      '2 garbage',
      '2 short',
      '2 whole',
    ]);
  });

  test('a sync covers what was written before it began, not what came while it ran', () => {
    let lost = 0;
    for (let seed = 0; seed < 50; seed++) {
      const { disk, run } = machine(seed);
      const file = disk.openSync('a', true);
      disk.syncDirectorySync('');
      write(file, 0, bytes(1, 512));
      file.sync(() => {});
      write(file, 0, bytes(2, 512));
      run();
      disk.crash();
      expect([1, 2]).toContain(disk.readSync('a')[0]);
      lost += disk.readSync('a')[0] === 1 ? 1 : 0;
    }
    expect(lost).toBeGreaterThan(5);
    expect(lost).toBeLessThan(45);
  });

  test('names are durable only after the directory was synced', () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 100; seed++) {
      const { disk } = machine(seed);
      disk.openSync('kept', true);
      disk.syncDirectorySync('');
      disk.openSync('new', true);
      disk.removeSync('kept');
      disk.crash();
      seen.add(disk.listSync('').join());
    }
    expect([...seen].sort()).toEqual(['', 'kept', 'kept,new', 'new']);
    const { disk } = machine(1);
    disk.replaceSync('whole', bytes(3, 10));
    disk.crash();
    expect(disk.readSync('whole')).toEqual(bytes(3, 10));
  });

  test('a failed sync loses its sectors although they can be read until the power goes', () => {
    let lost = 0;
    for (let seed = 0; seed < 50; seed++) {
      const { disk, run } = machine(seed);
      disk.openSync('a', true);
      disk.syncDirectorySync('');
      const file = disk.openSync('a', false);
      const told: (DiskError | null)[] = [];
      write(file, 0, bytes(1, 512));
      disk.failSyncs(1);
      file.sync((error) => told.push(error));
      run();
      // The next one has nothing to do: the pages count as clean.
      file.sync((error) => told.push(error));
      run();
      expect(told.map((error) => error?.code)).toEqual(['EIO', undefined]);
      disk.crash('process');
      expect(disk.readSync('a')).toEqual(bytes(1, 512));
      disk.crash('power');
      lost += disk.readSync('a')[0] === 1 ? 0 : 1;
    }
    expect(lost).toBeGreaterThan(5);
  });

  test('what is replaced after a failed sync, by the next process, is as durable as ever', () => {
    for (let seed = 1; seed <= 40; seed++) {
      const { disk } = machine(seed);
      disk.failSyncs(1);
      expect(() => disk.replaceSync('a', bytes(1, 600))).toThrow('sync of a.tmp');
      disk.crash('process');
      disk.replaceSync('a', bytes(2, 300));
      disk.crash('power');
      expect(disk.readSync('a')).toEqual(bytes(2, 300));
    }
  });

  test('pending calls end with the process and its handles are dead', () => {
    const { disk, run } = machine(1);
    const file = disk.openSync('a', true);
    const told: (DiskError | null)[] = [];
    write(file, 0, bytes(1, 10), told);
    file.sync((error) => told.push(error));
    disk.crash('process');
    run();
    write(file, 0, bytes(2, 10), told);
    run();
    expect(told).toEqual([]);
    expect(() => file.sizeSync()).toThrow(/dead/);
    expect(disk.readSync('a')).toEqual(bytes(1, 10));
  });

  test('a full disk writes what fits and says ENOSPC; removing gives space', () => {
    const { disk, run } = machine(1);
    const file = disk.openSync('a', true);
    disk.replaceSync('other', bytes(9, 100));
    disk.limitFreeBytes(15);
    const told: (DiskError | null)[] = [];
    write(file, 0, bytes(1, 10), told);
    write(file, 10, bytes(2, 10), told);
    write(file, 0, bytes(3, 15), told);
    run();
    expect(told.map((error) => error?.code)).toEqual([undefined, 'ENOSPC', undefined]);
    expect(disk.readSync('a')).toEqual(bytes(3, 15));
    expect(disk.freeBytesSync()).toBe(0);
    expect(() => disk.replaceSync('b', bytes(1, 1))).toThrow(/ENOSPC/);
    expect(disk.listSync('')).toEqual(['a', 'other']);
    disk.removeSync('other');
    expect(disk.freeBytesSync()).toBe(100);
  });

  test('flips single bits', () => {
    const { disk } = machine(1);
    disk.replaceSync('a', bytes(0, 3));
    disk.flipBit('a', 1, 7);
    expect([...disk.readSync('a')]).toEqual([0, 128, 0]);
  });

  test('the same seed gives the same disk', () => {
    const trace = (seed: number) => {
      const { disk, run } = machine(seed);
      const file = disk.openSync('a', true);
      disk.syncDirectorySync('');
      for (let at = 0; at < 20; at++) write(file, at * 700, bytes(at, 700));
      run();
      disk.crash();
      return Buffer.from(disk.readSync('a')).toString('hex');
    };
    expect(trace(7)).toBe(trace(7));
    expect(trace(7)).not.toBe(trace(8));
  });
});
