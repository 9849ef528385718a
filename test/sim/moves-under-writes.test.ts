/**
 * Moves while clients write: every plan comes to its end although nobody stops writing, the copies are slow and the WAL keeps little. A
 * snapshot whose following entries were gone by the time it is installed would be followed by another one, for ever.
 */
import { expect, it } from 'vitest';
import { Cluster, drawShape } from './cluster.ts';
import { describeKey, judge } from './history.ts';
import { World } from './world.ts';

const SHAPE = {
  ...{ nodes: 3, spares: 1, partitions: 2, replicationFactor: 3, controllers: 1, clients: 2 },
  ...{ routedClients: 0, datagrams: false, sessionWindowMs: 600_000 },
};
/** The log that a copy of some seconds needs behind it is many times what is kept for followers. */
const CORE = {
  ...{ checkpointBytes: 2_000, walRetentionBytes: 1_000, logCacheBytes: 200, walHeldBytes: 1_000_000 },
  ...{ appendEntriesMax: 2_048, snapshotChunkBytes: 100 },
};
const MOVES = { bytesPerSecond: 150, perNode: 2, automatic: true, lostAfterSeconds: 0 };
/** In which the moves have to end, of virtual time. */
const LIMIT_MS = 60_000;

/** Runs a cluster until `done`. */
function reach(cluster: Cluster, what: string, done: () => boolean, limitMs: number): void {
  const world: World = cluster.world;
  world.run(world.now + limitMs, done);
  world.check(done(), () => `${what}: not within ${limitMs} ms`);
}

it.each([1, 2])('come to their end while clients write (seed %i)', { timeout: 120_000 }, (seed) => {
  const world = new World(seed);
  const cluster = new Cluster(world, drawShape(world, SHAPE), { core: CORE, moves: MOVES });
  const { nodes, controllers, ghosts, invariants, checks } = cluster;
  const controller = controllers[0]!;
  for (const node of nodes.slice(0, SHAPE.nodes)) node.start();
  controller.start();
  const records = () => ghosts.map(({ partition }) => invariants.record(partition));
  reach(cluster, 'formed', () => records().every((record) => record?.established === true), 10_000);
  for (let at = 1; at <= SHAPE.clients; at += 1) cluster.addClient(`u${at}`, 2);
  world.run(world.now + 1_000);
  const before = checks.history.length;
  const begunAt = world.now;
  nodes[3]!.start();
  const isMoved = (): boolean =>
    controller.rebalance()?.state === 'done' &&
    records().some((record) => record!.voters.some(({ node }) => node === 'n4'));
  reach(cluster, 'the moves have ended', isMoved, LIMIT_MS);
  expect(world.counts.get('node snapshot_installed')).toBeGreaterThan(0);
  // It did take so long, and clients were served meanwhile.
  const seconds = (world.now - begunAt) / 1_000;
  expect(checks.history.length - before).toBeGreaterThan(10 * seconds);
  for (const client of cluster.clients) client.stop();
  reach(cluster, 'all ended', () => cluster.clients.every(({ open }) => open === 0), 20_000);
  expect(judge(checks.history).map(describeKey)).toEqual([]);
});
