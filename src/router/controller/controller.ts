/**
 * The controller core: the facade over failover, planned changes, formation and rebuild. Pure and synchronous: every
 * input takes the monotonic time in ms and may add effects; the shell drains them with `take` after each input.
 * It may be one of several that believe themselves to be the controller: the store's compare-and-swap settles every
 * question, and what this one remembers can be lost at any time.
 * INVARIANT: only confirmed records are pushed; one request per record is outstanding; an epoch's leader never changes.
 */
import { assert } from '../../common/errors.ts';
import type { Random } from '../../common/random.ts';
import type { AckDefaults, NodeRecord, PartitionRecord, Topology } from '../../common/topology.ts';
import type { AckName, Heartbeat, ReplicaReport, SealReply } from '../../common/wire/messages.ts';
import { acksOf, stepAcks, wishAck } from './acks.ts';
import { adopt, hearNode, refuseRun, writeNodes } from './adoption.ts';
import { balance } from './balance.ts';
import { moveSettingsOf, stepConfiguration } from './cluster-settings.ts';
import {
  type Context,
  createPartitionState,
  createRebalanceMemory,
  emit,
  type PartitionState,
} from './context.ts';
import {
  confirmHeld,
  confirmWhenEstablished,
  failOver,
  hearPromise,
  isContradicted,
  leaderProblem,
  revoke,
  takeSealReply,
} from './failover.ts';
import { type Formation, stepFormation } from './formation.ts';
import { compareFound, isContradictedByReplicas } from './found.ts';
import { isGone } from './members.ts';
import { Moves } from './moves.ts';
import { NodeRegistry } from './nodes.ts';
import { CONTROLLER_DEFAULTS } from './options.ts';
import { drain, stepPlanned } from './planner.ts';
import { adoptPlan, stepRebalance } from './rebalance.ts';
import { stepRebuild } from './rebuild.ts';
import { statusOf } from './status.ts';
import { type Settled, StoreView } from './store-view.ts';
import type {
  BootstrapOptions,
  CasOutcome,
  ControllerOptions,
  ControllerStatus,
  Effects,
  NodeAttachment,
  StoreEntry,
  StoreKey,
} from './types.ts';

/** What a controller is made with. `clusterId` names the cluster if a new one is formed; default: random. */
export interface ControllerInput {
  readonly random: Random;
  readonly bootstrap: BootstrapOptions;
  readonly clusterId?: string;
  readonly options?: Partial<Omit<ControllerOptions, 'bootstrap'>>;
}

/** What a node says after its first message. */
export interface NodeWords {
  readonly heartbeat?: Heartbeat | null;
  readonly sealReplies?: readonly SealReply[];
  readonly reports?: readonly ReplicaReport[];
}

/** One controller run. `load` comes first. */
export class Controller {
  /** For operators. */
  readonly moves: Moves;
  private readonly context: Context;
  private readonly newClusterId: string;
  private formation: Formation = { mode: 'starting', waitingFor: 'the topology store' };

  constructor(input: ControllerInput) {
    const options: ControllerOptions = {
      ...CONTROLLER_DEFAULTS,
      ...input.options,
      bootstrap: input.bootstrap,
    };
    this.newClusterId = input.clusterId ?? input.random.id();
    this.context = {
      options,
      random: input.random,
      nodes: new NodeRegistry(options.detector),
      store: new StoreView(),
      partitions: new Map(),
      leaderCounts: new Map(),
      loadLookedAt: Number.NEGATIVE_INFINITY,
      quietSince: 0,
      dirtyRecords: new Set(),
      dirtyNodes: new Set(),
      dirtyCluster: false,
      ackWishes: new Map(),
      wishes: { membership: new Map(), configuration: {}, plan: false, abort: false },
      rebalance: createRebalanceMemory(),
      seals: [],
      prepares: [],
      events: [],
      rejections: [],
    };
    this.moves = new Moves(this.context);
  }

