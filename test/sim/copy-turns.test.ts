/**
 * Copies of several partitions from one node to two others at a low rate: each gets its turn, so that all come to their end and none is given
 * up because it had to wait. The rate is to the chunk as the least rate that can be set is to chunks in production.
 */
import { expect, it } from 'vitest';
import { rawRequest } from '../../src/chaos/requests.ts';
import { partitionOf } from '../../src/common/hash.ts';
import { MOVE_BYTES_MIN, SNAPSHOT_CHUNK_BYTES } from '../../src/common/limits.ts';
import { Cluster, drawShape } from './cluster.ts';
import type { SimNode } from './sim-node.ts';
import { World } from './world.ts';

const SHAPE = {
  ...{ nodes: 1, spares: 2, partitions: 8, replicationFactor: 1, controllers: 1, clients: 0 },
  ...{ routedClients: 0, datagrams: false, sessionWindowMs: 600_000 },
};
const CHUNK = 1_000;
const CORE = {
  ...{ checkpointBytes: 2_000, walRetentionBytes: 1_000, logCacheBytes: 200, walHeldBytes: 1_000_000 },
  ...{ snapshotChunkBytes: CHUNK, snapshotBytesPerSecond: 1_000_000 },
};
const RATE = (CHUNK * MOVE_BYTES_MIN) / SNAPSHOT_CHUNK_BYTES;
const MOVES = { bytesPerSecond: RATE, perNode: 4, automatic: true, lostAfterSeconds: 0 };
/** Of each partition: four copies together need a minute. */
const PARTITION_BYTES = 60_000;
const VALUE_BYTES = 500;

/** Fills all partitions, which `node` leads. */
function fill({ world, invariants }: Cluster, node: SimNode): void {
  let answers = 0;
  const connection = node.accept(Buffer.from('0123456789abcdef'), ({ result }) => {
    expect(result).toBe('receipt');
    answers += 1;
  })!;
  const wanted = PARTITION_BYTES / VALUE_BYTES;
  const filled = new Array<number>(SHAPE.partitions).fill(0);
  let sequence = 0;
  for (let at = 0; filled.some((count) => count < wanted); at += 1) {
    const key = Buffer.from(`key${at}`);
    const partition = partitionOf(key, SHAPE.partitions);
    if (filled[partition]! >= wanted) continue;
    filled[partition]! += 1;
    sequence += 1;
    const { logTime } = node.core!.replicas.byPartition.get(partition)!.machine.mark;
    const put = { value: Buffer.alloc(VALUE_BYTES, sequence), codec: 0, ttlMs: 0 };
    const place = {
      id: sequence,
      keyspace: '',
      sequence,
      lowWater: 1,
      sessionTime: logTime,
      timeLeftMs: 3_000,
    };
    node.request(connection, rawRequest({ ...place, key, operation: 'put', get: null, put }));
    world.run(world.now + 20);
  }
  world.run(world.now + 2_000);
  expect(answers).toBe(sequence);
  expect(invariants.record(0)).not.toBeNull();
}

it.each([1, 2])('of several partitions take turns (seed %i)', { timeout: 120_000 }, (seed) => {
  const world = new World(seed);
  const cluster = new Cluster(world, drawShape(world, SHAPE), { core: CORE, moves: MOVES });
  const { controllers, ghosts, invariants } = cluster;
  const [source, ...targets] = cluster.nodes as [SimNode, ...SimNode[]];
  const records = () => ghosts.map(({ partition }) => invariants.record(partition));
  source.start();
  controllers[0]!.start();
  world.run(10_000, () => records().every((record) => record?.established === true));
  world.run(world.now + 1_000);
  fill(cluster, source);
  for (const target of targets) target.start();
  const isMoved = (): boolean => controllers[0]!.rebalance()?.state === 'done' && moved() > 0;
  const moved = (): number => records().filter((record) => record!.voters[0]!.node !== source.id).length;
  const begunAt = world.now;
  world.run(world.now + 200_000, isMoved);
  expect(world.counts.get('node snapshot_given_up') ?? 0).toBe(0);
  expect(isMoved()).toBe(true);
  expect(moved()).toBeGreaterThanOrEqual(4);
  // No faster than at the rate that was set, nor slower than where copies give way all the time: two chunks a second.
  const seconds = (world.now - begunAt) / 1_000;
  expect(seconds).toBeGreaterThan((moved() * PARTITION_BYTES) / RATE - 5);
  expect(seconds).toBeLessThan((1.25 * moved() * PARTITION_BYTES) / (2 * CHUNK));
});
