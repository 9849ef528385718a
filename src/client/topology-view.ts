/**
 * What a direct client knows of the topology: who leads each partition and where the nodes are, from pushes
 * and from the hints of nodes that refused. Pure. It opens no connection and forgets nothing that is newer.
 * INVARIANT: per partition, a record is replaced only by one of a higher epoch, or of the same epoch and a
 * higher revision; a hint counts only while its epoch is not below the record's.
 */
import {
  type NodeRecord,
  noteNode,
  type PartitionRecord,
  quorumSize,
  type Topology,
} from '../common/topology.ts';

/** A node to send to. */
export interface Target {
  readonly node: string;
  /** HOST:PORT for clients. */
  readonly address: string;
}

interface Hint {
  readonly node: string;
  readonly epoch: number;
}

/** Partition leaders and node addresses. */
export class TopologyView {
  readonly #nodes = new Map<string, NodeRecord>();
  readonly #records = new Map<number, PartitionRecord>();
  readonly #hints = new Map<number, Hint>();
  #revision = 0;

  /** Revision of the last topology taken. */
  get revision(): number {
    return this.#revision;
  }

  /** Client addresses of all nodes, those alive first. */
  addresses(): string[] {
    const nodes = [...this.#nodes.values()].filter((node) => node.clientAddress !== '');
    const alive = nodes.filter((node) => node.alive);
    return [...alive, ...nodes.filter((node) => !node.alive)].map((node) => node.clientAddress);
  }

  /** Takes a pushed topology; returns the partitions whose leader may have changed. */
  apply(topology: Topology): number[] {
    this.#revision = topology.revision;
    if (topology.full) this.#nodes.clear();
    for (const node of topology.nodes) noteNode(this.#nodes, node);
    const changed: number[] = [];
    for (const record of topology.records) {
      const known = this.#records.get(record.partition);
      if (known !== undefined && !isNewer(record, known)) continue;
      this.#records.set(record.partition, record);
      const hint = this.#hints.get(record.partition);
      if (hint !== undefined && (hint.epoch < record.epoch || record.leader !== null)) {
        this.#hints.delete(record.partition);
      }
      changed.push(record.partition);
    }
    return changed;
  }

  /** Takes a refusing node's word for the leader of `epoch`, unless something newer is known. */
  hint(partition: number, node: string, epoch: number): void {
    if (!this.#nodes.has(node)) return;
    const record = this.#records.get(partition);
    if (record !== undefined && (record.leader === null ? epoch < record.epoch : epoch <= record.epoch))
      return;
    const known = this.#hints.get(partition);
    if (known !== undefined && epoch <= known.epoch) return;
    this.#hints.set(partition, { node, epoch });
  }

  /** Returns where the leader of a partition is, or null while none is known. */
  leaderOf(partition: number): Target | null {
    const node = this.#hints.get(partition)?.node ?? this.#records.get(partition)?.leader?.node;
    if (node === undefined) return null;
    const record = this.#nodes.get(node);
    return record === undefined || record.clientAddress === ''
      ? null
      : { node, address: record.clientAddress };
  }

  /** Returns where the voters of a partition are, those alive. */
  votersOf(partition: number): Target[] {
    const nodes = (this.#records.get(partition)?.voters ?? []).map(({ node }) => this.#nodes.get(node));
    return nodes.flatMap((node) =>
      node?.alive === true && node.clientAddress !== ''
        ? [{ node: node.id, address: node.clientAddress }]
        : [],
    );
  }

  /** Says which voters of a partition without a leader are missing for a quorum; empty when none are, or it is led. */
  missingQuorum(partition: number): string {
    const record = this.#records.get(partition);
    if (record === undefined || record.leader !== null) return '';
    const dead = record.voters.filter(({ node }) => this.#nodes.get(node)?.alive === false);
    const { length } = record.voters;
    if (length - dead.length >= quorumSize(length)) return '';
    const names = dead.map(({ node }) => node).join(', ');
    return `partition ${partition} has no leader: ${dead.length} of ${length} voters are down (${names})`;
  }
}

function isNewer(record: PartitionRecord, known: PartitionRecord): boolean {
  if (record.epoch !== known.epoch) return record.epoch > known.epoch;
  return record.revision > known.revision;
}