  /** Takes the whole store, read linearizably. Once, before anything else. */
  load(now: number, entries: readonly StoreEntry[]): void {
    assert(this.formation.mode === 'starting', 'the controller is loaded once');
    this.context.store.load(entries);
    this.context.quietSince = now;
    this.formation = { mode: 'waiting', waitingFor: 'nodes' };
    if (this.context.store.cluster() === null) return;
    this.activate(now);
    for (const state of this.context.partitions.values()) {
      state.found = true;
      state.foundLeaderless = state.record?.leader === null && state.record.epoch > 0;
    }
  }

  /** A node's control stream is up and its first message has been read. Its reports are all that it holds. */
  nodeAttached(now: number, id: string, attachment: NodeAttachment): void {
    assert(this.formation.mode !== 'starting', 'the controller is loaded before nodes attach');
    const cluster = this.context.store.cluster();
    if (cluster !== null && !this.belongs(id, attachment, cluster.clusterId)) return;
    this.context.nodes.attach(now, id, attachment, this.context.store.node(id)?.run ?? '');
    this.context.quietSince = now;
    const { incarnation, boot } = attachment;
    emit(this.context, 'info', 'node_attached', {
      node: id,
      incarnation,
      boot,
      replicas: attachment.reports.length,
    });
    if (this.formation.mode === 'active') hearNode(this.context, this.context.nodes.get(id)!);
    this.step(now);
  }

  /** A node's control stream is closed. */
  nodeDetached(now: number, id: string): void {
    this.context.nodes.detach(now, id);
    this.step(now);
  }

  /** Takes what an attached node says. */
  nodeMessage(now: number, id: string, words: NodeWords): void {
    if (this.context.nodes.get(id)?.attached !== true) return;
    const touched = new Set<number>();
    if (words.heartbeat) {
      const drained = this.context.nodes.isDraining(id);
      this.context.nodes.heartbeat(now, id, words.heartbeat);
      if (drained !== words.heartbeat.draining) {
        emit(this.context, 'info', 'node_draining', { node: id, draining: words.heartbeat.draining });
        this.planAll(now);
      }
    }
    for (const report of words.reports ?? []) {
      this.context.nodes.report(id, report);
      const state = this.context.partitions.get(report.partition);
      if (state !== undefined) hearPromise(state, report.promiseEpoch);
      touched.add(report.partition);
    }
    for (const reply of words.sealReplies ?? []) {
      const state = this.context.partitions.get(reply.partition);
      if (state !== undefined) takeSealReply(this.context, state, id, reply);
      touched.add(reply.partition);
    }
    if (this.formation.mode === 'active') this.stepPartitions(now, touched);
  }

  /** Takes the answer to a compare-and-swap. */
  casResult(now: number, tag: number, outcome: CasOutcome): void {
    this.settle(now, this.context.store.casResult(tag, outcome), false);
  }

  /** Takes the answer to a read: all of its keys that exist, or null when it failed. */
  readResult(now: number, tag: number, entries: readonly StoreEntry[] | null): void {
    const retryAt = now + this.context.options.storeRetryMs;
    this.settle(now, this.context.store.readResult(tag, entries, retryAt), true);
  }

  /** Takes a change by somebody else, where the store tells of them. */
  storeChanged(now: number, entry: StoreEntry): void {
    this.settle(now, this.context.store.told(entry), false);
  }

  /** Asks for a voter to be moved to a node without one. Replaces an earlier request; false if it is not possible now. */
  moveVoter(partition: number, replica: string, toNode: string): boolean {
    const state = this.context.partitions.get(partition);
    const record = state?.record;
    if (state === undefined || record === null || record === undefined) return false;
    const from = record.voters.find((voter) => voter.id === replica)?.node;
    if (from === undefined || record.voters.some((voter) => voter.node === toNode)) return false;
    state.move = { from, to: toNode };
    return true;
  }

  /**
   * Asks for a default acknowledgement level of a keyspace, or with the empty name of the cluster; `acks` tells when it is
   * stored. Only once the cluster is formed.
   * @throws RingkeepError INVALID_ARGUMENT
   */
  setAck(keyspace: string, ack: AckName): void {
    wishAck(this.context, keyspace, ack);
    stepAcks(this.context);
  }

