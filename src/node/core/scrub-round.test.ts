import { describe, expect, it } from 'vitest';
import { type BenchNode, CoreBench } from '../../../test/support/core-bench.ts';
import type { PartitionScrub } from '../../common/wire/admin-messages.ts';
import { encodeValue, storeKey, TABLE_VALUES, userKey } from './layout.ts';
import { ReplicaScrubs } from './scrub.ts';

const ROWS = 5;
const VALUE_BYTES = 64 * 1024;

/** Nodes with some rows; the first one leads. */
function bench(ids: readonly string[], scrubBytesPerSecond?: number): CoreBench {
  const cluster = new CoreBench(ids, scrubBytesPerSecond === undefined ? {} : { scrubBytesPerSecond });
  cluster.lead('a', 1);
  cluster.advance(200);
  for (let sequence = 1; sequence <= ROWS; sequence += 1)
    cluster.put('a', { sequence }, Buffer.alloc(VALUE_BYTES, sequence));
  cluster.advance(400);
  for (const node of cluster.nodes)
    expect(node.replica.machine.appliedIndex).toBe(cluster.nodes[0]!.replica.log.lastIndex);
  return cluster;
}

function begin(cluster: CoreBench, id = 'a'): () => PartitionScrub {
  const { scrubs } = cluster.node(id).core;
  const run = scrubs.begin([]);
  return () => scrubs.tell(run)![0]!;
}

function nameOfRow({ replica }: BenchNode, key: string): string {
  const { generation } = replica.machine;
  return Buffer.from(storeKey(0, generation, TABLE_VALUES, userKey('', Buffer.from(key)))).toString('latin1');
}

/** Flips a bit of a stored value. */
function rot(node: BenchNode, key = 'k1'): void {
  const name = nameOfRow(node, key);
  const bytes = Buffer.from(node.rows.get(name)!);
  bytes[bytes.length - 1]! ^= 1;
  node.rows.set(name, bytes);
}

/** Puts another value into the place of a stored one, with a right checksum. */
function diverge(node: BenchNode, text: string, key = 'k1'): void {
  const fields = { kind: 'value', codec: 1, version: 2, epoch: 1, expiresAt: 0 } as const;
  const row = userKey('', Buffer.from(key));
  node.rows.set(nameOfRow(node, key), encodeValue(row, { ...fields, value: Buffer.from(text) }));
}

function idsOf(...nodes: readonly BenchNode[]): readonly { id: string; node: string }[] {
  return nodes.map(({ replicaName }) => replicaName);
}

