/**
 * When the WAL has grown enough: write every deduplication table with its applied state, make the store durable, then
 * let the WAL drop what neither recovery nor a follower that comes back needs.
 * The tables are handed over a few per tick: encoding all of them at once would hold up heartbeats.
 * INVARIANT: the WAL keeps every entry above a partition's stored deduplication table, as of the last finished sync.
 */
import type { NodeCoreOptions } from './api.ts';
import type { Host } from './host.ts';
import type { Machine } from './machine.ts';
import type { ReplicaSet } from './replica-set.ts';

interface CheckpointHost extends Host {
  readonly options: NodeCoreOptions;
  readonly replicas: ReplicaSet;
  dropWalBelow(floors: Map<number, number>): void;
}

/** Remembered requests whose tables are encoded in one tick, about: 10 to 20 ms of work. */
const REQUESTS_PER_TICK = 20_000;

interface Handed {
  readonly machine: Machine;
  readonly index: number;
}

/** Decides when to checkpoint; one at a time. */
export class Checkpoints {
  private readonly host: CheckpointHost;
  private bytes = 0;
  private bytesAtLast: number | null = null;
  private running = false;
  /** Tables that the store has been given and may not have finished: a sync covers only what has. */
  private handed: Map<number, Handed> | null = null;
  /** Partitions whose turn is still to come. */
  private toHand: number[] = [];

  constructor(host: CheckpointHost) {
    this.host = host;
  }

  /** Takes note of the WAL's size. Growth counts from what the last checkpoint has left, or the WAL would never shrink. */
  walSize(bytes: number): void {
    this.bytes = bytes;
    this.bytesAtLast = Math.min(this.bytesAtLast ?? 0, bytes);
  }

  /** There is more to drop than the last checkpoint has left. */
  hasten(): void {
    if (this.bytesAtLast !== null) this.bytesAtLast = 0;
  }

  tick(): void {
    if (this.running || this.bytesAtLast === null) return;
    const { replicas, options } = this.host;
    if (this.handed === null) {
      if (this.bytes - this.bytesAtLast < options.checkpointBytes) return;
      this.handed = new Map();
      this.toHand = [...replicas.byPartition.keys()];
    }
    const { handed } = this;
    if (this.toHand.length > 0) return this.handOver(handed);
    for (const [partition, { machine, index }] of handed) {
      if (this.isCurrent(partition, machine) && machine.checkpointIndex < index) return;
    }
    this.handed = null;
    this.running = true;
    this.host.store({
      kind: 'sync',
      done: (error) => {
        if (error !== null) throw error;
        this.finish(handed);
      },
    });
  }

  private handOver(handed: Map<number, Handed>): void {
    for (let requests = 0; requests < REQUESTS_PER_TICK; ) {
      const partition = this.toHand.pop();
      if (partition === undefined) return;
      const replica = this.host.replicas.byPartition.get(partition);
      if (replica === undefined || !replica.usable) continue;
      const { machine } = replica;
      machine.checkpoint();
      handed.set(partition, { machine, index: machine.decidedIndex });
      requests += machine.sessions.requests + machine.sessions.size;
    }
  }

  private isCurrent(partition: number, machine: Machine): boolean {
    const replica = this.host.replicas.byPartition.get(partition);
    return replica?.usable === true && replica.machine === machine;
  }

  private finish(handed: ReadonlyMap<number, Handed>): void {
    this.running = false;
    this.bytesAtLast = this.bytes;
    const floors = new Map<number, number>();
    for (const [partition, { usable }] of this.host.replicas.byPartition) {
      // A damaged one never uses its log again; kept for it, the WAL could only grow until it is replaced.
      if (!usable) continue;
      const table = handed.get(partition);
      // A replica made or switched since has its own base; what it lacks here is kept.
      const covered = table !== undefined && this.isCurrent(partition, table.machine);
      floors.set(partition, covered ? table.index + 1 : 0);
    }
    this.host.dropWalBelow(floors);
  }
}
