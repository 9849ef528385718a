/**
 * Scrubs between nodes of different protocol versions, as there are during an upgrade: each ends with the right verdict, or as
 * undecided with a reason, and no good replica is called bad.
 */
import { describe, expect, it } from 'vitest';
import { type BenchNode, CoreBench } from '../../../test/support/core-bench.ts';
import type { PartitionScrub } from '../../common/wire/admin-messages.ts';
import { encodeValue, storeKey, TABLE_VALUES, userKey } from './layout.ts';

const ROWS = 5;
const VALUE_BYTES = 64 * 1024;
/** At which a replica of ROWS rows is read in about 20 s. */
const SLOW = 16 * 1024;

const MIXTURES: readonly [string, Record<string, number>][] = [
  ['a leader of 2 and followers of 1', { b: 1, c: 1 }],
  ['a leader of 2 and followers of 1 and 2', { b: 1 }],
  ['a leader of 1 and followers of 2', { a: 1 }],
  ['nodes of 1 alone', { a: 1, b: 1, c: 1 }],
];

/** Three nodes with some rows; `a` leads. */
function bench(protocols: Record<string, number>, scrubBytesPerSecond?: number): CoreBench {
  const rate = scrubBytesPerSecond === undefined ? {} : { scrubBytesPerSecond };
  const cluster = new CoreBench(['a', 'b', 'c'], { protocols, ...rate });
  cluster.lead('a', 1);
  cluster.advance(200);
  for (let sequence = 1; sequence <= ROWS; sequence += 1)
    cluster.put('a', { sequence }, Buffer.alloc(VALUE_BYTES, sequence));
  cluster.advance(400);
  return cluster;
}

/** Begins a round of the leader, as its interval does. */
function begin(cluster: CoreBench): () => PartitionScrub {
  const { scrubs } = cluster.node('a').core;
  const run = scrubs.begin([]);
  return () => scrubs.tell(run)![0]!;
}

function usable(cluster: CoreBench): boolean[] {
  return cluster.nodes.map(({ replica }) => replica.usable);
}

function nameOf({ replica }: BenchNode): { row: Buffer; name: string } {
  const row = Buffer.from(userKey('', Buffer.from('k1')));
  const key = storeKey(0, replica.machine.generation, TABLE_VALUES, row);
  return { row, name: Buffer.from(key).toString('latin1') };
}

/** Flips a bit of a stored value. */
function rot(node: BenchNode): void {
  const { name } = nameOf(node);
  const bytes = Buffer.from(node.rows.get(name)!);
  bytes[bytes.length - 1]! ^= 1;
  node.rows.set(name, bytes);
}

/** Puts another value into the place of a stored one, with a right checksum. */
function diverge(node: BenchNode): void {
  const { row, name } = nameOf(node);
  const fields = { kind: 'value', codec: 1, version: 2, epoch: 1, expiresAt: 0 } as const;
  node.rows.set(name, encodeValue(row, { ...fields, value: Buffer.from('other') }));
}

describe.each(MIXTURES)('between %s', (_name, protocols) => {
  it('equal replicas agree', () => {
    const cluster = bench(protocols);
    const told = begin(cluster);
    cluster.advance(1_000);
    expect(told()).toMatchObject({ state: 'SCRUB_AGREED', voters: 3, reason: '' });
    expect(usable(cluster)).toEqual([true, true, true]);
  });

  it('they agree also if reading takes longer than a silent replica is waited for', () => {
    const cluster = bench(protocols, SLOW);
    const told = begin(cluster);
    cluster.advance(60_000);
    expect(told()).toMatchObject({ state: 'SCRUB_AGREED', reason: '' });
  });

  it('a follower that differs is called so, and ends', () => {
    const cluster = bench(protocols);
    diverge(cluster.node('c'));
    const told = begin(cluster);
    cluster.advance(1_000);
    expect(told()).toMatchObject({ state: 'SCRUB_DIFFERS', differing: [{ node: 'c' }], damaged: [] });
    expect(usable(cluster)).toEqual([true, true, false]);
  });

  it('followers that have met bad rows end, and nobody else does', () => {
    const cluster = bench(protocols);
    rot(cluster.node('b'));
    rot(cluster.node('c'));
    const told = begin(cluster);
    cluster.advance(20_000);
    expect(usable(cluster)).toEqual([true, false, false]);
    expect(told().differing).toEqual([]);
    if (told().state !== 'SCRUB_DAMAGED') {
      expect(told().state).toBe('SCRUB_UNDECIDED');
      expect(told().reason).toBe('no answer from b, c; 1 of 3 compared');
    }
  });

  it('nobody sends to one of 1 what only 2 knows', () => {
    const cluster = bench(protocols, SLOW);
    rot(cluster.node('c'));
    begin(cluster);
    cluster.advance(60_000);
    const old = ({ from }: { from: string }) => (protocols[from] ?? 2) < 2 || (protocols.a ?? 2) < 2;
    const told = cluster.scrubs.filter(old).map(({ scrub }) => scrub);
    expect(told).not.toEqual([]);
    for (const scrub of told) {
      const { hash, ...rest } = scrub;
      expect(hash).not.toBe('');
      expect(rest).toMatchObject({ underWay: 0, rows: 0, bytes: 0 });
    }
  });
});

it('a follower of 1 that is started again in the middle is waited for for a stated time', () => {
  const cluster = bench({ c: 1 }, SLOW);
  const told = begin(cluster);
  cluster.advance(4_000);
  cluster.node('c').replica.scrubs.close();
  cluster.advance(40_000);
  expect(told().state).toBe('SCRUB_RUNNING');
  cluster.advance(100_000);
  expect(told()).toMatchObject({ state: 'SCRUB_UNDECIDED', reason: 'no answer from c; 2 of 3 compared' });
});
