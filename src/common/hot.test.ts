import { expect, it } from 'vitest';
import { RingkeepError } from './errors.ts';
import { askHot, hotFigures, hotJson, mergeHot } from './hot.ts';
import type { HotReply } from './wire/admin-messages.ts';

/** What a node tells: keys of partition 1 with reads and writes. */
function told(keys: Readonly<Record<string, readonly [number, number]>>): HotReply {
  const list = Object.entries(keys).map(([key, [reads, writes]]) => ({
    ...{ keyspace: '', key: Buffer.from(key), partition: 1, reads, writes, error: 0.5 },
  }));
  const reads = list.reduce((sum, key) => sum + key.reads, 0);
  const writes = list.reduce((sum, key) => sum + key.writes, 0);
  return {
    seconds: 10,
    reads,
    writes,
    keys: list,
    partitions: [{ partition: 1, reads, writes }],
    nodes: [],
    salts: [],
  };
}

it('adds up what nodes tell of the same key and partition', () => {
  const merged = mergeHot(
    [
      { node: 'n10', reply: told({ a: [5, 1], b: [10, 0] }), problem: '' },
      { node: 'n2', reply: told({ a: [8, 0], c: [2, 0] }), problem: '' },
      { node: 'n3', reply: null, problem: 'away' },
    ],
    2,
  );
  expect(merged.keys.map(({ key, reads, writes, error }) => [`${key}`, reads, writes, error])).toEqual([
    ['a', 13, 1, 1],
    ['b', 10, 0, 0.5],
  ]);
  expect(merged.partitions).toEqual([{ partition: 1, reads: 25, writes: 1 }]);
  expect([merged.reads, merged.writes, merged.seconds]).toEqual([25, 1, 10]);
  expect(merged.nodes.map(({ node, problem }) => node + problem)).toEqual(['n2', 'n3away', 'n10']);
});

it('keeps keys of different keyspaces apart', () => {
  const other = told({ a: [1, 0] });
  const reply = { ...other, keys: other.keys.map((key) => ({ ...key, keyspace: 'x' })) };
  const merged = mergeHot(
    [
      { node: 'n1', reply: told({ a: [2, 0] }), problem: '' },
      { node: 'n2', reply, problem: '' },
    ],
    9,
  );
  expect(merged.keys.map(({ keyspace }) => keyspace)).toEqual(['', 'x']);
});

it('asks each node for more keys than it tells, and leaves out who does not answer', async () => {
  const limits: number[] = [];
  const merged = await askHot(['n1', 'n2'], 0, String, async (node, limit) => {
    limits.push(limit);
    if (node === 'n2') throw new RingkeepError('UNAVAILABLE', 'gone');
    return told({ a: [1, 0] });
  });
  expect(limits).toEqual([40, 40]);
  expect(merged.nodes).toEqual([
    { node: 'n1', reads: 1, writes: 0, problem: '' },
    { node: 'n2', reads: 0, writes: 0, problem: 'UNAVAILABLE: gone' },
  ]);
});

it('has each salted key once, whatever nodes say of it', () => {
  const salted = (key: Buffer, partition: number) => ({
    ...{ keyspace: '', key, partition, node: 'n1', waitingWrites: 0, automatic: false },
    copies: [{ partition: 7, node: 'n2', held: true }],
  });
  const [a, b] = [salted(Buffer.from('a'), 1), salted(Buffer.of(255), 2)];
  const reply = mergeHot(
    [
      { node: 'n1', reply: { ...told({}), salts: [b, a] }, problem: '' },
      { node: 'n2', reply: { ...told({}), salts: [a] }, problem: '' },
    ],
    9,
  );
  expect(reply.salts.map(({ partition }) => partition)).toEqual([1, 2]);
  const { salts } = JSON.parse(hotJson(hotFigures(reply)));
  expect(salts).toEqual([
    { ...a, key: 'a' },
    { ...b, key: { $base64: '/w==' } },
  ]);
});

it('is shown with shares, and keys that are no text as bytes', () => {
  const reply = mergeHot([{ node: 'n1', reply: told({ a: [3, 0], b: [0, 1] }), problem: '' }], 9);
  const figures = hotFigures(reply);
  expect(figures.keys.map(({ share }) => share)).toEqual([0.75, 0.25]);
  expect(figures.nodes[0]!.share).toBe(1);
  const [first] = reply.keys;
  const shown = JSON.parse(
    hotJson(hotFigures({ ...reply, keys: [{ ...first!, key: Buffer.of(255) }, first!] })),
  );
  expect(shown.keys.map(({ key }: { key: unknown }) => key)).toEqual([{ $base64: '/w==' }, 'a']);
  expect(hotFigures({ ...reply, reads: 0, writes: 0 }).keys[0]!.share).toBe(0);
});
