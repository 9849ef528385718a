/**
 * The newest topology a node has heard of: records by partition, nodes by id. Served and pushed to clients, so that the
 * data path needs no router (G10).
 * INVARIANT: a record is replaced only by a newer one: a higher epoch, or the same epoch and a higher revision.
 */
import {
  ACK_DEFAULTS,
  type AckLevel,
  MOVE_SETTINGS,
  type NodeRecord,
  noteNode,
  type PartitionRecord,
  type Topology,
} from '../../common/topology.ts';

/** Tells whether `candidate` is newer than `known`. A rebuilt topology store starts revisions again, at a higher epoch. */
export function isNewer(candidate: PartitionRecord, known: PartitionRecord | undefined): boolean {
  if (known === undefined) return true;
  if (candidate.epoch !== known.epoch) return candidate.epoch > known.epoch;
  return candidate.revision > known.revision;
}

/** One change that says what two say, the later one last. */
export function joined(before: Topology | null, change: Topology): Topology {
  if (before === null) return change;
  return {
    ...change,
    acks: change.acks ?? before.acks ?? null,
    moves: change.moves ?? before.moves ?? null,
    nodes: [...before.nodes, ...change.nodes],
    records: [...before.records, ...change.records],
  };
}

/** Merges pushed topologies by record. */
export class TopologyCache {
  private clusterId = '';
  private revision = 0;
  private partitions = 0;
  private replicationFactor = 0;
  private acks = ACK_DEFAULTS;
  /** How replicas are moved. */
  moves = MOVE_SETTINGS;
  private keyspaceAcks: ReadonlyMap<string, AckLevel> = new Map();
  private readonly nodes = new Map<string, NodeRecord>();
  private readonly records = new Map<number, PartitionRecord>();

  get known(): boolean {
    return this.partitions > 0;
  }

  get partitionCount(): number {
    return this.partitions;
  }

  record(partition: number): PartitionRecord | undefined {
    return this.records.get(partition);
  }

  allRecords(): IterableIterator<PartitionRecord> {
    return this.records.values();
  }

  /** The level at which writes to a keyspace are acknowledged that name none. */
  defaultAck(keyspace: string): AckLevel {
    return this.keyspaceAcks.get(keyspace) ?? this.acks.cluster;
  }

  /** Takes a full topology or a change. Returns the records that are news. */
  merge(topology: Topology): PartitionRecord[] {
    if (topology.partitions > 0) {
      this.clusterId = topology.clusterId;
      this.partitions = topology.partitions;
      this.replicationFactor = topology.replicationFactor;
    }
    if (topology.full || topology.acks) {
      this.acks = topology.acks ?? ACK_DEFAULTS;
      this.keyspaceAcks = new Map(this.acks.keyspaces.map(({ keyspace, ack }) => [keyspace, ack]));
    }
    if (topology.full || topology.moves) this.moves = topology.moves ?? MOVE_SETTINGS;
    this.revision = Math.max(this.revision, topology.revision);
    for (const node of topology.nodes) noteNode(this.nodes, node);
    const news: PartitionRecord[] = [];
    for (const record of topology.records) {
      if (!isNewer(record, this.records.get(record.partition))) continue;
      this.records.set(record.partition, record);
      news.push(record);
    }
    return news;
  }

  /** The whole topology, or null before there is one. */
  snapshot(): Topology | null {
    if (!this.known) return null;
    return {
      clusterId: this.clusterId,
      revision: this.revision,
      partitions: this.partitions,
      replicationFactor: this.replicationFactor,
      full: true,
      acks: this.acks,
      moves: this.moves,
      nodes: [...this.nodes.values()],
      records: [...this.records.values()].sort((a, b) => a.partition - b.partition),
    };
  }
}
