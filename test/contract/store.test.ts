/**
 * The contract of `Store`, run on LevelDB and on the simulator's store, and the faults of the simulated one.
 * What a crash leaves of the real one is in `level-store.test.ts`.
 */
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { DiskError } from '../../src/common/disk.ts';
import { NodeDisk } from '../../src/common/node-disk.ts';
import { openLevelStore } from '../../src/node/level-store.ts';
import type { Store, StoreRow, StoreView } from '../../src/node/store.ts';
import { SimStore } from '../sim/sim-store.ts';
import { call, selfRunningWorld, temporaryDirectory } from './callbacks.ts';

interface Subject {
  readonly store: Store;
  /** Closes the store and opens it again. */
  reopen(): Promise<Subject>;
}

const bytes = (text: string): Uint8Array => Buffer.from(text, 'latin1');
const text = (value: Uint8Array | undefined): string | undefined =>
  value === undefined ? undefined : Buffer.from(value).toString('latin1');
const put = (key: string, value: string) => ({ key: bytes(key), value: bytes(value) });
const del = (key: string) => ({ key: bytes(key), value: null });
const pairs = (rows: readonly StoreRow[]) => rows.map(({ key, value }) => `${text(key)}=${text(value)}`);

const get = async (store: Store, key: string) =>
  text(await call<Uint8Array | undefined>((done) => store.get(bytes(key), done)));
const write = (store: Store, ...batch: ReturnType<typeof put | typeof del>[]) =>
  call<void>((done) => store.write(batch, done));
const openView = (store: Store) => call<StoreView>((done) => store.openView(done));
const read = (view: StoreView, from: string, to: string, bytesMax = 1e9) =>
  call<{ rows: StoreRow[]; more: boolean }>((done) => view.read(bytes(from), bytes(to), bytesMax, done));
const readAll = async (store: Store) => {
  const view = await openView(store);
  const { rows } = await read(view, '', '\xff');
  view.close();
  return pairs(rows);
};

async function openLevelSubject(path: string): Promise<Subject> {
  const store = await openLevelStore(join(path, 'store'), { disk: new NodeDisk(path), path: 'store' });
  return {
    store,
    reopen: async () => {
      await call<void>((done) => store.close(done));
      return openLevelSubject(path);
    },
  };
}

function simSubject(seed: number): Subject {
  const { world, schedule } = selfRunningWorld(seed);
  const store = new SimStore({ schedule, random: () => world.random.next() });
  const subject: Subject = {
    store,
    reopen: async () => {
      await call<void>((done) => store.close(done));
      store.reopen();
      return subject;
    },
  };
  return subject;
}

