/**
 * The I/O around the controller core: nodes' control streams, the topology store, time, logs, pushes. It translates and
 * takes no decision about partitions.
 * INVARIANT: effects are drained after every event, and a topology push is sent before the Seals and Prepares beside it.
 * INVARIANT: of one node id one stream counts: a newer run replaces an older one; another process under the same id is
 * refused while the present one is heard of.
 * Not here: watching the store for other controllers' writes; the embedded store has one writer, and holds its lock.
 */
import { RingkeepError } from '../common/errors.ts';
import type { Log, LogFields } from '../common/log.ts';
import type { AckDefaults, Replica, Topology } from '../common/topology.ts';
import type { MovesReply, MovesRequest, NodeStatus } from '../common/wire/admin-messages.ts';
import type {
  AckChange,
  AttachSink,
  ControlHandler,
  ControlPush,
  Opening,
  Peer,
} from '../common/wire/contract.ts';
import type { NodeMessage, Prepare, ReplicaReport, Seal } from '../common/wire/messages.ts';
import type { AddressChecks } from './address-checks.ts';
import type { Controller } from './controller/controller.ts';
import type { RebalanceStatus } from './controller/rebalance.ts';
import type {
  CasEffect,
  CasOutcome,
  ControllerEvent,
  ControllerStatus,
  Effects,
  ReadEffect,
} from './controller/types.ts';
import { MoveOrders } from './move-orders.ts';
import { NodeStream } from './node-stream.ts';
import type { TopologyStore } from './topology-store.ts';

export interface ControllerShellOptions {
  readonly controller: Controller;
  readonly store: TopologyStore;
  /** Told every confirmed change; the first one is full. */
  readonly onTopology: (topology: Topology) => void;
  /** Told of every replica that its node says to be damaged, each time that it says so. */
  readonly onDamage: (partition: number, replica: Replica) => void;
  /** Of the store. */
  readonly storeId: string;
  /** Told of every node that comes and goes. */
  readonly addresses?: AddressChecks;
  /** Told when going on makes no sense; the process has to exit. */
  readonly onFatal: (error: RingkeepError) => void;
  readonly log: Log;
}

/** Counts for metrics, since the start. */
export interface ControllerCounts {
  readonly cas: Readonly<Record<CasOutcome, number>>;
  /** Log events of the core by name. */
  readonly events: ReadonlyMap<string, number>;
}

/** The highest protocol version of a node, as it has said itself. */
export interface NodeProtocol {
  readonly node: string;
  readonly protocol: number;
}

const TICK_MS = 30;
/** A node id is taken while its process was heard of within this. */
const HEARD_MS = 1_000;

/** Nodes that follow another router say so at least this often; after so long a time of it this one gives up. */
const RIVAL_GAP_MS = 2_500;
const RIVAL_MS = 8_000;

export class ControllerShell implements ControlHandler {
  readonly #options: ControllerShellOptions;
  /** When a node was first, and last, heard to follow another router, without a longer pause between. */
  #rivalSince = Number.NEGATIVE_INFINITY;
  #rivalAt = Number.NEGATIVE_INFINITY;
  readonly #controller: Controller;
  readonly #streams = new Map<string, NodeStream>();
  readonly #cas: Record<CasOutcome, number> = { ok: 0, conflict: 0, unknown: 0 };
  readonly #events = new Map<string, number>();
  #timer: NodeJS.Timeout | undefined;
  /** Operators who wait until what they have set is stored. */
  #ackWaiters: { resolve(acks: AckDefaults): void; reject(error: RingkeepError): void }[] = [];
  readonly #moves: MoveOrders;
  #announced = false;
  #draining = false;
  #stopped = false;

