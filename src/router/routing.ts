/**
 * The router's view of the topology: which address serves a partition's leader. Keeps the newest of every record,
 * whatever order updates arrive in, and the hints that NOT_LEADER answers carry. Sends nothing, retries nothing.
 * INVARIANT: a record is replaced only by one that is newer by (epoch, revision); a hint never outlives a newer record.
 */
import { partitionOf } from '../common/hash.ts';
import { type NodeRecord, noteNode, type PartitionRecord, type Topology } from '../common/topology.ts';

/** Where to send a request: a node and its address for nodes and routers. */
export interface Route {
  readonly node: string;
  readonly address: string;
  readonly epoch: number;
  /** The record names this leader; otherwise it is a hint. */
  readonly recorded: boolean;
}

/** Returns whether `next` replaces `known`. A rebuilt topology starts at a higher epoch, so epochs are compared first. */
export function isNewer(next: PartitionRecord, known: PartitionRecord | undefined): boolean {
  if (known === undefined) return true;
  return next.epoch > known.epoch || (next.epoch === known.epoch && next.revision > known.revision);
}

/** The table. Starts empty; `apply` fills it. */
export class Routing {
  private clusterId = '';
  private partitionCount = 0;
  private replicationFactor = 0;
  private revision = 0;
  private readonly nodes = new Map<string, NodeRecord>();
  private readonly nodeRevisions = new Map<string, number>();
  private readonly records = new Map<number, PartitionRecord>();
  private readonly hints = new Map<number, { node: string; epoch: number }>();

  /**
   * Applies a full topology or a change. Records that are older than the known ones are ignored; node records are taken
   * from topologies that are not older than the last one. Returns false, and changes nothing, for another cluster.
   */
  apply(topology: Topology): boolean {
    if (this.clusterId !== '' && topology.clusterId !== this.clusterId) return false;
    this.clusterId = topology.clusterId;
    this.partitionCount = topology.partitions;
    this.replicationFactor = topology.replicationFactor;
    for (const record of topology.records) {
      const known = this.records.get(record.partition);
      if (!isNewer(record, known)) continue;
      this.records.set(record.partition, record);
      const hint = this.hints.get(record.partition);
      if (hint !== undefined && (hint.epoch <= record.epoch || record.leader !== null)) {
        this.hints.delete(record.partition);
      }
    }
    for (const node of topology.nodes) {
      if (topology.revision < (this.nodeRevisions.get(node.id) ?? 0)) continue;
      noteNode(this.nodes, node);
      this.nodeRevisions.set(node.id, topology.revision);
    }
    this.revision = Math.max(this.revision, topology.revision);
    return true;
  }

  /** Remembers what a NOT_LEADER answer said, if it is newer than the record. An unknown node is ignored. */
  hint(partition: number, leaderNode: string, epoch: number): void {
    const record = this.records.get(partition);
    if (!this.nodes.has(leaderNode)) return;
    if (record !== undefined && (epoch < record.epoch || (epoch === record.epoch && record.leader !== null)))
      return;
    const known = this.hints.get(partition);
    if (known === undefined || epoch >= known.epoch) this.hints.set(partition, { node: leaderNode, epoch });
  }

  /** Returns the partition of a key; the topology must be known. */
  partitionOf(key: Uint8Array): number {
    return partitionOf(key, this.partitionCount);
  }

  /** Returns where the partition's leader is, or null while none is known. */
  leader(partition: number): Route | null {
    const record = this.records.get(partition);
    const hint = this.hints.get(partition);
    if (hint !== undefined) {
      const address = this.nodes.get(hint.node)!.address;
      return { node: hint.node, address, epoch: hint.epoch, recorded: false };
    }
    if (record === undefined || record.leader === null) return null;
    const node = this.nodes.get(record.leader.node);
    if (node === undefined) return null;
    return { node: node.id, address: node.address, epoch: record.epoch, recorded: true };
  }

  /** Returns the partition's record, or undefined while unknown. */
  record(partition: number): PartitionRecord | undefined {
    return this.records.get(partition);
  }

  node(id: string): NodeRecord | undefined {
    return this.nodes.get(id);
  }

  /** Whether a topology has been applied. */
  get ready(): boolean {
    return this.partitionCount > 0;
  }

  get partitions(): number {
    return this.partitionCount;
  }

  /** Returns everything known as one full topology, to be handed on. */
  topology(): Topology {
    return {
      clusterId: this.clusterId,
      revision: this.revision,
      partitions: this.partitionCount,
      replicationFactor: this.replicationFactor,
      full: true,
      nodes: [...this.nodes.values()],
      records: [...this.records.values()],
    };
  }
}
