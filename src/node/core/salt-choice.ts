/**
 * Which partitions hold the copies of a hot key: of each other node one that it leads, so that every copy is on a node of its own. A function of
 * the key and the topology; different keys have their copies on different nodes.
 */
import { hashBytes } from '../../common/hash.ts';
import { SALT_PROTOCOL } from '../../common/limits.ts';
import type { PartitionRecord } from '../../common/topology.ts';
import type { PeerProtocols } from './peer-protocols.ts';

/** What is known of the cluster. */
export interface Surroundings {
  readonly options: { readonly nodeId: string };
  records(): Iterable<PartitionRecord>;
  readonly protocols: PeerProtocols;
}

interface Candidate {
  readonly partition: number;
  readonly rank: bigint;
}

/** Returns at most `copies` partitions whose leaders are on different nodes, none of them this one. `key`: user key of the store. */
export function chooseCopies(key: Uint8Array, copies: number, around: Surroundings): number[] {
  const best = new Map<string, Candidate>();
  for (const { partition, leader, established, voters } of around.records()) {
    if (!leader || !established || leader.node === around.options.nodeId) continue;
    // Whoever leads there next has to understand that a copy is to be dropped.
    if (!voters.every(({ node }) => around.protocols.speaks(node, SALT_PROTOCOL))) continue;
    const rank = rankOf(key, partition);
    const known = best.get(leader.node);
    if (known === undefined || rank > known.rank) best.set(leader.node, { partition, rank });
  }
  const chosen = [...best.values()].sort((a, b) => (a.rank < b.rank ? 1 : -1)).slice(0, copies);
  return chosen.map(({ partition }) => partition).sort((a, b) => a - b);
}

function rankOf(key: Uint8Array, partition: number): bigint {
  const bytes = Buffer.alloc(4 + key.byteLength);
  bytes.writeUInt32LE(partition);
  bytes.set(key, 4);
  return hashBytes(bytes);
}
