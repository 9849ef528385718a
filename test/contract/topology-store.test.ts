/**
 * The contract of `TopologyStore`, run on the embedded store and on the simulated one; then what is
 * particular to each: durability and damage of the former, unknown outcomes and restores of the latter.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Level } from 'level';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { crc32c } from '../../src/common/crc32c.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import { type LevelDatabase, openLevel } from '../../src/common/leveldb.ts';
import { createRandom } from '../../src/common/random.ts';
import type { NodeRecord, PartitionRecord } from '../../src/common/topology.ts';
import type { StoreChange, StoreEntry, StoreKey } from '../../src/router/controller/types.ts';
import { openEmbeddedTopologyStore } from '../../src/router/embedded-topology-store.ts';
import type { CasAnswer, StoreCommit, StoreState, TopologyStore } from '../../src/router/topology-store.ts';
import { type Fate, SimTopologyStore, type SimTopologyStoreOptions } from '../sim/sim-topology-store.ts';
import { selfRunningWorld, temporaryDirectory } from './callbacks.ts';

function partitionRecord(partition: number, revision: number, epoch = revision): PartitionRecord {
  const voters = ['a', 'b', 'c'].map((node) => ({ id: `${node}-${partition}`, node }));
  return {
    partition,
    revision,
    epoch,
    reservationId: `r${epoch}`,
    configuration: 1,
    voters,
    previousVoters: [],
    led: true,
    learners: [],
    leader: { replica: `a-${partition}`, node: 'a', boot: 2 ** 40 + 7 },
    established: false,
  };
}

function nodeRecord(id: string): NodeRecord {
  const addresses = { address: '127.0.0.1:7001', clientAddress: '127.0.0.1:7002' };
  const runs = { run: 'r3', formerRuns: [{ incarnation: 'eeff', boot: 2, run: 'r2' }] };
  return {
    id,
    incarnation: 'ffee',
    boot: 3,
    ...addresses,
    ...runs,
    zone: 'z1',
    alive: true,
    reason: '',
    pid: 42,
  };
}

const partition = (n: number, expectedRevision: number, epoch?: number): StoreChange => {
  const revision = expectedRevision + 1;
  return {
    expectedRevision,
    entry: { key: `partition/${n}`, revision, value: partitionRecord(n, revision, epoch) },
  };
};
const node = (id: string, expectedRevision: number, revision = expectedRevision + 1): StoreChange => ({
  expectedRevision,
  entry: { key: `node/${id}`, revision, value: nodeRecord(id) },
});
const cluster: StoreChange = {
  expectedRevision: 0,
  entry: {
    key: 'cluster',
    revision: 1,
    value: { clusterId: 'cluster-1', partitions: 48, replicationFactor: 3 },
  },
};

function promised<T>(start: (done: (error: RingkeepError | null, result?: T) => void) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, result) => (error === null ? resolve(result as T) : reject(error)));
  });
}
const cas = (store: TopologyStore, ...changes: StoreChange[]) =>
  new Promise<CasAnswer>((resolve) => store.compareAndSwap(changes, resolve));
const load = (store: TopologyStore) => promised<StoreState>((done) => store.load(done));
const read = (store: TopologyStore, ...keys: StoreKey[]) =>
  promised<readonly StoreEntry[]>((done) => store.read(keys, done));
const close = (store: TopologyStore) => promised<void>((done) => store.close(done));

function simStore(seed: number, more: Partial<SimTopologyStoreOptions> = {}): SimTopologyStore {
  const { world, schedule } = selfRunningWorld(seed);
  return new SimTopologyStore({ schedule, random: () => world.random.next(), ...more });
}

describe.each([
  {
    name: 'EmbeddedTopologyStore',
    open: (path: string): Promise<TopologyStore> => openEmbeddedTopologyStore(path),
  },
  { name: 'SimTopologyStore, seed 1', open: async (): Promise<TopologyStore> => simStore(1) },
  { name: 'SimTopologyStore, seed 2', open: async (): Promise<TopologyStore> => simStore(2) },
])('$name', ({ open }) => {
  let directory: ReturnType<typeof temporaryDirectory>;
  let store: TopologyStore;
  beforeEach(async () => {
    directory = temporaryDirectory();
    store = await open(directory.path);
  });
  afterEach(async () => {
    await close(store);
    directory.remove();
  });

  it('starts empty, at revision 0, with an id of its own', async () => {
    const state = await load(store);
    expect(state.storeId).not.toBe('');
    expect(state.revision).toBe(0);
    expect([...state.entries]).toEqual([]);
  });

  it('gives back what was written, of every kind', async () => {
    const changes = [cluster, node('a', 0), partition(0, 0), partition(4095, 0)];
    expect(await cas(store, ...changes)).toEqual({ status: 'ok', revision: 1 });
    const { entries, revision } = await load(store);
    expect(revision).toBe(1);
    expect(entries).toEqual(new Map(changes.map(({ entry }) => [entry.key, entry])));
    expect(await read(store, 'partition/4095', 'node/none', 'cluster')).toEqual([
      changes[3]!.entry,
      cluster.entry,
    ]);
  });

  it('refuses a change at another revision, and tells what is there', async () => {
    await cas(store, partition(1, 0));
    expect(await cas(store, partition(1, 0))).toEqual({
      status: 'conflict',
      current: [partition(1, 0).entry],
    });
    expect(await cas(store, partition(2, 7))).toEqual({ status: 'conflict', current: [] });
    expect(await cas(store, partition(1, 1))).toEqual({ status: 'ok', revision: 2 });
    expect(await read(store, 'partition/1')).toEqual([partition(1, 1).entry]);
  });

  it('changes all keys of a call or none', async () => {
    await cas(store, node('a', 0));
    const answer = await cas(store, partition(1, 0), node('a', 0), node('b', 0));
    expect(answer).toEqual({ status: 'conflict', current: [node('a', 0).entry] });
    expect((await load(store)).entries.size).toBe(1);
  });

  it('lets a writer skip revisions, and holds it to the one that it chose', async () => {
    expect(await cas(store, node('a', 0, 1000))).toMatchObject({ status: 'ok' });
    expect(await cas(store, node('a', 1))).toMatchObject({ status: 'conflict' });
    expect(await cas(store, node('a', 1000))).toMatchObject({ status: 'ok' });
  });

  it('decides waiting calls one by one, in order', async () => {
    const answers = await Promise.all([
      ...Array.from({ length: 50 }, (_, n) => cas(store, partition(1, n))),
      cas(store, partition(1, 3)),
      cas(store, partition(1, 50), partition(2, 0)),
    ]);
    expect(answers.slice(0, 50)).toEqual(
      Array.from({ length: 50 }, (_, n) => ({ status: 'ok', revision: n + 1 })),
    );
    expect(answers[50]).toEqual({ status: 'conflict', current: [partition(1, 49).entry] });
    expect(answers[51]).toEqual({ status: 'ok', revision: 51 });
  });

  it('reads in the order of the calls, and a loaded state does not change afterwards', async () => {
    const first = cas(store, node('a', 0));
    const between = load(store);
    const second = cas(store, node('b', 0));
    await Promise.all([first, second]);
    expect([...(await between).entries.keys()]).toEqual(['node/a']);
  });

  it('lets exactly one of two racing writers win', async () => {
    for (let revision = 0; revision < 20; revision += 1) {
      const answers = await Promise.all(
        [1, 2].map((writer) => cas(store, partition(0, revision, revision * 10 + writer))),
      );
      expect(answers.map(({ status }) => status).sort()).toEqual(['conflict', 'ok']);
    }
  });

  it('tells a watcher every commit once, in order, until it ends the watch', async () => {
    await cas(store, cluster);
    const seen: StoreCommit[] = [];
    const other: number[] = [];
    const end = store.watch((commit) => seen.push(commit));
    store.watch((commit) => other.push(commit.revision));
    await Promise.all(Array.from({ length: 30 }, (_, n) => cas(store, partition(n, 0), node(`n${n}`, 0))));
    await cas(store, partition(0, 7));
    await vi.waitFor(() => expect(seen).toHaveLength(30));
    expect(seen.map(({ revision }) => revision)).toEqual(Array.from({ length: 30 }, (_, n) => n + 2));
    expect(seen[4]?.entries).toEqual([partition(4, 0).entry, node('n4', 0).entry]);
    end();
    await cas(store, node('late', 0));
    await vi.waitFor(() => expect(other.at(-1)).toBe(32));
    expect(seen).toHaveLength(30);
  });

  it('lets a watcher that loads afterwards miss nothing', async () => {
    const random = createRandom(5);
    const jobs: Promise<unknown>[] = [];
    for (let n = 0; n < 20; n += 1) jobs.push(cas(store, partition(n, 0)));
    const commits: StoreCommit[] = [];
    store.watch((commit) => commits.push(commit));
    const loaded = load(store);
    for (let n = 0; n < 20; n += 1) jobs.push(cas(store, partition(random.integer(20), 1), node(`n${n}`, 0)));
    await Promise.all(jobs);
    const end = await load(store);
    await vi.waitFor(() => expect(commits.at(-1)?.revision).toBe(end.revision));
    const start = await loaded;
    const rebuilt = new Map(start.entries);
    for (const commit of commits.filter(({ revision }) => revision > start.revision)) {
      for (const entry of commit.entries) rebuilt.set(entry.key, entry);
    }
    expect(rebuilt).toEqual(end.entries);
  });

  it('stops on malformed changes', () => {
    const ignore = () => {};
    expect(() => store.compareAndSwap([], ignore)).toThrow('changes something');
    expect(() => store.compareAndSwap([node('a', 0), node('a', 0)], ignore)).toThrow('each key once');
    expect(() => store.compareAndSwap([node('a', 5, 5)], ignore)).toThrow('grows');
    const wrong = { ...partition(1, 0).entry, key: 'partition/2' } as StoreEntry;
    expect(() => store.compareAndSwap([{ expectedRevision: 0, entry: wrong }], ignore)).toThrow(
      'belongs to the key',
    );
  });
});

describe('EmbeddedTopologyStore on disk', () => {
  let directory: ReturnType<typeof temporaryDirectory>;
  beforeEach(() => {
    directory = temporaryDirectory();
  });
  afterEach(() => {
    vi.restoreAllMocks();
    directory.remove();
  });
  const open = (path = directory.path) => openEmbeddedTopologyStore(path);
  const failsToOpen = async (code: string): Promise<void> => {
    await expect(open()).rejects.toBeInstanceOf(RingkeepError);
    await expect(open()).rejects.toMatchObject({ code });
  };
  /** Runs `change` on the database below a closed store. */
  const tamper = async (change: (database: LevelDatabase) => Promise<void>): Promise<void> => {
    const sizes = { cacheBytes: 1e6, writeBufferBytes: 1e6, tableBytesMax: 1e6, openFilesMax: 100 };
    const database = await openLevel(directory.path, sizes);
    await change(database);
    await database.close();
  };
  const KEY = Buffer.from('entry/partition/1');

  it('keeps its id and everything acknowledged over a restart, also many revisions of a key', async () => {
    const store = await open();
    await Promise.all(Array.from({ length: 300 }, (_, n) => cas(store, partition(n % 7, Math.floor(n / 7)))));
    await cas(store, cluster, node('a', 0));
    const before = await load(store);
    await close(store);
    const again = await open();
    expect(again.storeId).toBe(store.storeId);
    expect(await load(again)).toEqual(before);
    expect(await cas(again, node('a', 1))).toEqual({ status: 'ok', revision: 302 });
    await close(again);
  });

  it('finishes waiting calls when it is closed, and refuses later ones', async () => {
    const store = await open();
    const first = cas(store, cluster);
    const closing = close(store);
    expect(await cas(store, node('a', 0))).toMatchObject({
      status: 'unknown',
      error: { code: 'SHUTTING_DOWN' },
    });
    expect(await first).toMatchObject({ status: 'ok' });
    await closing;
    const again = await open();
    expect([...(await load(again)).entries.keys()]).toEqual(['cluster']);
    await close(again);
  });

  it('writes what waits as one synced batch', async () => {
    const store = await open();
    const batch = vi.spyOn(Level.prototype, 'batch');
    await Promise.all(Array.from({ length: 100 }, (_, n) => cas(store, partition(n, 0))));
    expect(batch.mock.calls.length).toBeLessThanOrEqual(2);
    for (const call of batch.mock.calls as unknown[][]) expect(call[1]).toEqual({ sync: true });
    await close(store);
  });

  it('answers unknown after a failed write, goes silent, says so, and is right after reopening', async () => {
    const failures: RingkeepError[] = [];
    const store = await openEmbeddedTopologyStore(directory.path, {
      onFailed: (error) => failures.push(error),
    });
    await cas(store, node('a', 0));
    vi.spyOn(Level.prototype, 'batch').mockRejectedValueOnce(
      new Error('IO error: 000003.log: No space left on device'),
    );
    const commits: StoreCommit[] = [];
    store.watch((commit) => commits.push(commit));
    const answers = await Promise.all([cas(store, node('a', 1)), cas(store, node('a', 1))]);
    for (const answer of answers) {
      expect(answer).toMatchObject({ status: 'unknown', error: { code: 'DISK_FULL', outcome: 'unknown' } });
    }
    expect(await cas(store, node('b', 0))).toMatchObject({ status: 'unknown' });
    await expect(load(store)).rejects.toMatchObject({ code: 'DISK_FULL', outcome: 'not_applied' });
    expect(commits).toEqual([]);
    expect(failures).toHaveLength(1);
    await close(store);
    const again = await open();
    expect((await load(again)).entries).toEqual(new Map([['node/a', node('a', 0).entry]]));
    await close(again);
  });

  it('refuses a second opener with DIRECTORY_IN_USE', async () => {
    const store = await open();
    await failsToOpen('DIRECTORY_IN_USE');
    await close(store);
  });

  it('finds every flipped bit of a row', async () => {
    const store = await open();
    await cas(store, partition(1, 0));
    await close(store);
    let row = new Uint8Array();
    await tamper(async (database) => {
      row = Uint8Array.from((await database.get(KEY))!);
    });
    for (let byte = 0; byte < row.length; byte += 5) {
      const flipped = Uint8Array.from(row);
      flipped[byte]! ^= 1 << (byte & 7);
      await tamper((database) => database.put(KEY, flipped));
      await expect(open()).rejects.toMatchObject({ code: 'DAMAGED' });
    }
    await tamper((database) => database.put(KEY, row));
    await close(await open());
  });

  it('finds a row that is lost, stale, misplaced or unknown, and a lost header', async () => {
    const store = await open();
    await cas(store, partition(1, 0), partition(2, 0));
    await close(store);
    let row = new Uint8Array();
    await tamper(async (database) => {
      row = Uint8Array.from((await database.get(KEY))!);
    });
    const later = await open();
    await cas(later, partition(1, 1), partition(2, 1));
    await close(later);
    let good: [Uint8Array, Uint8Array][] = [];
    await tamper(async (database) => {
      good = await database.iterator().all();
    });
    const harms: ((database: LevelDatabase) => Promise<void>)[] = [
      (database) => database.put(KEY, row),
      (database) => database.del(KEY),
      (database) => database.put(Buffer.from('entry/partition/2'), row),
      (database) => database.put(Buffer.from('other'), row),
      (database) => database.del(Buffer.from('store')),
    ];
    for (const harm of harms) {
      await tamper(harm);
      await failsToOpen('DAMAGED');
      await tamper(async (database) => {
        await database.clear();
        await database.batch(good.map(([key, value]) => ({ type: 'put' as const, key, value })));
      });
      await close(await open());
    }
  });

  it('finds the hole that a damaged block leaves in the log', async () => {
    const store = await open();
    for (let n = 0; n < 200; n += 1) await cas(store, partition(n, 0), partition(n + 1000, 0));
    const log = readdirSync(directory.path).find((name) => name.endsWith('.log'))!;
    const contents = readFileSync(join(directory.path, log));
    expect(contents.length).toBeGreaterThan(3 * 32_768);
    await close(store);
    writeFileSync(join(directory.path, log), contents.fill(0, 40_000, 40_100));
    await failsToOpen('DAMAGED');
  });

  it('refuses a row of a newer format', async () => {
    const store = await open();
    await cas(store, partition(1, 0));
    await close(store);
    await tamper(async (database) => {
      const row = Buffer.from((await database.get(KEY))!);
      row.writeUInt8(2, 0);
      row.writeUInt32LE(crc32c(row.subarray(8), crc32c(row.subarray(0, 4), crc32c(KEY))), 4);
      await database.put(KEY, row);
    });
    await failsToOpen('FORMAT_TOO_NEW');
  });
});

