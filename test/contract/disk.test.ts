/** The contract of `Disk`, run on the real file system and on the simulated disk. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { type Disk, DiskError, type DiskFile } from '../../src/common/disk.ts';
import { NodeDisk } from '../../src/common/node-disk.ts';
import { SimDisk } from '../../src/common/sim-disk.ts';

const roots: string[] = [];
afterEach(() => {
  for (const root of roots.splice(0)) rmSync(root, { recursive: true });
});

const implementations: readonly [string, () => Disk][] = [
  [
    'NodeDisk',
    () => {
      const root = mkdtempSync(join(tmpdir(), 'ringkeep-disk-'));
      roots.push(root);
      return new NodeDisk(root);
    },
  ],
  ['SimDisk', () => new SimDisk((_, run) => setImmediate(run), Math.random)],
];

const bytes = (...values: number[]) => Uint8Array.from(values);
const plain = (value: Uint8Array) => [...value];

function write(file: DiskFile, offset: number, ...chunks: Uint8Array[]): Promise<void> {
  return new Promise((resolve, reject) => {
    file.write(offset, chunks, (error) => (error === null ? resolve() : reject(error)));
  });
}
function read(file: DiskFile, offset: number, length: number): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    file.read(offset, length, (error, result) =>
      error === null && result ? resolve(result) : reject(error),
    );
  });
}
function sync(file: DiskFile): Promise<void> {
  return new Promise((resolve, reject) => {
    file.sync((error) => (error === null ? resolve() : reject(error)));
  });
}
function code(call: () => unknown): string {
  try {
    call();
  } catch (error) {
    return error instanceof DiskError ? error.code : `no DiskError: ${error}`;
  }
  return 'nothing thrown';
}

describe.each(implementations)('%s', (_, make) => {
  test('writes chunk lists at offsets and reads them back', async () => {
    const disk = make();
    const file = disk.openSync('a', true);
    await write(file, 0, bytes(1, 2, 3), bytes(), bytes(4));
    await write(file, 2, bytes(9));
    await write(file, 6, bytes(7));
    await sync(file);
    expect(plain(await read(file, 0, 100))).toEqual([1, 2, 9, 4, 0, 0, 7]);
    expect(plain(await read(file, 1, 2))).toEqual([2, 9]);
    expect(plain(await read(file, 7, 4))).toEqual([]);
    expect(plain(await read(file, 3, 0))).toEqual([]);
    expect(file.sizeSync()).toBe(7);
    file.closeSync();
    expect(plain(disk.readSync('a'))).toEqual([1, 2, 9, 4, 0, 0, 7]);
  });

  test('takes more chunks than one system call does', async () => {
    const file = make().openSync('a', true);
    const chunks = Array.from({ length: 5000 }, (_, index) => bytes(index & 255, index >> 8));
    await write(file, 4, ...chunks);
    const back = await read(file, 4, 10_000);
    expect(back.length).toBe(10_000);
    for (const [index, chunk] of chunks.entries()) {
      if (back[2 * index] !== chunk[0] || back[2 * index + 1] !== chunk[1]) throw new Error(`chunk ${index}`);
    }
    file.closeSync();
  });

  test('writing nothing succeeds and changes nothing', async () => {
    const file = make().openSync('a', true);
    await write(file, 10);
    await write(file, 10, bytes());
    expect(file.sizeSync()).toBe(0);
    file.closeSync();
  });

  test('truncates both ways', async () => {
    const file = make().openSync('a', true);
    await write(file, 0, bytes(1, 2, 3, 4));
    file.truncateSync(2);
    expect(file.sizeSync()).toBe(2);
    file.truncateSync(4);
    expect(plain(await read(file, 0, 9))).toEqual([1, 2, 0, 0]);
    file.closeSync();
  });

  test('reports absent files with ENOENT and lists absent directories as empty', () => {
    const disk = make();
    expect(code(() => disk.openSync('a', false))).toBe('ENOENT');
    expect(code(() => disk.readSync('a'))).toBe('ENOENT');
    expect(code(() => disk.removeSync('a'))).toBe('ENOENT');
    expect(code(() => disk.renameSync('a', 'b'))).toBe('ENOENT');
    expect(code(() => disk.openSync('none/a', true))).toBe('ENOENT');
    expect(disk.listSync('none')).toEqual([]);
    expect(disk.existsSync('a')).toBe(false);
  });

  test('lists, renames and removes', () => {
    const disk = make();
    disk.makeDirectorySync('d/e');
    disk.makeDirectorySync('d/e');
    for (const name of ['d/z', 'd/a', 'd/e/b']) disk.openSync(name, true).closeSync();
    expect(disk.listSync('')).toEqual(['d']);
    expect(disk.listSync('d')).toEqual(['a', 'e', 'z']);
    disk.renameSync('d/z', 'd/a');
    expect(disk.listSync('d')).toEqual(['a', 'e']);
    disk.removeSync('d/a');
    disk.syncDirectorySync('d');
    expect(disk.listSync('d')).toEqual(['e']);
    expect(disk.existsSync('d')).toBe(true);
    expect(disk.existsSync('d/a')).toBe(false);
  });

  test('replaces contents whole and leaves nothing beside', () => {
    const disk = make();
    disk.replaceSync('a', bytes(1, 2, 3));
    disk.replaceSync('a', bytes(4));
    disk.replaceSync('empty', bytes());
    expect(plain(disk.readSync('a'))).toEqual([4]);
    expect(disk.readSync('empty').length).toBe(0);
    expect(disk.listSync('')).toEqual(['a', 'empty']);
  });

  test('an open handle outlives the name', async () => {
    const disk = make();
    const file = disk.openSync('a', true);
    await write(file, 0, bytes(1));
    disk.removeSync('a');
    expect(plain(await read(file, 0, 1))).toEqual([1]);
    file.closeSync();
  });

  test('tells free bytes', () => {
    expect(make().freeBytesSync()).toBeGreaterThan(0);
  });
});