  /** The confirmed default levels, or null while a change of them is on its way to the store. */
  get acks(): AckDefaults | null {
    return this.context.ackWishes.size > 0 ? null : acksOf(this.context);
  }

  /** To be called every few tens of ms: liveness, deadlines, resends, planned changes. */
  tick(now: number): void {
    if (this.formation.mode === 'starting') return;
    this.context.store.tick(now);
    for (const { node, verdict } of this.context.nodes.tick(now)) {
      this.context.quietSince = now;
      const level = verdict.alive ? 'info' : 'warn';
      emit(this.context, level, verdict.alive ? 'node_alive' : 'node_dead', { node, reason: verdict.reason });
    }
    this.step(now);
  }

  /** Returns the whole confirmed topology, for a node or router that has just come. */
  topology(): Topology {
    const nodes = this.context.store.nodes().filter((node) => !isGone(node));
    return this.topologyOf(true, nodes, this.context.store.partitions());
  }

  /** Whether the cluster exists, so that `topology` means something. */
  get formed(): boolean {
    return this.formation.mode === 'active';
  }

  status(): ControllerStatus {
    return statusOf(this.context, this.formation);
  }

  /** Drains the effects. A push must reach a node's stream before the Seals and Prepares beside it. */
  take(): Effects {
    const { store, seals, prepares, events, rejections } = this.context;
    const effects: Effects = {
      ...store.take(),
      seals,
      prepares,
      events,
      push: this.takePush(),
      rejections,
    };
    this.context.seals = [];
    this.context.prepares = [];
    this.context.events = [];
    this.context.rejections = [];
    return effects;
  }

  private belongs(id: string, node: { clusterId: string }, clusterId: string): boolean {
    if (node.clusterId === '' || node.clusterId === clusterId) return true;
    const message = `this cluster is ${clusterId}, the node belongs to ${node.clusterId}`;
    this.context.rejections.push({ node: id, code: 'WRONG_CLUSTER', message });
    emit(this.context, 'error', 'node_of_another_cluster', { node: id, clusterId: node.clusterId });
    return false;
  }

  private takePush(): Topology | null {
    const { store, dirtyRecords, dirtyNodes, dirtyCluster } = this.context;
    const isDirty = dirtyCluster || dirtyRecords.size + dirtyNodes.size > 0;
    if (this.formation.mode !== 'active' || !isDirty) return null;
    const records = [...dirtyRecords].map((partition) => store.partition(partition));
    const nodes = [...dirtyNodes].map((id) => store.node(id));
    dirtyRecords.clear();
    dirtyNodes.clear();
    this.context.dirtyCluster = false;
    const present = <T>(value: T | null): value is T => value !== null;
    const change = this.topologyOf(false, nodes.filter(present), records.filter(present));
    return dirtyCluster ? change : { ...change, acks: null, moves: null };
  }

  private topologyOf(
    full: boolean,
    nodes: readonly NodeRecord[],
    records: readonly PartitionRecord[],
  ): Topology {
    const cluster = this.context.store.cluster();
    return {
      clusterId: cluster?.clusterId ?? '',
      revision: this.context.store.revision(),
      partitions: cluster?.partitions ?? 0,
      replicationFactor: cluster?.replicationFactor ?? 0,
      full,
      nodes,
      records: cluster === null ? [] : records,
      acks: acksOf(this.context),
      moves: moveSettingsOf(this.context),
    };
  }

  /** The cluster record is known: take every partition up. */
  private activate(now: number): void {
    const { store, nodes, partitions } = this.context;
    const cluster = store.cluster()!;
    this.formation = { mode: 'active', waitingFor: '' };
    for (const node of nodes.attached()) {
      if (!this.belongs(node.id, node, cluster.clusterId)) nodes.detach(now, node.id);
    }
    for (const node of store.nodes()) {
      if (isGone(node)) continue;
      nodes.expect(now, node.id);
      this.context.dirtyNodes.add(node.id);
    }
    for (let partition = 0; partition < cluster.partitions; partition += 1) {
      const state = createPartitionState(partition);
      partitions.set(partition, state);
      const record = store.partition(partition);
      adopt(this.context, state, record, now);
      // A record that is missing beside the cluster record was lost.
      state.rebuilding = record === null;
    }
    adoptPlan(this.context);
    for (const node of nodes.attached()) hearNode(this.context, node);
  }

