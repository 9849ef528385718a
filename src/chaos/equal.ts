/** Whether all replicas hold the same: the hashes of their rows at equal applied index; and where they do not, which keys show it. */
import { RingkeepError } from '../common/errors.ts';
import { partitionOf } from '../common/hash.ts';
import type { HashReply } from '../common/wire/admin-messages.ts';
import type { ProcessCluster } from './cluster.ts';
import { eventually } from './process.ts';
import type { Difference } from './target.ts';
import { describeHeld, heldBy } from './workload/one-node.ts';

/** Returns the hashes of a partition on the nodes of its voters, at one applied index. The cluster must be at rest. */
async function levelHashes(
  cluster: ProcessCluster,
  partition: number,
  timeoutMs: number,
): Promise<{ nodes: string[]; hashes: HashReply[] }> {
  return eventually(
    `equal applied indexes of partition ${partition}`,
    async (missing) => {
      const topology = await cluster.topology();
      const record = topology.records.find((each) => each.partition === partition);
      const nodes = record?.voters.map(({ node }) => node) ?? [];
      const replies = await Promise.all(
        nodes.map((node) => cluster.hash(cluster.node(node), partition).catch(() => null)),
      );
      const hashes = replies.filter((reply) => reply !== null);
      const indexes = hashes.map(({ appliedIndex }) => appliedIndex);
      const level = hashes.length > 0 && hashes.length === replies.length && new Set(indexes).size === 1;
      return level ? { nodes, hashes } : missing(indexes.join(', '));
    },
    timeoutMs,
  );
}

/** Asks the nodes of a partition what they hold of each of its keys in the default keyspace. */
async function differingKeys(
  cluster: ProcessCluster,
  nodes: readonly string[],
  keys: readonly string[],
): Promise<{ key: string; text: string }[]> {
  const answers = await heldBy(
    nodes.map((node) => cluster.node(node).address),
    '',
    keys,
  );
  return keys.flatMap((key, at) => {
    const held = answers.map((each) => describeHeld(each[at] ?? null));
    if (new Set(held).size === 1) return [];
    return [{ key, text: nodes.map((node, index) => `${node} holds ${held[index]}`).join(', ') }];
  });
}

async function compare(
  cluster: ProcessCluster,
  partition: number,
  timeoutMs: number,
  keys: readonly string[],
): Promise<Difference[]> {
  try {
    const { nodes, hashes } = await levelHashes(cluster, partition, timeoutMs);
    const distinct = new Set(hashes.map(({ hash, rows }) => `${hash} of ${rows} rows`));
    if (distinct.size <= 1) return [];
    const differing = await differingKeys(cluster, nodes, keys);
    const text = `the replicas of partition ${partition} differ: ${[...distinct].join(', ')}`;
    const [first] = differing;
    if (first === undefined) return [{ key: null, text }];
    return [
      { key: first.key, text: `${text}; in ${differing.length} known keys; of this one ${first.text}` },
    ];
  } catch (error) {
    if (!(error instanceof RingkeepError)) throw error;
    return [{ key: null, text: error.message }];
  }
}

/** Returns what is different between replicas, or does not become level within the time; empty: nothing. `keys`: to look for. */
export async function equalReplicas(
  cluster: ProcessCluster,
  partitions: number,
  timeoutMs: number,
  keys: Iterable<string> = [],
): Promise<Difference[]> {
  const known: string[][] = Array.from({ length: partitions }, () => []);
  for (const key of new Set(keys)) known[partitionOf(Buffer.from(key), partitions)]!.push(key);
  const differences: Difference[] = [];
  for (const [partition, own] of known.entries())
    differences.push(...(await compare(cluster, partition, timeoutMs, own)));
  return differences;
}
