/**
 * Conditions, counters, times to live, batches and idempotency keys while leaders are killed and paused: the history of every
 * key is linearizable, what one batch moves is never seen half, and no idempotency key takes effect twice.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { MixedLoad } from '../support/mixed-load.ts';
import { ledBy, type ProcessCluster, startCluster } from '../support/processes.ts';

const PARTITIONS = 4;
const ROUNDS = 3;
const CALM_MS = 1_500;
const PAUSE_MS = 3_000;

async function busiest(cluster: ProcessCluster) {
  const topology = await cluster.whenHealthy();
  const count = (name: string): number => ledBy(topology, name).length;
  return cluster.nodes.toSorted((a, b) => count(b.name) - count(a.name))[0]!;
}

it('every kind of write keeps its promise across killed and paused leaders', {
  timeout: 300_000,
}, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const load = new MixedLoad(cluster.url);
  await load.start();
  for (let round = 0; round < ROUNDS; round += 1) {
    await delay(CALM_MS);
    const killed = await busiest(cluster);
    await killed.kill('SIGKILL');
    await cluster.whenServed(killed);
    await killed.start();
    await delay(CALM_MS);
    const paused = await busiest(cluster);
    paused.signal('SIGSTOP');
    try {
      await delay(PAUSE_MS);
    } finally {
      paused.signal('SIGCONT');
    }
  }
  await cluster.whenHealthy();
  await load.stop();
  expect(load.breaches).toEqual([]);
  // Every kind was there, all the time.
  expect(Math.min(...load.counts.values())).toBeGreaterThan(50);
  expect(load.counts.size).toBe(9);
});