describe.each([
  { name: 'LevelStore', open: openLevelSubject },
  { name: 'SimStore, seed 1', open: async () => simSubject(1) },
  { name: 'SimStore, seed 2', open: async () => simSubject(2) },
])('$name', ({ open }) => {
  let directory: ReturnType<typeof temporaryDirectory>;
  let subject: Subject;
  let store: Store;

  beforeEach(async () => {
    directory = temporaryDirectory();
    subject = await open(directory.path);
    store = subject.store;
  });
  afterEach(async () => {
    await call<void>((done) => store.close(done));
    directory.remove();
  });

  it('returns what was written, and undefined for what is absent, deleted or a prefix', async () => {
    await write(store, put('a', '1'), put('ab', ''), put('b', '3'));
    await write(store, del('b'), del('never'));
    expect(await get(store, 'a')).toBe('1');
    expect(await get(store, 'ab')).toBe('');
    expect(await get(store, 'b')).toBeUndefined();
    expect(await get(store, 'abc')).toBeUndefined();
    expect(text(store.getSync(bytes('a')))).toBe('1');
    expect(store.getSync(bytes('b'))).toBeUndefined();
  });

  it('orders keys by unsigned byte and keeps every byte of keys and values', async () => {
    const all = Uint8Array.from({ length: 256 }, (_, byte) => byte);
    await write(
      store,
      { key: all, value: all },
      ...['\x80', '\x7f', '\xfe', '\x00', '\x80\x00'].map((key) => put(key, key)),
    );
    const view = await openView(store);
    const { rows } = await read(view, '\x00', '\xff');
    expect(rows.map(({ key }) => text(key))).toEqual(['\x00', text(all), '\x7f', '\x80', '\x80\x00', '\xfe']);
    expect(Uint8Array.from(rows[1]!.value)).toEqual(all);
    view.close();
  });

  it('applies batches in call order without waiting, the last write of a batch winning', async () => {
    const finished: number[] = [];
    const writes = Array.from({ length: 200 }, (_, n) =>
      call<void>((done) =>
        store.write([put('k', `${n} first`), put('k', `${n}`), put(`n${n}`, `${n}`)], (error) => {
          finished.push(n);
          done(error);
        }),
      ),
    );
    await Promise.all(writes);
    expect(finished).toEqual(Array.from({ length: 200 }, (_, n) => n));
    expect(await get(store, 'k')).toBe('199');
    expect(await readAll(store)).toHaveLength(201);
  });

  it('never calls back inside the call', async () => {
    let inside = true;
    const calls = [
      call<void>((done) =>
        store.write([put('a', '1')], (error) => {
          expect(inside).toBe(false);
          done(error);
        }),
      ),
      call<unknown>((done) =>
        store.get(bytes('a'), (error) => {
          expect(inside).toBe(false);
          done(error);
        }),
      ),
      call<void>((done) =>
        store.openView((error, view) => {
          expect(inside).toBe(false);
          view?.close();
          done(error);
        }),
      ),
      call<void>((done) =>
        store.sync((error) => {
          expect(inside).toBe(false);
          done(error);
        }),
      ),
    ];
    inside = false;
    await Promise.all(calls);
  });

  it('shows a batch to readers as a whole or not at all', async () => {
    const keys = Array.from({ length: 20 }, (_, n) => bytes(`k${n}`));
    const jobs: Promise<unknown>[] = [];
    for (let round = 1; round <= 50; round += 1) {
      jobs.push(write(store, ...keys.map((key) => ({ key, value: bytes(`${round}`) }))));
      jobs.push(
        call<(Uint8Array | undefined)[]>((done) => store.getMany(keys, done)).then((values) => {
          expect(new Set(values.map(text)).size).toBe(1);
        }),
      );
    }
    await Promise.all(jobs);
  });

  it('gives a view all earlier write calls, finished or not, and nothing later', async () => {
    const views: Promise<string[]>[] = [];
    for (let n = 1; n <= 30; n += 1) {
      store.write([put('n', `${n}`), put(`k${`${n}`.padStart(2, '0')}`, '')], (error) =>
        expect(error).toBeNull(),
      );
      views.push(readAll(store));
    }
    for (const [at, rows] of (await Promise.all(views)).entries()) {
      expect(rows).toHaveLength(at + 2);
      expect(rows.at(-1)).toBe(`n=${at + 1}`);
    }
  });

  it('keeps a view as it was while rows change, go and are cleared', async () => {
    await write(store, put('a', '1'), put('b', '2'), put('c', '3'));
    const view = await openView(store);
    await write(store, put('a', 'changed'), del('b'), put('d', 'new'));
    await call<void>((done) => store.clear(bytes('c'), bytes('d'), done));
    expect(pairs((await read(view, 'a', 'z')).rows)).toEqual(['a=1', 'b=2', 'c=3']);
    expect(await readAll(store)).toEqual(['a=changed', 'd=new']);
    view.close();
    await expect(read(view, 'a', 'z')).rejects.toBeInstanceOf(DiskError);
  });

  it('reads half-open ranges', async () => {
    await write(store, put('a', ''), put('b', ''), put('b\x00', ''), put('c', ''));
    const view = await openView(store);
    const keys = async (from: string, to: string) =>
      (await read(view, from, to)).rows.map(({ key }) => text(key));
    expect(await keys('a', 'c')).toEqual(['a', 'b', 'b\x00']);
    expect(await keys('b', 'b\x00')).toEqual(['b']);
    expect(await keys('a\x00', 'b')).toEqual([]);
    expect(await keys('b', 'b')).toEqual([]);
    expect(await keys('c', 'a')).toEqual([]);
    view.close();
  });

  it('pages by bytes: at least one row, every row once, `more` exactly while some remain', async () => {
    const expected = Array.from({ length: 100 }, (_, n) =>
      put(`k${`${n}`.padStart(3, '0')}`, 'v'.repeat(n % 7 === 0 ? 5000 : 46)),
    );
    await write(store, ...expected);
    const view = await openView(store);
    for (const bytesMax of [0, 1, 50, 137, 1000, 100_000]) {
      const rows: StoreRow[] = [];
      let from = 'k';
      for (;;) {
        const page = await read(view, from, 'l', bytesMax);
        expect(page.rows.length).toBeGreaterThan(0);
        const allButLast = page.rows
          .slice(0, -1)
          .reduce((sum, row) => sum + row.key.length + row.value.length, 0);
        expect(allButLast < bytesMax || page.rows.length === 1).toBe(true);
        rows.push(...page.rows);
        if (!page.more) break;
        from = `${text(page.rows.at(-1)?.key)}\x00`;
      }
      expect(pairs(rows)).toEqual(pairs(expected));
    }
    expect(await read(view, 'x', 'y', 10)).toEqual({ rows: [], more: false });
    view.close();
  });

  it('answers many concurrent gets, each with its own key', async () => {
    await write(store, ...Array.from({ length: 500 }, (_, n) => put(`k${n}`, `v${n}`)));
    const values = await Promise.all(Array.from({ length: 1000 }, (_, n) => get(store, `k${n}`)));
    expect(values).toEqual(Array.from({ length: 1000 }, (_, n) => (n < 500 ? `v${n}` : undefined)));
    const many = await call<(Uint8Array | undefined)[]>((done) =>
      store.getMany(['k1', 'absent', 'k3'].map(bytes), done),
    );
    expect(many.map(text)).toEqual(['v1', undefined, 'v3']);
  });

  it('clears exactly the range, after earlier writes, while others go on', async () => {
    const rows = Array.from({ length: 3000 }, (_, n) => put(`b${`${n}`.padStart(5, '0')}`, 'x'));
    store.write([put('a', ''), put('az', ''), ...rows, put('c', '')], (error) => expect(error).toBeNull());
    let cleared = false;
    const clearing = call<void>((done) => store.clear(bytes('b'), bytes('c'), done)).then(() => {
      cleared = true;
    });
    await write(store, put('d', 'during'));
    expect(cleared).toBe(false);
    await clearing;
    expect(await readAll(store)).toEqual(['a=', 'az=', 'c=', 'd=during']);
    await write(store, put('b00001', 'again'));
    expect(await get(store, 'b00001')).toBe('again');
  });

  it('refuses writes into a range while it is being cleared', async () => {
    const clearing = call<void>((done) => store.clear(bytes('b'), bytes('c'), done));
    expect(() => store.write([put('bb', '')], () => {})).toThrow('being cleared');
    await clearing;
  });

  it('finishes syncs, concurrent ones and ones with nothing to do', async () => {
    const sync = () => call<void>((done) => store.sync(done));
    await Promise.all([sync(), write(store, put('a', '1')), sync(), sync()]);
    await sync();
    await sync();
    expect(await get(store, 'a')).toBe('1');
  });

  it('finishes queued writes before it closes, refuses later ones, and keeps everything', async () => {
    const writes = Array.from({ length: 50 }, (_, n) => write(store, put(`k${n}`, `${n}`)));
    const reopened = subject.reopen();
    await expect(write(store, put('late', ''))).rejects.toBeInstanceOf(DiskError);
    await Promise.all(writes);
    subject = await reopened;
    store = subject.store;
    expect(await readAll(store)).toHaveLength(50);
    expect(await get(store, 'late')).toBeUndefined();
  });
});

