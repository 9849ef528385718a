/** Compares what the nodes of a cluster hold, byte by byte, through the administration call. */
import { expect } from 'vitest';
import type { HashReply } from '../../src/common/wire/messages.ts';
import { eventually, type ProcessCluster } from './processes.ts';

/**
 * Expects every partition's rows to be equal on all nodes, at equal applied index. Waits until the applied indexes are
 * equal; the cluster must be at rest, and every node must hold every partition.
 */
export async function expectEqualReplicas(cluster: ProcessCluster, partitions: number): Promise<void> {
  for (let partition = 0; partition < partitions; partition += 1) {
    const hashes = await eventually(`equal applied indexes of partition ${partition}`, async (missing) => {
      const replies: (HashReply | null)[] = await Promise.all(
        cluster.nodes.map((node) => cluster.hash(node, partition).catch(() => null)),
      );
      const known = replies.filter((reply) => reply !== null);
      const indexes = known.map(({ appliedIndex }) => appliedIndex);
      const level = known.length === replies.length && new Set(indexes).size === 1;
      return level ? known : missing(indexes.join(', '));
    });
    expect(new Set(hashes.map(({ hash }) => hash)).size, `hashes of partition ${partition}`).toBe(1);
    expect(new Set(hashes.map(({ rows }) => rows)).size, `rows of partition ${partition}`).toBe(1);
  }
}
