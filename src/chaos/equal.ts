/** Whether all replicas hold the same: the hashes of their rows at equal applied index. */
import { RingkeepError } from '../common/errors.ts';
import type { HashReply } from '../common/wire/messages.ts';
import type { ProcessCluster } from './cluster.ts';
import { eventually } from './process.ts';

/** Returns the hashes of a partition on the nodes of its voters, at one applied index. The cluster must be at rest. */
async function levelHashes(
  cluster: ProcessCluster,
  partition: number,
  timeoutMs: number,
): Promise<HashReply[]> {
  return eventually(
    `equal applied indexes of partition ${partition}`,
    async (missing) => {
      const topology = await cluster.topology();
      const record = topology.records.find((each) => each.partition === partition);
      const voters = record?.voters.map(({ node }) => cluster.node(node)) ?? [];
      const replies = await Promise.all(
        voters.map((node) => cluster.hash(node, partition).catch(() => null)),
      );
      const known = replies.filter((reply) => reply !== null);
      const indexes = known.map(({ appliedIndex }) => appliedIndex);
      const level = known.length > 0 && known.length === replies.length && new Set(indexes).size === 1;
      return level ? known : missing(indexes.join(', '));
    },
    timeoutMs,
  );
}

/** Returns what is different between replicas, or does not become level within the time; empty: nothing. */
export async function equalReplicas(
  cluster: ProcessCluster,
  partitions: number,
  timeoutMs: number,
): Promise<string[]> {
  const problems: string[] = [];
  for (let partition = 0; partition < partitions; partition += 1) {
    try {
      const hashes = await levelHashes(cluster, partition, timeoutMs);
      const distinct = new Set(hashes.map(({ hash, rows }) => `${hash} of ${rows} rows`));
      if (distinct.size > 1)
        problems.push(`the replicas of partition ${partition} differ: ${[...distinct].join(', ')}`);
    } catch (error) {
      if (!(error instanceof RingkeepError)) throw error;
      problems.push(error.message);
    }
  }
  return problems;
}
