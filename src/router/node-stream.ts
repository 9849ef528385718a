/**
 * One node's control stream as the controller's shell sees it: what the node last said, and what it is behind with.
 * INVARIANT: Seals and Prepares go only to a node that has been sent every topology before them, or a newer full one;
 * what cannot be sent now is dropped, since the controller core repeats it.
 */
import type { Topology } from '../common/topology.ts';
import type { ControlPush, Opening, Peer } from '../common/wire/contract.ts';
import type {
  Heartbeat,
  NodeMessage,
  Prepare,
  ReplicaFigures,
  ReplicaReport,
  Seal,
} from '../common/wire/messages.ts';
import type { NodeAttachment } from './controller/types.ts';

export class NodeStream {
  readonly id: string;
  readonly incarnation: string;
  readonly boot: number;
  readonly clusterId: string;
  /** The highest protocol version that it speaks. */
  readonly protocolMax: number;
  heartbeat: Heartbeat | null = null;
  /** Monotonic ms of the last message. */
  heardAt: number;
  readonly #opening: Opening;
  readonly #push: ControlPush;
  readonly #reports = new Map<string, ReplicaReport>();
  #figures = new Map<number, ReplicaFigures>();
  /** Has been sent a full topology and every change since. */
  #synced = false;

  constructor(peer: Peer, opening: Opening, push: ControlPush, now: number) {
    const { nodeId, incarnation, boot, clusterId, protocolMax } = peer.hello;
    this.id = nodeId;
    this.incarnation = incarnation;
    this.boot = boot;
    this.clusterId = clusterId;
    this.protocolMax = protocolMax;
    this.heardAt = now;
    this.#opening = opening;
    this.#push = push;
    for (const report of opening.reports) this.#keep(report);
  }

  /** What the controller core is told when the node comes. */
  attachment(): NodeAttachment {
    return {
      incarnation: this.incarnation,
      boot: this.boot,
      register: this.#opening.register,
      clusterId: this.clusterId,
      reports: [...this.#reports.values()],
      knownTopology: this.#opening.topology,
    };
  }

  /** The newest report of a replica, if there is one. */
  report(partition: number, replica: string): ReplicaReport | undefined {
    return this.#reports.get(`${partition}/${replica}`);
  }

  /** Bytes of its replica of a partition, about; 0: it has none, or has not told yet. */
  size(partition: number): number {
    return this.#figures.get(partition)?.bytes ?? 0;
  }

  /** Bytes that it has copied of a replica that it does not have yet. */
  copied(partition: number): number {
    return this.#figures.get(partition)?.copied ?? 0;
  }

  /** Remembers what the node says. */
  hear(message: NodeMessage, now: number): void {
    this.heardAt = now;
    const { heartbeat } = message;
    if (heartbeat !== null) {
      this.heartbeat = heartbeat;
      if (heartbeat.figures.length > 0)
        this.#figures = new Map(heartbeat.figures.map((figures) => [figures.partition, figures]));
    }
    for (const report of message.reports) this.#keep(report);
  }

  /** Sends a change; the full topology instead while the node is behind. */
  sendTopology(change: Topology, full: () => Topology): void {
    this.#synced = this.#push.send({ topology: this.#synced ? change : full() });
  }

  /** Sends the full topology if the node is behind. */
  sync(full: () => Topology): void {
    if (!this.#synced) this.#synced = this.#push.send({ topology: full() });
  }

  sendOrders(seals: Seal[], prepares: Prepare[]): void {
    if (this.#synced) this.#push.send({ seals, prepares });
  }

  fail(...args: Parameters<ControlPush['fail']>): void {
    this.#push.fail(...args);
  }

  #keep(report: ReplicaReport): void {
    this.#reports.set(`${report.partition}/${report.replica}`, report);
  }
}