describe('a scrub on demand', () => {
  it('begins at once, and tells what was compared', () => {
    const cluster = bench(['a', 'b', 'c']);
    const told = begin(cluster);
    expect(told().state).toBe('SCRUB_RUNNING');
    cluster.advance(400);
    expect(told()).toMatchObject({
      state: 'SCRUB_AGREED',
      voters: 3,
      differing: [],
      damaged: [],
      reason: '',
    });
    expect(told().index).toBe(cluster.node('a').replica.log.lastIndex);
    expect(told().hash).toMatch(/^[\da-f]{16}$/);
    expect(told().rows).toBeGreaterThanOrEqual(ROWS);
    expect(told().bytes).toBeGreaterThan(ROWS * VALUE_BYTES);
    expect(cluster.node('a').eventNames.filter((name) => name.startsWith('scrub_'))).toEqual([
      'scrub_agreed',
    ]);
  });

  it('joins one that is under way, and one that waits', () => {
    const cluster = bench(['a', 'b', 'c'], 64 * 1024);
    const first = begin(cluster);
    const waiting = begin(cluster);
    expect(waiting()).toBe(first());
    cluster.advance(1_000);
    const last = cluster.node('a').replica.log.lastIndex;
    const second = begin(cluster);
    cluster.advance(1_000);
    expect(second()).toBe(first());
    expect(first()).toMatchObject({ state: 'SCRUB_RUNNING', index: last });
    cluster.advance(8_000);
    expect(second()).toMatchObject({ state: 'SCRUB_AGREED', index: last });
    expect(cluster.node('a').replica.log.lastIndex).toBe(last);
    const later = begin(cluster);
    cluster.advance(9_000);
    expect(later()).toMatchObject({ state: 'SCRUB_AGREED', index: last + 1 });
  });

  it('goes on while replicas say that they do, however slow they are', () => {
    const cluster = bench(['a', 'b', 'c'], 16 * 1024);
    const told = begin(cluster);
    cluster.advance(15_000);
    expect(told()).toMatchObject({ state: 'SCRUB_RUNNING' });
    expect(told().bytes).toBeGreaterThan(VALUE_BYTES);
    cluster.advance(15_000);
    expect(told()).toMatchObject({ state: 'SCRUB_AGREED' });
  });

  it('waits for a replica that is behind', () => {
    const cluster = bench(['a', 'b', 'c']);
    const c = cluster.node('c');
    // It takes no writes of clients, so the entry of the scrub, behind one, has to wait.
    c.core.diskFullChanged(true);
    cluster.put('a', { sequence: ROWS + 1 });
    cluster.advance(100);
    const told = begin(cluster);
    cluster.advance(30_000);
    expect(told()).toMatchObject({ state: 'SCRUB_RUNNING' });
    c.core.diskFullChanged(false);
    cluster.advance(1_000);
    expect(told()).toMatchObject({ state: 'SCRUB_AGREED' });
  });

  it('is not for one that follows', () => {
    const cluster = bench(['a', 'b', 'c']);
    const { scrubs } = cluster.node('b').core;
    expect(scrubs.tell(scrubs.begin([0]))).toMatchObject([{ partition: 0, state: 'SCRUB_UNAVAILABLE' }]);
    expect(scrubs.tell(scrubs.begin([]))).toEqual([]);
  });
});

describe('a scrub names', () => {
  it('a follower that has met a bad row, at once', () => {
    const cluster = bench(['a', 'b', 'c']);
    const b = cluster.node('b');
    rot(b);
    const told = begin(cluster);
    cluster.advance(400);
    expect(told()).toMatchObject({ state: 'SCRUB_DAMAGED', damaged: idsOf(b), differing: [], reason: '' });
    expect(b.replica.usable).toBe(false);
    expect(cluster.node('c').replica.usable).toBe(true);
    // Until it is replaced, which ends the leadership, there is nothing new to be found.
    expect(begin(cluster)()).toBe(told());
  });

  it('the own replica of the leader, also when it leads no more', () => {
    const cluster = bench(['a', 'b', 'c']);
    const a = cluster.node('a');
    rot(a);
    const told = begin(cluster);
    cluster.advance(400);
    expect(a.replica.usable).toBe(false);
    expect(a.replica.leadership).toBeNull();
    expect(told()).toMatchObject({ state: 'SCRUB_DAMAGED', damaged: idsOf(a) });
  });

  it('a replica that differs from equal hashes of a quorum, which is damaged then', () => {
    const cluster = bench(['a', 'b', 'c']);
    const c = cluster.node('c');
    diverge(c, 'other');
    const told = begin(cluster);
    cluster.advance(400);
    expect(told()).toMatchObject({ state: 'SCRUB_DIFFERS', differing: idsOf(c), damaged: [] });
    expect(cluster.nodes.map(({ replica }) => replica.usable)).toEqual([true, true, false]);
  });

  it('once more a replica that goes on although it differs', () => {
    const cluster = bench(['a', 'b', 'c']);
    const { replica } = cluster.node('c');
    diverge(cluster.node('c'), 'other');
    const { scrubs } = replica;
    // As if it had been restarted: it knows nothing of the scrub any more.
    scrubs.onMessage = () => {};
    const told = begin(cluster);
    cluster.advance(4_000);
    expect(told().state).toBe('SCRUB_DIFFERS');
    expect(replica.usable).toBe(true);
    expect(cluster.node('a').replica.log.lastIndex).toBe(told().index);
    cluster.advance(2_000);
    expect(cluster.node('a').replica.log.lastIndex).toBe(told().index + 1);
    scrubs.onMessage = ReplicaScrubs.prototype.onMessage;
    cluster.advance(2_000);
    expect(replica.usable).toBe(false);
  });

  it('nobody if no quorum of hashes is equal, and replaces nobody', () => {
    const cluster = bench(['a', 'b', 'c']);
    diverge(cluster.node('b'), 'one');
    diverge(cluster.node('c'), 'another');
    const told = begin(cluster);
    cluster.advance(1_000);
    expect(told()).toMatchObject({ state: 'SCRUB_NO_QUORUM', differing: [], damaged: [], hash: '' });
    expect(told().reason).toBe('3 different hashes, and no quorum');
    expect(cluster.nodes.map(({ replica }) => replica.usable)).toEqual([true, true, true]);
  });

  it('nobody of two replicas that differ', () => {
    const cluster = bench(['a', 'b']);
    diverge(cluster.node('b'), 'one');
    const told = begin(cluster);
    cluster.advance(400);
    expect(told()).toMatchObject({ state: 'SCRUB_NO_QUORUM', differing: [] });
    expect(cluster.nodes.map(({ replica }) => replica.usable)).toEqual([true, true]);
  });

  it('one that differs although another has not answered', () => {
    const cluster = bench(['a', 'b', 'c', 'd', 'e']);
    const [, b] = cluster.trio;
    diverge(b, 'other');
    cluster.cut.add('e');
    const told = begin(cluster);
    cluster.advance(5_000);
    expect(told()).toMatchObject({ state: 'SCRUB_DIFFERS', differing: idsOf(b) });
    expect(told().reason).toBe('no answer from e; 4 of 5 compared');
    expect(b.replica.usable).toBe(false);
  });
});