  constructor(options: ControllerShellOptions) {
    this.#options = options;
    this.#controller = options.controller;
    this.#moves = new MoveOrders(options.controller, {
      bytesOf: (partition) => this.#sizeOf(partition),
      copiedOf: (partition, node) => this.#streams.get(node)?.copied(partition) ?? 0,
    });
  }

  /** Loads the store into the core and starts its clock. Rejects with the store's error. */
  start(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#options.store.load((error, state) => {
        if (error !== null || state === undefined) {
          reject(error ?? new RingkeepError('INTERNAL', 'the topology store told nothing'));
          return;
        }
        this.#controller.load(performance.now(), [...state.entries.values()]);
        this.#timer = setInterval(() => this.#tick(), TICK_MS);
        this.#drain();
        resolve();
      });
    });
  }

  /** Stops the clock. What the store and nodes still say is ignored. */
  stop(): void {
    this.#stopped = true;
    clearInterval(this.#timer);
    this.#options.addresses?.stop();
    this.#streams.clear();
    const text = 'the router stopped before the topology store had answered';
    const error = new RingkeepError('SHUTTING_DOWN', text, 'unknown');
    for (const { reject } of this.#ackWaiters.splice(0)) reject(error);
    this.#moves.stop(error);
  }

  get formed(): boolean {
    return this.#controller.formed;
  }

  /** Returns the whole confirmed topology, or null before the cluster is formed. */
  topology(): Topology | null {
    return this.#controller.formed ? this.#controller.topology() : null;
  }

  status(): ControllerStatus {
    return this.#controller.status();
  }

  counts(): ControllerCounts {
    return { cas: this.#cas, events: this.#events };
  }

  /**
   * Sets a default acknowledgement level; resolves with all of them once it is durable and on its way to the nodes.
   * Rejects with RingkeepError NOT_READY before the cluster is formed, INVALID_ARGUMENT, SHUTTING_DOWN.
   */
  async setAck({ keyspace, ack }: AckChange): Promise<AckDefaults> {
    if (this.#stopped) throw new RingkeepError('SHUTTING_DOWN', 'the router is stopping');
    if (!this.#controller.formed) throw new RingkeepError('NOT_READY', 'the cluster is not formed yet');
    this.#controller.setAck(keyspace, ack);
    this.#schedule();
    return new Promise((resolve, reject) => this.#ackWaiters.push({ resolve, reject }));
  }

  /** Does what an operator asks for of moves; see `MoveOrders.answer`. */
  async moves(request: MovesRequest): Promise<MovesReply> {
    if (this.#stopped) throw new RingkeepError('SHUTTING_DOWN', 'the router is stopping');
    return this.#moves.answer(request, performance.now(), () => this.#schedule());
  }

  /** Returns how the moves stand; null before the cluster is formed. */
  moveStatus(): RebalanceStatus | null {
    return this.#controller.formed ? this.#controller.moves.status(performance.now()) : null;
  }

  /** Of a replica, as its leader's node has told it. */
  #sizeOf(partition: number): number {
    const leader = this.#controller.moves.leaderOf(partition);
    return leader === null ? 0 : (this.#streams.get(leader)?.size(partition) ?? 0);
  }

  /** Returns the reasons of partitions that are not served. */
  unavailable(): Map<number, string> {
    const reasons = new Map<number, string>();
    for (const { partition, unavailable } of this.#controller.status().partitions) {
      if (unavailable !== '') reasons.set(partition, unavailable);
    }
    return reasons;
  }

  /** Returns what attached nodes last said of themselves. */
  nodeStatuses(): NodeStatus[] {
    return [...this.#streams.values()].map(({ id, heartbeat }) => ({
      id,
      diskBytes: heartbeat?.diskBytes ?? 0,
      diskFull: heartbeat?.diskFull ?? false,
      draining: heartbeat?.draining ?? false,
    }));
  }

  /** Returns what attached nodes have said that they speak. */
  nodeProtocols(): NodeProtocol[] {
    return [...this.#streams.values()].map(({ id, protocolMax }) => ({ node: id, protocol: protocolMax }));
  }

  /** Returns the last reports of recorded leaders. */
  leaderReports(): ReplicaReport[] {
    const reports: ReplicaReport[] = [];
    for (const { partition, leader } of this.topology()?.records ?? []) {
      if (leader === null) continue;
      const report = this.#streams.get(leader.node)?.report(partition, leader.replica);
      if (report !== undefined) reports.push(report);
    }
    return reports;
  }

  // ------------------------------------------------------------ nodes

  /** @throws RingkeepError UNAVAILABLE while another process holds the node's id, SECOND_ROUTER, SHUTTING_DOWN */
  onAttach(peer: Peer, opening: Opening, push: ControlPush): AttachSink {
    if (this.#stopped) throw new RingkeepError('SHUTTING_DOWN', 'the router is stopping');
    const now = performance.now();
    const { storeId } = peer.hello;
    if (storeId !== '' && storeId !== this.#options.storeId) throw this.#rival(peer, now);
    const stream = new NodeStream(peer, opening, push, now);
    const present = this.#streams.get(stream.id);
    if (present !== undefined) this.#replace(present, stream, now);
    this.#streams.set(stream.id, stream);
    this.#tellDamage(stream.id, opening.reports);
    this.#controller.nodeAttached(now, stream.id, stream.attachment());
    if (this.#controller.formed) stream.sync(() => this.#controller.topology());
    this.#options.addresses?.attached(peer, opening.register.address, (addressCheck) => {
      push.send({ addressCheck });
    });
    this.#schedule();
    return {
      onMessage: (message) => this.#hear(stream, message),
      onEnd: () => this.#detached(stream),
    };
  }

  #tellDamage(node: string, reports: readonly ReplicaReport[]): void {
    for (const { state, partition, replica } of reports)
      if (state === 'damaged') this.#options.onDamage(partition, { id: replica, node });
  }

  /** A node follows another router, which leads it at present. If that goes on and no node comes, there is no place here. */
  #rival(peer: Peer, now: number): RingkeepError {
    const { nodeId, storeId } = peer.hello;
    const text = `node ${nodeId} follows another router, with topology store ${storeId}`;
    const error = new RingkeepError('SECOND_ROUTER', text, 'not_applied', { retryAfterMs: RIVAL_GAP_MS });
    if (this.#streams.size > 0 || now - this.#rivalAt > RIVAL_GAP_MS) {
      this.#rivalSince = now;
      this.#options.log.error('second_router', { node: nodeId, storeId });
    }
    this.#rivalAt = now;
    if (now - this.#rivalSince >= RIVAL_MS) setImmediate(() => this.#options.onFatal(error));
    return error;
  }

  #replace(present: NodeStream, next: NodeStream, now: number): void {
    const another = present.incarnation !== next.incarnation || present.boot > next.boot;
    if (another && now - present.heardAt < HEARD_MS) {
      this.#options.log.error('node_id_in_use', { node: next.id, incarnation: next.incarnation });
      throw new RingkeepError('UNAVAILABLE', `another process is attached as node "${next.id}"`);
    }
    this.#streams.delete(present.id);
    present.fail(new RingkeepError('UNAVAILABLE', 'replaced by a newer stream of this node', 'unknown'));
    this.#controller.nodeDetached(now, present.id);
  }

  #hear(stream: NodeStream, message: NodeMessage): void {
    if (this.#stopped || this.#streams.get(stream.id) !== stream) return;
    const now = performance.now();
    stream.hear(message, now);
    const { heartbeat, sealReplies, reports } = message;
    this.#tellDamage(stream.id, reports);
    this.#controller.nodeMessage(now, stream.id, { heartbeat, sealReplies, reports });
    this.#schedule();
  }

  #detached(stream: NodeStream): void {
    if (this.#stopped || this.#streams.get(stream.id) !== stream) return;
    this.#streams.delete(stream.id);
    this.#options.log.info('node_detached', { node: stream.id });
    this.#options.addresses?.detached(stream.id);
    this.#controller.nodeDetached(performance.now(), stream.id);
    this.#schedule();
  }

  #tick(): void {
    this.#controller.tick(performance.now());
    this.#drain();
    if (!this.#controller.formed) return;
    for (const stream of this.#streams.values()) stream.sync(() => this.#controller.topology());
  }

  // ------------------------------------------------------------ effects

  /** Drains once per event, however many inputs it brought (a group of store answers is one). */
  #schedule(): void {
    if (this.#draining) return;
    this.#draining = true;
    queueMicrotask(() => {
      this.#draining = false;
      if (!this.#stopped) this.#drain();
    });
  }

  #drain(): void {
    const effects = this.#controller.take();
    for (const event of effects.events) this.#note(event);
    for (const cas of effects.cas) this.#write(cas);
    for (const read of effects.reads) this.#read(read);
    for (const { node, code, message } of effects.rejections) {
      this.#streams.get(node)?.fail(new RingkeepError(code, message));
    }
    if (effects.push !== null) this.#broadcast(effects.push);
    this.#order(effects);
    const acks = this.#controller.acks;
    if (acks !== null) for (const { resolve } of this.#ackWaiters.splice(0)) resolve(acks);
    this.#moves.look(performance.now());
  }

  #broadcast(change: Topology): void {
    const full = (): Topology => this.#controller.topology();
    for (const stream of this.#streams.values()) stream.sendTopology(change, full);
    this.#options.onTopology(this.#announced ? change : full());
    this.#announced = true;
  }

  #order(effects: Effects): void {
    if (effects.seals.length + effects.prepares.length === 0) return;
    const orders = new Map<string, { seals: Seal[]; prepares: Prepare[] }>();
    const of = (node: string): { seals: Seal[]; prepares: Prepare[] } => {
      const known = orders.get(node) ?? { seals: [], prepares: [] };
      orders.set(node, known);
      return known;
    };
    for (const { node, seal } of effects.seals) of(node).seals.push(seal);
    for (const { node, prepare } of effects.prepares) of(node).prepares.push(prepare);
    for (const [node, { seals, prepares }] of orders) this.#streams.get(node)?.sendOrders(seals, prepares);
  }

  #write(cas: CasEffect): void {
    this.#options.store.compareAndSwap(cas.changes, (answer) => {
      this.#cas[answer.status] += 1;
      if (this.#stopped) return;
      this.#controller.casResult(performance.now(), cas.tag, answer.status);
      this.#schedule();
    });
  }

  #read(read: ReadEffect): void {
    this.#options.store.read(read.keys, (error, entries) => {
      if (this.#stopped) return;
      this.#controller.readResult(performance.now(), read.tag, error === null ? (entries ?? null) : null);
      this.#schedule();
    });
  }

  #note(event: ControllerEvent): void {
    const { event: name, level, ...fields } = event;
    this.#events.set(name, (this.#events.get(name) ?? 0) + 1);
    this.#options.log[level](name, fields as LogFields);
    if (name === 'clusters_mixed') {
      const text = `the topology store is empty and the nodes disagree: ${String(event.reason)}`;
      this.#options.onFatal(new RingkeepError('WRONG_CLUSTER', text));
    }
  }
}