describe('SimStore faults', () => {
  it('keeps a prefix of the calls that includes the last finished sync, over many crashes', async () => {
    const lost = new Set<number>();
    for (let seed = 1; seed <= 200; seed += 1) {
      const { world, schedule } = selfRunningWorld(seed);
      const store = new SimStore({ schedule, random: () => world.random.next() });
      let synced = 0;
      for (let n = 1; n <= 20; n += 1) {
        store.write([put(`k${n}`, ''), put('n', `${n}`)], () => {
          if (n % 5 === 0)
            store.sync(() => {
              synced = Math.max(synced, n);
            });
        });
      }
      let told = false;
      store.get(bytes('n'), () => {});
      world.run(world.random.next() * 30);
      store.get(bytes('n'), () => {
        told = true;
      });
      store.crash();
      world.run(1e6);
      expect(told).toBe(false);
      const last = Number(text(store.getSync(bytes('n'))) ?? 0);
      expect(last).toBeGreaterThanOrEqual(synced);
      for (let n = 1; n <= 20; n += 1) expect(store.getSync(bytes(`k${n}`)) !== undefined).toBe(n <= last);
      lost.add(20 - last);
    }
    expect(lost.size).toBeGreaterThan(10);
  });

  it('repeats exactly from the same seed', () => {
    const trace = (seed: number): string[] => {
      const { world, schedule } = selfRunningWorld(seed);
      const store = new SimStore({ schedule, random: () => world.random.next() });
      const lines: string[] = [];
      for (let n = 0; n < 20; n += 1) {
        store.write([put('n', `${n}`)], () => lines.push(`w${n} ${world.now}`));
        store.get(bytes('n'), (_, value) => lines.push(`r${text(value)} ${world.now}`));
      }
      world.run(1e6);
      return lines;
    };
    expect(trace(7)).toEqual(trace(7));
    expect(trace(7)).not.toEqual(trace(8));
  });

  it('flips one bit for good, also across a crash, and leaves open views alone', async () => {
    const { world, schedule } = selfRunningWorld(3);
    const store = new SimStore({ schedule, random: () => world.random.next() });
    await write(store, put('a', 'value'));
    const view = await openView(store);
    await call<void>((done) => store.sync(done));
    expect(store.flipBit(bytes('absent'))).toBe(false);
    expect(store.flipBit(bytes('a'))).toBe(true);
    expect(pairs((await read(view, 'a', 'b')).rows)).toEqual(['a=value']);
    store.crash();
    const damaged = Buffer.from(store.getSync(bytes('a'))!);
    const flipped = [...damaged].map((byte, at) => byte ^ bytes('value')[at]!).filter((byte) => byte !== 0);
    expect(flipped).toHaveLength(1);
    expect(Math.log2(flipped[0]!) % 1).toBe(0);
  });

  it('fails writes and syncs with the injected code, changes nothing, and goes on reading', async () => {
    const { world, schedule } = selfRunningWorld(4);
    const store = new SimStore({ schedule, random: () => world.random.next() });
    await write(store, put('a', '1'));
    store.failWith('ENOSPC');
    await expect(write(store, put('a', '2'))).rejects.toMatchObject({ code: 'ENOSPC' });
    await expect(call<void>((done) => store.sync(done))).rejects.toMatchObject({ code: 'ENOSPC' });
    expect(await get(store, 'a')).toBe('1');
  });
});