  private settle(now: number, settled: Settled | null, read: boolean): void {
    if (settled === null) return;
    const touched = settled.keys.map((key) => this.settleKey(now, key, read));
    if (this.formation.mode === 'active') {
      this.stepPartitions(
        now,
        touched.filter((partition) => partition !== null),
      );
      return;
    }
    if (this.context.store.cluster() !== null) this.activate(now);
    this.step(now);
  }

  /** Takes a confirmed key over; returns the partition it belongs to, if any. */
  private settleKey(now: number, key: StoreKey, read: boolean): number | null {
    if (key.startsWith('node/')) {
      const id = key.slice('node/'.length);
      this.context.dirtyNodes.add(id);
      refuseRun(this.context, now, id);
    }
    if (key === 'cluster') {
      this.context.dirtyCluster = true;
      stepAcks(this.context);
      stepConfiguration(this.context);
      if (this.formation.mode === 'active') adoptPlan(this.context);
    }
    if (!key.startsWith('partition/')) return null;
    const state = this.context.partitions.get(Number(key.slice('partition/'.length)));
    if (state === undefined) return null;
    const record = this.context.store.partition(state.partition);
    adopt(this.context, state, record, now);
    if (read) state.verifiedRevision = record?.revision ?? 0;
    return state.partition;
  }

  /** Everything that may be due. */
  private step(now: number): void {
    if (this.formation.mode !== 'active') {
      const before = this.formation;
      this.formation = stepFormation(this.context, this.newClusterId);
      if (this.formation.mode === 'fatal' && before.mode !== 'fatal') {
        emit(this.context, 'error', 'clusters_mixed', { reason: this.formation.waitingFor });
      }
      return;
    }
    writeNodes(this.context, now);
    stepAcks(this.context);
    stepConfiguration(this.context);
    stepRebalance(this.context, now);
    this.stepPartitions(now, this.context.partitions.keys());
    this.planAll(now);
  }

  private planAll(now: number): void {
    if (this.formation.mode !== 'active') return;
    drain(this.context, now);
    balance(this.context, now);
  }

  private stepPartitions(now: number, partitions: Iterable<number>): void {
    for (const partition of partitions) {
      const state = this.context.partitions.get(partition);
      if (state !== undefined && !this.context.store.busy(`partition/${partition}`))
        this.stepPartition(now, state);
    }
  }

  private stepPartition(now: number, state: PartitionState): void {
    const { record } = state;
    if (record === null || state.rebuilding) {
      stepRebuild(this.context, state);
      return;
    }
    if (isContradicted(state) || isContradictedByReplicas(this.context, state)) {
      if (state.verifiedRevision !== record.revision) {
        this.context.store.read([`partition/${state.partition}`]);
        return;
      }
      emit(this.context, 'error', 'store_has_forgotten', { partition: state.partition, epoch: record.epoch });
      state.rebuilding = true;
      stepRebuild(this.context, state);
      return;
    }
    const problem = record.leader === null ? '' : leaderProblem(this.context, state, now);
    const unheard = compareFound(this.context, state);
    if (unheard !== '') {
      if (record.leader === null || problem !== '') state.unavailable = unheard;
      return;
    }
    if (record.leader === null) {
      revoke(this.context, state, now);
      return;
    }
    if (problem !== '') {
      if (!confirmHeld(this.context, state)) failOver(this.context, state, now, problem);
      return;
    }
    if (record.established) {
      stepPlanned(this.context, state, now);
      return;
    }
    if (!confirmWhenEstablished(this.context, state)) {
      state.unavailable = `waiting for ${record.leader.node} to commit in epoch ${record.epoch}`;
    }
  }
}
