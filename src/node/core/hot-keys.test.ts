import { expect, it } from 'vitest';
import { rawRequest } from '../../chaos/requests.ts';
import { LINEARIZABLE_GET } from '../../common/reads.ts';
import { HALF_LIFE_MS, HotKeys } from './hot-keys.ts';

const PART = { id: 1, timeLeftMs: 1_000, keyspace: '', key: Buffer.from('k') };
const GET = { ...PART, get: LINEARIZABLE_GET };
const PUT = {
  ...PART,
  operation: 'put' as const,
  get: null,
  put: { value: Buffer.from('v'), codec: 0, ttlMs: 0 },
};

/** Operations at a steady pace, for so many seconds from `from` ms on. */
function run(
  hot: HotKeys,
  from: number,
  seconds: number,
  each: (at: number) => void,
  perSecond = 100,
): number {
  const steps = seconds * 100;
  for (let step = 1; step <= steps; step += 1) {
    for (let at = 0; at < perSecond / 100; at += 1) each(step);
    hot.tick(from + step * 10);
  }
  return from + steps * 10;
}

it('tells rates that stay as they are while the load does, and halve with each half-life after it', () => {
  const hot = new HotKeys(1);
  hot.tick(1_000);
  let now = run(hot, 1_000, 5, () => hot.note(7, rawRequest(GET)));
  expect(hot.report(10)).toMatchObject({ reads: 100, writes: 0, keys: [{ reads: 100, error: 0 }] });
  now = run(hot, now, 55, (step) => hot.note(7, rawRequest(step % 4 === 0 ? PUT : GET)));
  const told = hot.report(10);
  expect(told.keys).toHaveLength(1);
  expect(told.keys[0]!.key).toEqual(Buffer.from('k'));
  expect(told.partitions[0]!.partition).toBe(7);
  expect(told.seconds).toBeGreaterThan(9);
  expect(told.seconds).toBeLessThan(21);
  for (const one of [told, told.keys[0]!, told.partitions[0]!]) {
    expect(one.reads).toBeGreaterThan(74);
    expect(one.reads).toBeLessThan(77);
    expect(one.reads + one.writes).toBeCloseTo(100, 3);
  }
  run(hot, now, (3 * HALF_LIFE_MS) / 1_000, () => {});
  const rest = hot.report(10).keys[0]!;
  expect(rest.reads + rest.writes).toBeLessThan(25);
});

it('counts every key of a batch, and each keyspace by itself; scans are of no key', () => {
  const hot = new HotKeys(1);
  hot.tick(1);
  const items = ['a', 'b'].map((name) => ({
    ...PUT,
    key: Buffer.from(name),
    condition: null,
    delta: 0n,
    touch: null,
  }));
  hot.note(
    0,
    rawRequest({ ...PART, key: Buffer.from('a'), operation: 'batch', get: null, batch: { items } } as never),
  );
  hot.note(0, rawRequest({ ...GET, keyspace: 'other', key: Buffer.from('a') }));
  hot.note(0, rawRequest({ ...PART, operation: 'scan', get: null } as never));
  hot.tick(1_001);
  const told = hot.report(10);
  expect(told.keys.map(({ keyspace, key }) => `${keyspace}/${key}`).sort()).toEqual(['/a', '/b', 'other/a']);
  expect([told.reads, told.writes]).toEqual([1, 2]);
  expect(hot.shares()).toEqual({ hottestKeyShare: expect.closeTo(1 / 3, 9), hottestPartitionShare: 1 });
  expect(new HotKeys(1).shares()).toEqual({ hottestKeyShare: 0, hottestPartitionShare: 0 });
});

it('looks at a sample where there are many, and tells the same rates', () => {
  const hot = new HotKeys(3);
  hot.tick(1);
  const others = Array.from({ length: 9 }, (_, at) => rawRequest({ ...GET, key: Buffer.from(`other${at}`) }));
  let at = 0;
  run(
    hot,
    1,
    20,
    () => {
      at += 1;
      hot.note(at % 2, at % 2 === 0 ? rawRequest(GET) : others[at % 9]!);
    },
    20_000,
  );
  const [first, second] = hot.report(10).keys;
  expect(first!.key).toEqual(Buffer.from('k'));
  expect(first!.reads / 10_000).toBeGreaterThan(0.97);
  expect(first!.reads / 10_000).toBeLessThan(1.03);
  expect(second!.reads / (10_000 / 9)).toBeGreaterThan(0.9);
  expect(second!.reads / (10_000 / 9)).toBeLessThan(1.1);
  expect(hot.report(10).partitions.map(({ reads }) => Math.round(reads))).toEqual([10_000, 10_000]);
});

it('forgets partitions that are asked for no more', () => {
  const hot = new HotKeys(1);
  hot.tick(1);
  hot.note(5, rawRequest(GET));
  run(hot, 1, 100, () => {});
  expect(hot.report(10)).toMatchObject({ reads: 0, keys: expect.anything(), partitions: [] });
});
