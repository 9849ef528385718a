/**
 * Nodes join, are drained and leave under load, with and without kills of everybody that takes part: no client sees an error that it
 * would not see otherwise, nothing acknowledged is lost, and every move comes to its end.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Load } from '../support/load.ts';
import { type ProcessCluster, startCluster } from '../support/processes.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 12;
/** Of a plan under load, on a machine that is busy. */
const MOVES_MS = 120_000;

async function votes(cluster: ProcessCluster): Promise<Record<string, number>> {
  const counts: Record<string, number> = Object.fromEntries(cluster.nodes.map(({ name }) => [name, 0]));
  const { records } = await cluster.topology();
  for (const { voters } of records) for (const { node } of voters) counts[node] = (counts[node] ?? 0) + 1;
  return counts;
}

async function drain(cluster: ProcessCluster, name: string): Promise<void> {
  await cluster.moves({ order: 'MOVES_MEMBERSHIP', node: name, membership: 'NODE_LEAVING' });
}

it('3 nodes become 5 and 3 again under load, and nobody notices', { timeout: 400_000 }, async () => {
  const cluster = await startCluster({ nodes: 3, spares: 2, partitions: PARTITIONS });
  const load = new Load({ url: cluster.url, partitions: PARTITIONS, writers: 4, valueBytes: 2_000 });
  await load.start();
  await delay(2_000);
  await cluster.join();
  await cluster.join();
  const grown = await cluster.whenMoved(MOVES_MS);
  await cluster.whenHealthy();
  const five = await votes(cluster);
  console.log(`5 nodes: ${JSON.stringify(five)}; ${grown.moves.length} moves, ${grown.reason}`);
  for (const count of Object.values(five)) expect(count).toBeLessThanOrEqual(9);
  for (const name of ['n4', 'n5']) expect(five[name]).toBeGreaterThanOrEqual(5);

  for (const replicationFactor of [5, 3]) {
    await cluster.moves({ order: 'MOVES_CONFIGURE', settings: grown.settings!, replicationFactor });
    await cluster.whenMoved(MOVES_MS);
    const { records } = await cluster.topology();
    for (const { voters } of records) expect(voters).toHaveLength(replicationFactor);
  }

  await drain(cluster, 'n1');
  await drain(cluster, 'n2');
  await cluster.whenMoved(MOVES_MS);
  await cluster.whenHealthy();
  expect(await votes(cluster)).toEqual({ n1: 0, n2: 0, n3: 12, n4: 12, n5: 12 });
  for (const name of ['n1', 'n2']) await cluster.retire(cluster.node(name));
  await delay(1_000);
  await load.stop();
  await expectEqualReplicas(cluster, PARTITIONS);
  await load.verify();
  console.log(load.summary());
  expect(load.breaches).toEqual([]);
  expect([...load.failures.keys()]).toEqual([]);
});

it('every move ends though its source, its target and the controller are killed, one after the other', {
  timeout: 400_000,
}, async () => {
  const cluster = await startCluster({ nodes: 3, spares: 2, partitions: PARTITIONS });
  const load = new Load({ url: cluster.url, partitions: PARTITIONS, writers: 4, valueBytes: 2_000 });
  await load.start();
  await delay(1_000);
  await cluster.join();
  await cluster.join();
  for (const [at, name] of ['router', 'n4', 'n1', 'n5', 'router', 'n2'].entries()) {
    // Some while the plan is made, some in the middle of it.
    await delay(400 + 700 * (at % 3));
    const victim = name === 'router' ? cluster.router : cluster.node(name);
    await victim.kill('SIGKILL');
    await delay(300);
    await victim.start();
  }
  await cluster.whenHealthy(MOVES_MS);
  await cluster.whenMoved(MOVES_MS);
  await drain(cluster, 'n3');
  await delay(600);
  // It does not answer during its drain, and never again.
  await cluster.node('n3').kill('SIGKILL');
  await cluster.whenMoved(MOVES_MS);
  const left = await votes(cluster);
  console.log(`without n3: ${JSON.stringify(left)}`);
  expect(left.n3).toBe(0);
  await cluster.retire(cluster.node('n3'));
  await cluster.whenHealthy();
  await load.stop();
  await expectEqualReplicas(cluster, PARTITIONS);
  await load.verify();
  console.log(load.summary());
  expect(load.breaches).toEqual([]);
});
