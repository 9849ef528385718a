/**
 * The scrub finds what nobody reads: a rotten value by its checksum, a diverged one by the hashes of a quorum. By itself, and
 * when it is asked to, and then it says what it has found.
 */
import { describe, expect, it } from 'vitest';
import { partitionOf } from '../../src/common/hash.ts';
import type { PartitionScrub } from '../../src/common/wire/admin-messages.ts';
import { encodeValue, storeKey, TABLE_VALUES, userKey } from '../../src/node/core/layout.ts';
import { Cluster, drawShape } from './cluster.ts';
import type { SimNode } from './sim-node.ts';
import { DEFAULT_READ, SINGLE } from './workload.ts';
import { World } from './world.ts';

interface Target {
  readonly node: SimNode;
  readonly partition: number;
  readonly replica: string;
  readonly row: Uint8Array;
  readonly key: Uint8Array;
}

/** Runs a cluster until a key has been written and applied everywhere; picks a node by its role for that key. */
function prepare(role: 'leader' | 'follower'): { cluster: Cluster; target: Target } {
  const world = new World(7);
  const cluster = new Cluster(
    world,
    drawShape(world, {
      nodes: 3,
      partitions: 1,
      replicationFactor: 3,
      controllers: 1,
      clients: 0,
      datagrams: false,
    }),
  );
  for (const node of cluster.nodes) node.start();
  for (const controller of cluster.controllers) controller.start();
  run(cluster, 20_000, () => cluster.invariants.record(0)?.established === true);
  const name = cluster.workload.keys[0]!;
  const client = cluster.addClient('writer', 0);
  let written = false;
  client.run(
    { kind: 'put', key: name, ack: 'all', condition: null, ttlMs: 0, ...DEFAULT_READ, ...SINGLE },
    (applied) => {
      written = applied;
    },
  );
  run(cluster, 20_000, () => written);
  const partition = partitionOf(Buffer.from(name), 1);
  const { leader, voters } = cluster.invariants.record(partition)!;
  const voter = voters.find(({ id }) => (id === leader!.replica) === (role === 'leader'))!;
  const node = cluster.nodes.find(({ id }) => id === voter.node)!;
  const { generation } = node.core!.replicas.byPartition.get(partition)!.machine;
  const row = userKey('', Buffer.from(name));
  const key = storeKey(partition, generation, TABLE_VALUES, row);
  run(cluster, 20_000, () => node.store.getSync(key) !== undefined);
  return { cluster, target: { node, partition, replica: voter.id, row, key } };
}

function run(cluster: Cluster, limitMs: number, until: () => boolean): void {
  const { world } = cluster;
  world.run(world.now + limitMs, until);
  expect(until(), `within ${limitMs} ms of virtual time`).toBe(true);
}

/** The damaged replica stops counting and is replaced under a new id; nothing asked for its data. */
function expectReplaced(cluster: Cluster, { partition, replica }: Target): void {
  run(cluster, 60_000, () => {
    const record = cluster.invariants.record(partition);
    return record?.established === true && !record.voters.some(({ id }) => id === replica);
  });
  expect(cluster.world.counts.get('node replica_damaged')).toBe(1);
  expect(cluster.invariants.record(partition)!.voters).toHaveLength(3);
}

/** Puts another value into the place of a stored one, with a right checksum. */
function diverge(cluster: Cluster, target: Target): void {
  const other = {
    kind: 'value' as const,
    codec: 1,
    version: 1,
    epoch: 1,
    expiresAt: 0,
    value: Buffer.from('other'),
  };
  cluster.invariants.tainted(target.node.id);
  target.node.store.write([{ key: target.key, value: encodeValue(target.row, other) }], () => {});
}

describe('the scrub', () => {
  it('agrees while nothing is wrong', () => {
    const { cluster } = prepare('follower');
    run(cluster, 20_000, () => (cluster.world.counts.get('node scrub_agreed') ?? 0) >= 2);
    expect(cluster.world.counts.has('node replica_damaged')).toBe(false);
  });

  it.each(['leader', 'follower'] as const)(
    'finds a flipped bit in a value that nobody reads, on a %s',
    (role) => {
      const { cluster, target } = prepare(role);
      cluster.invariants.tainted(target.node.id);
      expect(target.node.store.flipBit(target.key)).toBe(true);
      expectReplaced(cluster, target);
    },
  );

  it.each(['leader', 'follower'] as const)('finds a %s that has diverged from a quorum', (role) => {
    const { cluster, target } = prepare(role);
    diverge(cluster, target);
    expectReplaced(cluster, target);
    expect(cluster.world.counts.get('node scrub_differs')).toBe(1);
  });
});

/** Asks the node that leads for a scrub, and runs until that has ended. */
function scrubNow(cluster: Cluster): PartitionScrub {
  const leader = cluster.invariants.record(0)!.leader!;
  const { scrubs } = cluster.nodes.find(({ id }) => id === leader.node)!.core!;
  const number = scrubs.begin([]);
  const told = (): PartitionScrub => scrubs.tell(number)![0]!;
  run(cluster, 5_000, () => told().state !== 'SCRUB_RUNNING');
  return told();
}

describe('a scrub on demand', () => {
  it('agrees while nothing is wrong', () => {
    const { cluster } = prepare('follower');
    expect(scrubNow(cluster)).toMatchObject({ state: 'SCRUB_AGREED', voters: 3, reason: '' });
  });

  it.each(['leader', 'follower'] as const)('names a %s with a flipped bit, which is replaced', (role) => {
    const { cluster, target } = prepare(role);
    cluster.invariants.tainted(target.node.id);
    expect(target.node.store.flipBit(target.key)).toBe(true);
    const told = scrubNow(cluster);
    expect(told).toMatchObject({ state: 'SCRUB_DAMAGED', differing: [] });
    expect(told.damaged.map(({ id }) => id)).toEqual([target.replica]);
    expectReplaced(cluster, target);
    run(cluster, 20_000, () => scrubNow(cluster).state === 'SCRUB_AGREED');
  });

  it.each(['leader', 'follower'] as const)('names a %s that has diverged, which is replaced', (role) => {
    const { cluster, target } = prepare(role);
    diverge(cluster, target);
    const told = scrubNow(cluster);
    expect(told).toMatchObject({ state: 'SCRUB_DIFFERS', damaged: [] });
    expect(told.differing.map(({ id }) => id)).toEqual([target.replica]);
    expectReplaced(cluster, target);
  });

  it('names the replica that is down', () => {
    const { cluster, target } = prepare('follower');
    target.node.crash('power');
    const told = scrubNow(cluster);
    expect(told).toMatchObject({ state: 'SCRUB_UNDECIDED' });
    expect(told.reason).toBe(`no answer from ${target.node.id}; 2 of 3 compared`);
  });
});
