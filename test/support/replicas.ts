/** Compares what the nodes of a cluster hold, by the hashes of their rows. */
import { expect } from 'vitest';
import { equalReplicas } from '../../src/chaos/equal.ts';
import { HEALTHY_MS, type ProcessCluster } from './processes.ts';

/**
 * Expects every partition's rows to be equal on the nodes of all its voters, at equal applied index. Waits until the applied indexes
 * are equal; the cluster must be at rest.
 */
export async function expectEqualReplicas(cluster: ProcessCluster, partitions: number): Promise<void> {
  expect(await equalReplicas(cluster, partitions, HEALTHY_MS)).toEqual([]);
}