describe('SimTopologyStore faults', () => {
  const withFate = (fate: Fate) => {
    const { world, schedule } = selfRunningWorld(9);
    const store = new SimTopologyStore({ schedule, random: () => world.random.next(), fate: () => fate });
    return { world, store };
  };

  it.each([
    ['lost', 0, 0],
    ['applied', 1, 1],
    ['applied-late', 0, 1],
  ] as const)(
    'answers unknown for %s: %i commits at the answer, %i in the end',
    async (fate, atAnswer, inTheEnd) => {
      const { world, store } = withFate(fate);
      expect(await cas(store, cluster)).toMatchObject({ status: 'unknown', error: { outcome: 'unknown' } });
      expect(store.state().revision).toBe(atAnswer);
      world.run(world.now + 1e6);
      expect(store.state().revision).toBe(inTheEnd);
    },
  );

  it('drops a late write whose key has moved on', async () => {
    let fate: Fate = 'applied-late';
    const { world, schedule } = selfRunningWorld(9);
    const store = new SimTopologyStore({ schedule, random: () => world.random.next(), fate: () => fate });
    const late = cas(store, node('a', 0));
    fate = 'normal';
    expect(await cas(store, node('a', 0, 500))).toMatchObject({ status: 'ok' });
    await late;
    world.run(world.now + 1e6);
    expect(store.state().revision).toBe(1);
    expect(store.state().entries.get('node/a')).toEqual(node('a', 0, 500).entry);
  });

  it('fails reads and writes while unavailable, applies nothing, and recovers', async () => {
    const store = simStore(9);
    store.unavailable = true;
    expect(await cas(store, cluster)).toMatchObject({ status: 'unknown', error: { code: 'UNAVAILABLE' } });
    await expect(load(store)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
    store.unavailable = false;
    expect((await load(store)).revision).toBe(0);
    expect(await cas(store, cluster)).toMatchObject({ status: 'ok' });
  });

  it('tells commits to the invariants before anybody else', async () => {
    const order: string[] = [];
    const store = simStore(9, { committed: ({ revision }) => order.push(`commit ${revision}`) });
    store.watch(({ revision }) => order.push(`watch ${revision}`));
    await cas(store, cluster);
    await vi.waitFor(() => expect(order).toEqual(['commit 1', 'watch 1']));
  });

  it('rolls back to a backup and forgets the calls under way', async () => {
    const { world, schedule } = selfRunningWorld(9);
    const store = new SimTopologyStore({ schedule, random: () => world.random.next() });
    await cas(store, node('a', 0));
    const backup = store.state();
    await cas(store, node('a', 1));
    let answered = false;
    store.compareAndSwap([node('a', 2)], () => {
      answered = true;
    });
    store.restore(backup);
    world.run(world.now + 1e6);
    expect(answered).toBe(false);
    expect(await read(store, 'node/a')).toEqual([node('a', 0).entry]);
    expect(await cas(store, node('a', 1))).toEqual({ status: 'ok', revision: 2 });
  });

  it('does not share memory with its callers', async () => {
    const store = simStore(9);
    const change = structuredClone(node('a', 0)) as {
      expectedRevision: number;
      entry: StoreEntry & { value: { zone: string } };
    };
    const answer = cas(store, change);
    change.entry.value.zone = 'changed';
    await answer;
    expect(await read(store, 'node/a')).toEqual([node('a', 0).entry]);
  });
});
