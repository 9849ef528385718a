/**
 * What the checks know of nodes, replicas, partitions and epochs, from outside of the cores. It is only a memory with
 * a few questions that it answers: what is a violation, `invariants.ts` says.
 */
import type { PartitionRecord, Replica } from '../../src/common/topology.ts';
import type { GhostPartition } from './ghost.ts';
import type { ShadowLog, ShadowWal } from './shadow.ts';
import type { World } from './world.ts';

/** What the checks remember of one replica id, across crashes. */
export interface ReplicaFacts {
  readonly node: string;
  /** Highest epoch of a Seal that it accepted, and the reservation. */
  sealedEpoch: number;
  reservationId: string;
  /** Its data is wiped or known to be damaged: it must never speak again. */
  dead: boolean;
  /** Its last acknowledgement: may be counted by the leader after the replica is lost. */
  acked: { readonly epoch: number; readonly index: number };
}

/** A node's current data directory and process run. */
export interface NodeFacts {
  wal: ShadowWal;
  boot: number;
  /** Something of this data directory was damaged on purpose, ever: replicas may be found damaged. */
  injured: boolean;
  /** By partition: commit index reported in this run, and the replica that reported it. */
  commits: Map<number, { replica: string; commit: number }>;
}

/** What is known of an epoch of a partition. */
export interface EpochFacts {
  /** `replica@boot` that appended its first entry. */
  appender: string;
  recorded: PartitionRecord | null;
  /** The appender's log below its first entry. */
  start: { readonly base: number; readonly baseEpoch: number; readonly epochs: readonly number[] } | null;
  /** Last own entry appended. */
  lastIndex: number;
}

export interface PartitionFacts {
  readonly ghost: GhostPartition;
  /** As the topology store holds it. */
  record: PartitionRecord | null;
  /** The topology store was put back, ever: records may be rebuilt. */
  restored: boolean;
  /** The store has forgotten something, and no record of this epoch or a later one is established again; 0: it has not. */
  forgotten: number;
  /** The highest epoch that was ever in a record. */
  epochMax: number;
  readonly epochs: Map<number, EpochFacts>;
  /** Every move of the commit point: how far, and by the leader of which epoch. */
  readonly commits: { readonly index: number; readonly epoch: number }[];
  /** `epoch:index` → hash and the epoch of the entry before. */
  readonly entries: Map<string, { readonly hash: number; readonly previousEpoch: number }>;
}

/** The memory of one simulation's checks. */
export class Facts {
  readonly nodes = new Map<string, NodeFacts>();
  readonly replicas = new Map<string, ReplicaFacts>();
  private readonly world: World;
  private readonly partitions: PartitionFacts[];

  constructor(world: World, ghosts: readonly GhostPartition[]) {
    this.world = world;
    this.partitions = ghosts.map((ghost) => ({
      ghost,
      record: null,
      restored: false,
      forgotten: 0,
      epochMax: 0,
      epochs: new Map(),
      commits: [],
      entries: new Map(),
    }));
  }

  /** The shadow of what a node holds durably in a partition. */
  durableLog(node: string, partition: number): ShadowLog | undefined {
    return this.nodes.get(node)?.wal.durable.get(partition);
  }

  holds(voter: Replica, partition: number, index: number, epoch: number): boolean {
    const log = this.durableLog(voter.node, partition);
    if (log?.meta?.replica !== voter.id) return false;
    return index < log.base || log.epochAt(index) === epoch;
  }

  /** A replica that was lost after its acknowledgement had left. */
  hadAcked(voter: Replica, index: number, epoch: number): boolean {
    const facts = this.replicas.get(voter.id);
    return facts?.dead === true && facts.acked.epoch === epoch && facts.acked.index >= index;
  }

  /** Wiped, damaged, or on a node where damage may still be found: it may never answer again. */
  isLost(voter: Replica): boolean {
    return this.replicas.get(voter.id)?.dead === true || this.nodes.get(voter.node)?.wal.tainted === true;
  }

  /** Whether the partition has a record and no replica is lost that it names, or that the promises of those name. */
  isWhole(partition: number): boolean {
    const { record } = this.partition(partition);
    if (record === null) return false;
    const named = [...record.voters, ...record.previousVoters];
    const promised = named.flatMap(({ id, node }) => {
      const meta = this.durableLog(node, partition)?.meta;
      return meta?.replica === id ? [...meta.voters, ...meta.previousVoters] : [];
    });
    return [...named, ...promised].every((voter) => !this.isLost(voter));
  }

  /** The highest epoch in whose record a leader was named. */
  ledMax({ epochs }: PartitionFacts): number {
    let max = 0;
    for (const [epoch, { recorded }] of epochs) if (recorded !== null && epoch > max) max = epoch;
    return max;
  }

  /** The store was put back, and its record says less than a leader's that it has forgotten: nobody can be elected by it. */
  isBehind(part: PartitionFacts): boolean {
    const { restored, record } = part;
    if (!restored) return false;
    const led = this.ledMax(part);
    return record === null || led > record.epoch || (led === record.epoch && record.leader === null);
  }

  node(id: string): NodeFacts {
    const facts = this.nodes.get(id);
    this.world.check(facts !== undefined, () => `node ${id} is unknown to the checks`);
    return facts;
  }

  partition(partition: number): PartitionFacts {
    const facts = this.partitions[partition];
    this.world.check(facts !== undefined, () => `partition ${partition} does not exist`);
    return facts;
  }

  replica(replica: string, node: string): ReplicaFacts {
    let facts = this.replicas.get(replica);
    if (facts === undefined) {
      facts = { node, sealedEpoch: 0, reservationId: '', dead: false, acked: { epoch: 0, index: 0 } };
      this.replicas.set(replica, facts);
    }
    return facts;
  }

  epoch(part: PartitionFacts, epoch: number): EpochFacts {
    let facts = part.epochs.get(epoch);
    if (facts === undefined) {
      facts = { appender: '', recorded: null, start: null, lastIndex: 0 };
      part.epochs.set(epoch, facts);
    }
    return facts;
  }
}
