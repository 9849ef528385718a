/**
 * Clusters of real processes for tests: stopped after each test, their logs printed if it fails. What they are is
 * src/chaos/cluster.ts.
 */
import { afterAll, afterEach } from 'vitest';
import { type ClusterShape, type ProcessCluster, prepareProcesses } from '../../src/chaos/cluster.ts';

export { ledBy, type ProcessCluster } from '../../src/chaos/cluster.ts';
export { ClusterProcess, eventually, freePort, HEALTHY_MS } from '../../src/chaos/process.ts';

const clusters = new Set<ProcessCluster>();

async function printLogs(cluster: ProcessCluster): Promise<void> {
  for (const process of cluster.processes)
    console.error(`--- ${process.name} (${process.logPath})\n${await process.logTail()}`);
}

async function stopAll(failed: boolean): Promise<void> {
  const all = [...clusters];
  clusters.clear();
  if (failed) for (const cluster of all) await printLogs(cluster);
  const keep = process.env.RINGKEEP_KEEP_TEST_DATA !== undefined;
  await Promise.all(all.map((cluster) => cluster.stop({ keep })));
}

// Not onTestFailed: that runs after these hooks, when the logs are gone.
afterEach(({ task }) => stopAll(task.result?.state === 'fail'));
afterAll(() => stopAll(false));

/** Prepares a cluster without starting it. Stopped after the test; its logs are printed if the test fails. */
export async function prepareCluster(shape: ClusterShape = {}): Promise<ProcessCluster> {
  const cluster = await prepareProcesses(shape);
  clusters.add(cluster);
  return cluster;
}

/** Starts a cluster and waits until it is healthy. Call it inside a test; it is stopped after it. */
export async function startCluster(shape: ClusterShape = {}): Promise<ProcessCluster> {
  const cluster = await prepareCluster(shape);
  await cluster.start();
  await cluster.whenHealthy();
  return cluster;
}
