/**
 * What is particular to LevelStore: what is on disk after a kill, with a damaged log or damaged metadata, and
 * its figures. The behaviour that it shares with the simulated store is in `store.test.ts`.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { copyFileSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Level } from 'level';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { NodeDisk } from '../../src/common/node-disk.ts';
import { type LevelStore, openLevelStore } from '../../src/node/level-store.ts';
import type { Store, StoreRow, StoreView } from '../../src/node/store.ts';
import { call, temporaryDirectory } from './callbacks.ts';

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString('latin1');
const put = (key: string, value: string) => ({ key: bytes(key), value: bytes(value) });
const write = (store: Store, ...batch: ReturnType<typeof put>[]) =>
  call<void>((done) => store.write(batch, done));
const sync = (store: Store) => call<void>((done) => store.sync(done));
const close = (store: Store) => call<void>((done) => store.close(done));
const open = (root: string): Promise<LevelStore> =>
  openLevelStore(join(root, 'store'), { disk: new NodeDisk(root), path: 'store' });

const CHILD = join(import.meta.dirname, 'store-writer.ts');
const LOADER = pathToFileURL(join(import.meta.dirname, '../support/typescript-loader.mjs')).href;

describe('LevelStore on disk', () => {
  let directory: ReturnType<typeof temporaryDirectory>;
  beforeEach(() => {
    directory = temporaryDirectory();
  });
  afterEach(() => directory.remove());

  const startWriter = (): ChildProcess =>
    fork(CHILD, [directory.path], { execArgv: ['--import', LOADER], stdio: 'inherit' });

  /** Returns the number of the last batch; fails unless the rows are exactly those of batches 1 to it. */
  const checkPrefix = async (store: Store): Promise<number> => {
    const last = Number(text(store.getSync(bytes('n'))) ?? 0);
    const view = await call<StoreView>((done) => store.openView(done));
    const { rows } = await call<{ rows: StoreRow[] }>((done) => view.read(bytes('k'), bytes('l'), 1e9, done));
    view.close();
    expect(rows.map(({ key }) => Number(text(key)?.slice(1)))).toEqual(
      Array.from({ length: last }, (_, n) => n + 1),
    );
    return last;
  };

  it('gives the space of a removed range back, and tells the sizes of ranges', {
    timeout: 60_000,
  }, async () => {
    const store = await open(directory.path);
    const rows = 40_000;
    for (const prefix of ['a', 'b'])
      for (let from = 0; from < rows; from += 1_000) {
        const batch = Array.from({ length: 1_000 }, (_, at) =>
          put(`${prefix}${`${from + at}`.padStart(6, '0')}`, randomBytes(200).toString('latin1')),
        );
        await write(store, ...batch);
      }
    await sync(store);
    const sizes = () =>
      Promise.all(['a', 'b'].map((prefix) => store.sizeOf(bytes(prefix), bytes(`${prefix}z`))));
    const before = await sizes();
    for (const size of before) expect(size).toBeGreaterThan(rows * 180);
    await call<void>((done) => store.clear(bytes('a'), bytes('b'), done));
    const [gone, stays] = await sizes();
    expect(gone).toBeLessThan(rows * 20);
    expect(stays).toBeGreaterThan(rows * 180);
    const files = readdirSync(join(directory.path, 'store'))
      .filter((name) => name.endsWith('.ldb'))
      .map((name) => readFileSync(join(directory.path, 'store', name)).byteLength)
      .reduce((sum, size) => sum + size, 0);
    expect(files).toBeLessThan(before[1]! * 1.5);
    expect(text(store.getSync(bytes('b000007')))).toHaveLength(200);
    await close(store);
  });

  it('gives the space of few long rows back, and of rows that an earlier process had removed', {
    timeout: 60_000,
  }, async () => {
    let store = await open(directory.path);
    for (const prefix of ['a', 'b', 'c'])
      for (let at = 0; at < 100; at += 1)
        await write(store, put(`${prefix}${at}`, randomBytes(100_000).toString('latin1')));
    await sync(store);
    const size = (prefix: string) => store.sizeOf(bytes(prefix), bytes(`${prefix}z`));
    for (const prefix of ['a', 'b', 'c']) expect(await size(prefix)).toBeGreaterThan(9_000_000);
    await call<void>((done) => store.clear(bytes('a'), bytes('b'), done));
    expect(await size('a')).toBeLessThan(1_000_000);
    // As after a process that has ended when the rows were gone, and their space was not free yet.
    const keys = Array.from({ length: 100 }, (_, at) => ({ key: bytes(`b${at}`), value: null }));
    await call<void>((done) => store.write(keys, done));
    await close(store);
    store = await open(directory.path);
    expect(await size('b')).toBeGreaterThan(5_000_000);
    await call<void>((done) => store.clear(bytes('b'), bytes('c'), done));
    expect(await size('b')).toBeLessThan(1_000_000);
    expect(await size('c')).toBeGreaterThan(9_000_000);
    expect(text(store.getSync(bytes('c7')))).toHaveLength(100_000);
    await close(store);
  });

  it('removes one range at a time', async () => {
    const store = await open(directory.path);
    for (const prefix of ['a', 'b'])
      await write(store, ...Array.from({ length: 3_000 }, (_, at) => put(`${prefix}${at}`, 'v')));
    let left = 0;
    const first = call<void>((done) =>
      store.clear(bytes('a'), bytes('b'), (error) => {
        for (let at = 0; at < 3_000; at += 1) if (store.getSync(bytes(`b${at}`)) !== undefined) left += 1;
        done(error);
      }),
    );
    const second = call<void>((done) => store.clear(bytes('b'), bytes('c'), done));
    await first;
    expect([left, store.clearing]).toEqual([3_000, 1]);
    await second;
    expect([text(store.getSync(bytes('b7'))), store.clearing]).toEqual([undefined, 0]);
    await close(store);
  });

  it.each([3, 6, 9])(
    'keeps everything synced and only a prefix when the process is killed after %i syncs',
    async (syncs) => {
      const child = startWriter();
      let synced = 0;
      let seen = 0;
      await new Promise<void>((resolve, reject) => {
        child.once('exit', (code) => reject(new Error(`the writer exited with ${code}`)));
        child.on('message', (n: number) => {
          synced = n;
          seen += 1;
          if (seen === syncs) resolve();
        });
      });
      child.removeAllListeners('exit');
      child.kill('SIGKILL');
      await once(child, 'exit');
      const store = await open(directory.path);
      expect(synced).toBeGreaterThan(0);
      expect(await checkPrefix(store)).toBeGreaterThanOrEqual(synced);
      await write(store, put('z', 'writable'));
      await close(store);
    },
  );

  it('syncs amid constant writes, though LevelDB may swallow what asks it to switch its log', async () => {
    const store = await open(directory.path);
    let writing = true;
    let n = 0;
    const writer = async (): Promise<void> => {
      while (writing) {
        n += 1;
        await write(store, put(`k${n}`, 'x'.repeat(500)));
      }
    };
    const writers = Array.from({ length: 32 }, writer);
    for (let syncs = 0; syncs < 40; syncs += 1) await sync(store);
    writing = false;
    await Promise.all(writers);
    await close(store);
  });

  /** Copies the files of an open store as a power cut would leave them, with its log treated by `harm`. */
  const copyStore = (from: string, to: string, harm: (log: string) => void): void => {
    mkdirSync(join(to, 'store'), { recursive: true });
    for (const name of readdirSync(join(from, 'store'))) {
      if (name === 'LOCK') continue;
      copyFileSync(join(from, 'store', name), join(to, 'store', name));
      if (name.endsWith('.log')) harm(join(to, 'store', name));
    }
  };

  it('holds everything synced without any log, and no later batch behind a hole in the log', async () => {
    const store = await open(directory.path);
    let last = 0;
    const writeMore = async (count: number): Promise<void> => {
      for (let n = 0; n < count; n += 1) {
        last += 1;
        await write(store, put(`k${`${last}`.padStart(6, '0')}`, 'x'.repeat(20_000)), put('n', `${last}`));
      }
    };
    await writeMore(5);
    await sync(store);
    const synced = last;
    await writeMore(20);
    const holed = join(directory.path, 'holed');
    copyStore(directory.path, holed, (log) => {
      const contents = readFileSync(log);
      writeFileSync(log, contents.fill(0, 32_768, 98_304));
    });
    const without = join(directory.path, 'without');
    copyStore(directory.path, without, (log) => truncateSync(log, 0));
    await close(store);
    for (const path of [holed, without]) {
      const copy = await open(path);
      expect(await checkPrefix(copy)).toBeGreaterThanOrEqual(synced);
      await close(copy);
    }
  });

  it('fails a sync whose flush did not happen', async () => {
    const store = await openLevelStore(join(directory.path, 'store'), {
      path: 'store',
      // A log seems to stay, as it does when LevelDB could not switch to a new one or not write the table.
      disk: {
        removeSync: () => {},
        listSync: () => ['LOCK', '000003.log', 'CURRENT'],
        openSync: (name) => new NodeDisk(directory.path).openSync(name, false),
      },
    });
    await write(store, put('a', '1'));
    await expect(sync(store)).rejects.toMatchObject({ code: 'EIO' });
    await expect(close(store)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('tries no write after a failed one, fails syncs, and goes on reading', async () => {
    const store = await open(directory.path);
    await write(store, put('a', '1'));
    const batch = vi.spyOn(Level.prototype, 'batch');
    const failed = {
      put: () => {},
      write: () => Promise.reject(new Error('IO error: 000003.log: No space left on device')),
    };
    batch.mockReturnValueOnce(failed as unknown as ReturnType<typeof batch>);
    const outcomes = await Promise.allSettled([write(store, put('a', '2')), write(store, put('b', '2'))]);
    outcomes.push(...(await Promise.allSettled([write(store, put('c', '3')), sync(store)])));
    expect(text(store.getSync(bytes('a')))).toBe('1');
    outcomes.push(...(await Promise.allSettled([close(store)])));
    expect(batch).toHaveBeenCalledTimes(1);
    vi.restoreAllMocks();
    for (const outcome of outcomes)
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'ENOSPC' } });
  });

  it('refuses a directory that is open already, with ELOCKED', async () => {
    const store = await open(directory.path);
    await expect(open(directory.path)).rejects.toMatchObject({ code: 'ELOCKED' });
    await close(store);
  });

  it('refuses damaged metadata with EIO', async () => {
    const store = await open(directory.path);
    await write(store, put('a', '1'));
    await close(store);
    for (const name of readdirSync(join(directory.path, 'store'))) {
      if (name.endsWith('.ldb')) truncateSync(join(directory.path, 'store', name), 10);
      if (name === 'CURRENT') writeFileSync(join(directory.path, 'store', name), 'nonsense');
    }
    await expect(open(directory.path)).rejects.toMatchObject({ code: 'EIO' });
  });

  it('is not opened with a flipped bit in what rows are looked up by, which would hide them', async () => {
    const COUNT = 400;
    const store = await open(directory.path);
    for (let n = 0; n < COUNT; n += 1) await write(store, put(`k${n}`, `${n}`.repeat(40)));
    await close(store);
    // The store's log becomes a table when it is opened again by LevelDB alone.
    const level = new Level(join(directory.path, 'store'));
    await level.open();
    await level.close();
    const names = readdirSync(join(directory.path, 'store')).filter((name) => name.endsWith('.ldb'));
    expect(names).toHaveLength(1);
    const path = join(directory.path, 'store', names[0]!);
    const good = readFileSync(path);
    const refused: number[] = [];
    let hidden = 0;
    // Everything behind the rows, and some of those before.
    for (let at = good.length - 1_200; at < good.length - 48; at += 19) {
      const bad = Buffer.from(good);
      bad[at]! ^= 0x10;
      writeFileSync(path, bad);
      try {
        const opened = await open(directory.path);
        // What is not refused is among the rows: nothing else is looked up any other way than before.
        expect(refused).toEqual([]);
        await close(opened);
      } catch (error) {
        expect(error).toMatchObject({ code: 'EIO' });
        refused.push(at);
      }
      // LevelDB by itself does not notice.
      const unchecked = new Level(join(directory.path, 'store'));
      try {
        await unchecked.open();
        const values = await unchecked.getMany(Array.from({ length: COUNT }, (_, n) => `k${n}`));
        if (refused.length > 0 && values.some((value) => value === undefined)) hidden += 1;
      } catch {
        // Or it does.
      } finally {
        await unchecked.close();
      }
    }
    expect(refused.length).toBeGreaterThan(20);
    expect(hidden).toBeGreaterThan(0);
    writeFileSync(path, good);
    await close(await open(directory.path));
  });

  it('tells how loaded it is', async () => {
    const store = await open(directory.path);
    const noise = randomBytes(100_000);
    const writes = Array.from({ length: 40 }, (_, n) =>
      call<void>((done) =>
        store.write([{ key: bytes(`k${n}`), value: Buffer.concat([bytes(`${n}`), noise]) }], done),
      ),
    );
    expect(store.stats()).toMatchObject({ level0Files: 0 });
    expect(store.stats().queuedBytes).toBeGreaterThan(4_000_000);
    await Promise.all(writes);
    await sync(store);
    expect(store.stats().queuedBytes).toBe(0);
    const { tableBytes, deepestBytes, tableBytesWritten, batches, batchBytes } = store.stats();
    expect(deepestBytes).toBeGreaterThan(3_000_000);
    expect(tableBytes).toBeGreaterThanOrEqual(deepestBytes);
    expect(tableBytesWritten).toBeGreaterThanOrEqual(tableBytes);
    // Queued batches are merged.
    expect(batches).toBeGreaterThanOrEqual(4);
    expect(batches).toBeLessThanOrEqual(40);
    // Keys `k0` to `k39`, values with their number in front.
    expect(batchBytes).toBe(40 * 100_000 + 10 * (2 + 1) + 30 * (3 + 2));
    await close(store);
  });
});
