/** Every process dies at once under load, twice in a row, and starts again on its directory: nothing acknowledged is gone. */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { Load } from '../support/load.ts';
import { eventually, startCluster } from '../support/processes.ts';

const PARTITIONS = 48;
const ROUNDS = 2;
const LOAD_MS = 2_000;

it('keeps every acknowledged write when all processes are killed at once', { timeout: 300_000 }, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const load = new Load({ url: cluster.url, direct: cluster.nodeAddresses, partitions: PARTITIONS });
  await load.start();
  for (let round = 1; round <= ROUNDS; round += 1) {
    await delay(LOAD_MS);
    const { writes } = load;
    for (const process of cluster.processes) process.signal('SIGKILL');
    await Promise.all(cluster.processes.map((process) => process.kill('SIGKILL')));
    expect(writes).toBeGreaterThan(0);
    const startedAt = performance.now();
    await cluster.start();
    await cluster.whenHealthy();
    const after = load.writes;
    await eventually('writes after the restart', () => (load.writes > after ? true : null));
    console.log(`round ${round}: all leaders back after ${Math.round(performance.now() - startedAt)} ms`);
    await load.verify();
  }
  await load.stop();
  await load.verify();
  console.log(load.summary());
  expect(load.breaches).toEqual([]);
});