describe('a scrub is undecided', () => {
  it('soon, while a replica cannot be heard, and says which', () => {
    const cluster = bench(['a', 'b', 'c']);
    cluster.cut.add('c');
    const told = begin(cluster);
    cluster.advance(5_000);
    expect(told()).toMatchObject({ state: 'SCRUB_UNDECIDED', differing: [], damaged: [] });
    expect(told().reason).toBe('no answer from c; 2 of 3 compared');
    cluster.cut.delete('c');
    cluster.advance(1_000);
    const again = begin(cluster);
    cluster.advance(1_000);
    expect(again().state).toBe('SCRUB_AGREED');
  });

  it('when a replica has been restarted in the middle of it', () => {
    const cluster = bench(['a', 'b', 'c'], 16 * 1024);
    const told = begin(cluster);
    cluster.advance(4_000);
    const scrubs = cluster.delivered.get('scrub');
    expect(scrubs).toBeGreaterThan(0);
    cluster.node('c').replica.scrubs.close();
    cluster.advance(5_000);
    expect(told().state).toBe('SCRUB_RUNNING');
    cluster.advance(30_000);
    expect(told()).toMatchObject({ state: 'SCRUB_UNDECIDED', reason: 'no answer from c; 2 of 3 compared' });
  });

  it('when the leader changes', () => {
    const cluster = bench(['a', 'b', 'c'], 16 * 1024);
    const told = begin(cluster);
    cluster.advance(1_000);
    cluster.lead('b', 2);
    cluster.advance(1_000);
    expect(told()).toMatchObject({ state: 'SCRUB_UNDECIDED', reason: 'its leader has changed' });
    const next = begin(cluster, 'b');
    cluster.advance(60_000);
    expect(next().state).toBe('SCRUB_AGREED');
  });

  it('when it cannot begin', () => {
    const cluster = bench(['a', 'b', 'c']);
    cluster.node('a').core.diskFullChanged(true);
    const told = begin(cluster);
    cluster.advance(1_000);
    expect(told()).toMatchObject({ state: 'SCRUB_RUNNING', reason: 'the disk of its leader is full' });
    cluster.advance(11_000);
    expect(told()).toMatchObject({ state: 'SCRUB_UNDECIDED', reason: 'the disk of its leader is full' });
    cluster.node('a').core.diskFullChanged(false);
    const again = begin(cluster);
    cluster.advance(1_000);
    expect(again().state).toBe('SCRUB_AGREED');
  });
});
