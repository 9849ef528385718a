/**
 * Node cores driven by hand: no clock, no disk, no network, no controller. A test says when time passes, when an fsync
 * returns, which links are cut, and speaks for the controller. For interleavings that a simulation meets by chance only.
 */
import { PROTOCOL_MAX } from '../../src/common/limits.ts';
import { makeReplicaId } from '../../src/common/replica-id.ts';
import type { NodeRecord, PartitionRecord, Replica as ReplicaName } from '../../src/common/topology.ts';
import type {
  CounterOrderKind,
  PeerMessage,
  Reply,
  Request,
  Scrub,
  SealReply,
} from '../../src/common/wire/messages.ts';
import { spokenAt } from '../../src/common/wire/versions.ts';
import type { CoreEvent, Effects, StoreEffect } from '../../src/node/core/effects.ts';
import { NodeCore } from '../../src/node/core/node-core.ts';
import type { Replica } from '../../src/node/core/replica.ts';
import type { StoreRow, StoreView } from '../../src/node/store.ts';
import type { ReplicaMeta, WalEntry } from '../../src/node/wal/types.ts';

const WALL_START = 1_000_000;
const MIB = 1024 * 1024;

type Rows = Map<string, Uint8Array>;

class RowsView implements StoreView {
  readonly rows: Rows;

  constructor(rows: Rows) {
    this.rows = rows;
  }

  read: StoreView['read'] = (from, to, bytesMax, done) => {
    const found: StoreRow[] = [];
    let bytes = 0;
    for (const name of [...this.rows.keys()].sort()) {
      const key = Buffer.from(name, 'latin1');
      if (Buffer.compare(key, from) < 0 || Buffer.compare(key, to) >= 0) continue;
      if (bytes >= bytesMax) return done(null, { rows: found, more: true });
      const value = this.rows.get(name)!;
      found.push({ key, value });
      bytes += key.length + value.length;
    }
    done(null, { rows: found, more: false });
  };

  close(): void {}
}

/** One node: its core, rows, WAL entries, and what it did. */
export class BenchNode {
  readonly id: string;
  core: NodeCore;
  boot = 1;
  /** Of its directory; replicas are made in `i`. */
  incarnation = 'i';
  readonly replicaName: ReplicaName;
  readonly rows: Rows = new Map();
  readonly wal: (WalEntry & { readonly partition: number })[] = [];
  readonly events: CoreEvent[] = [];
  readonly replies: Reply[] = [];
  outbox: { node: string; message: PeerMessage }[] = [];
  readonly sealReplies: SealReply[] = [];
  /** Fsyncs and store writes do not return while false. */
  disk = true;
  /** Reads of single values do not return while false. */
  storeReads = true;
  private waitingReads: StoreEffect[] = [];
  /** Fsyncs alone. */
  fsyncs = true;
  readonly scrubBytesPerSecond: number;
  private readonly random: () => number;
  private lsn = 0;
  private readonly metas = new Map<number, ReplicaMeta>();
  private waiting: StoreEffect[] = [];

  constructor(id: string, scrubBytesPerSecond: number, random: () => number) {
    this.id = id;
    this.random = random;
    this.scrubBytesPerSecond = scrubBytesPerSecond;
    this.replicaName = this.nameOf(0);
    this.core = this.makeCore();
  }

  /** Its replica of a partition. */
  nameOf(partition: number): ReplicaName {
    const run = { node: this.id, incarnation: 'i', boot: 1 };
    return { id: makeReplicaId(run, partition === 0 ? 'r' : `r${partition}`), node: this.id };
  }

  private makeCore(): NodeCore {
    return new NodeCore({
      nodeId: this.id,
      incarnation: this.incarnation,
      boot: this.boot,
      run: this.run,
      valueBytesMax: 8 * MIB,
      random: this.random,
      checkpointBytes: 1024 * MIB,
      walRetentionBytes: MIB,
      walHeldBytes: 64 * MIB,
      copyReserveBytes: MIB,
      sessionWindowMs: 600_000,
      idempotencyMs: 86_400_000,
      logCacheBytes: MIB,
      appendEntriesMax: 2048,
      appendBytesTarget: MIB / 4,
      snapshotChunkBytes: MIB,
      snapshotBytesPerSecond: 100 * MIB,
      scrubIntervalMs: 1e9,
      scrubBytesPerSecond: this.scrubBytesPerSecond,
      saltReadsPerSecond: 0,
      requestsMax: 100_000,
      requestBytesMax: 1024 * MIB,
    });
  }

  /** A power cut and a restart: the WAL is kept, the store loses everything, as nothing of it was synced. */
  restart(): void {
    const { metas, lsn: lastLsn } = this;
    if (metas.size === 0) throw new Error('there is no replica');
    this.boot++;
    this.rows.clear();
    this.waiting = [];
    this.outbox = [];
    this.core = this.makeCore();
    this.core.restore({
      replicas: [...metas].map(([partition, meta]) => {
        const epochs = this.walOf(partition).map(({ index, epoch }) => ({ index, epoch }));
        const changes = epochs.filter(({ epoch }, at) => epoch !== epochs[at - 1]?.epoch);
        const log = { firstIndex: 1, lastIndex: epochs.length, epochs: changes, damage: null };
        return { partition, meta, ...log };
      }),
      entries: (partition, from) => this.walOf(partition).slice(from - 1),
      store: { getSync: (key) => this.rows.get(Buffer.from(key).toString('latin1')) },
      lastLsn,
      topology: null,
    });
  }

  private walOf(partition: number): WalEntry[] {
    return this.wal.filter((entry) => entry.partition === partition);
  }

  private get run(): string {
    return `run ${this.boot}`;
  }

  /** The node as the topology store would name it. */
  record(): NodeRecord {
    const { id, boot, run, incarnation } = this;
    const address = `${id}:1`;
    const rest = {
      address,
      clientAddress: address,
      zone: '',
      alive: true,
      reason: '',
      pid: boot,
      formerRuns: [],
    };
    return { id, incarnation, boot, run, ...rest };
  }

  get replica(): Replica {
    return this.core.replicas.byPartition.get(0)!;
  }

  /** Names of the events so far. */
  get eventNames(): string[] {
    return this.events.map(({ event }) => event);
  }

  /** Carries out what the core wants, until it wants nothing more. */
  settle(): void {
    for (let busy = true; busy; ) {
      const effects = this.core.take();
      busy = this.perform(effects);
      if (!this.disk) continue;
      if (this.fsyncs && this.core.durableLsn < this.lsn) {
        this.core.durable(this.lsn);
        busy = true;
      }
      for (const effect of this.waiting.splice(0)) {
        this.performStore(effect);
        busy = true;
      }
    }
  }

  private perform(effects: Effects): boolean {
    for (const record of effects.wal) {
      this.lsn++;
      if (record.type === 'entry') this.wal.push(record);
      if (record.type === 'meta') this.metas.set(record.partition, record.meta);
      if (record.type === 'truncate') {
        const keep = this.wal.filter(
          ({ partition, index }) => partition !== record.partition || index <= record.index,
        );
        this.wal.splice(0, this.wal.length, ...keep);
      }
    }
    for (const { partition, from, countMax, done } of effects.walReads) {
      const entries = this.walOf(partition)
        .filter(({ index }) => index >= from)
        .slice(0, countMax);
      done(null, { gone: entries[0]?.index !== from, entries });
    }
    this.waiting.push(...effects.store);
    this.outbox.push(...effects.peers);
    this.replies.push(...effects.replies.map(({ reply }) => reply));
    this.events.push(...effects.events);
    this.sealReplies.push(...effects.sealReplies);
    return effects.wal.length + effects.walReads.length > 0;
  }

  /** Lets the reads return that have waited, and all later ones. */
  letReads(): void {
    this.storeReads = true;
    for (const effect of this.waitingReads.splice(0)) this.performStore(effect);
  }

  private performStore(effect: StoreEffect): void {
    const name = (key: Uint8Array): string => Buffer.from(key).toString('latin1');
    if (effect.kind === 'write') {
      for (const { key, value } of effect.batch) {
        if (value === null) this.rows.delete(name(key));
        else this.rows.set(name(key), value);
      }
      effect.done(null);
    } else if (effect.kind === 'get' && !this.storeReads) this.waitingReads.push(effect);
    else if (effect.kind === 'get') effect.done(null, this.rows.get(name(effect.key)));
    else if (effect.kind === 'openView') effect.done(null, new RowsView(new Map(this.rows)));
    else if (effect.kind === 'readView')
      effect.view.read(effect.from, effect.to, effect.bytesMax, effect.done);
    else if (effect.kind === 'sync') effect.done(null);
    else if (effect.kind === 'clear') {
      for (const key of this.rows.keys()) {
        const bytes = Buffer.from(key, 'latin1');
        if (Buffer.compare(bytes, effect.from) >= 0 && Buffer.compare(bytes, effect.to) < 0)
          this.rows.delete(key);
      }
    }
  }
}

const half = (): number => 0.5;

/** Some nodes with one partition, or a few. */
export class CoreBench {
  readonly nodes: BenchNode[];
  /** Nodes that nothing reaches and that reach nobody. */
  readonly cut = new Set<string>();
  /** Pairs of nodes that do not hear each other, as `a b` in the order of their names. */
  readonly cutLinks = new Set<string>();
  /** How long messages between nodes are on their way, ms. */
  latencyMs = 0;
  private flying: { from: string; node: string; message: PeerMessage; dueAt: number }[] = [];
  /** Whether what a voter passes on between others arrives. */
  relays = true;
  /** Messages delivered so far, by body. */
  readonly delivered = new Map<string, number>();
  now = 0;
  /** Nodes that are to have a replica without a vote. */
  readonly learning = new Set<string>();
  private revision = 0;
  private requestId = 0;

  /** Orders of copies and of sub-counters that were delivered, in their order. */
  readonly copyOrders: PeerMessage[] = [];
  /** Reads of copies that their homes were told of. */
  copyReads = 0;
  readonly counterOrders: PeerMessage[] = [];
  /** Kinds of these that do not arrive. */
  readonly lostOrders = new Set<CounterOrderKind>();
  /** Scrubs that were delivered, in their order. */
  readonly scrubs: { readonly from: string; readonly scrub: Scrub }[] = [];
  private readonly protocols: Readonly<Record<string, number>>;
  private readonly partitions: number;

  /** `protocols`: the highest version that a node speaks, where it is not the present one. */
  constructor(
    ids: readonly string[],
    options: {
      scrubBytesPerSecond?: number;
      protocols?: Readonly<Record<string, number>>;
      partitions?: number;
      /** What ids and jitter are made of. */
      random?: () => number;
    } = {},
  ) {
    const { scrubBytesPerSecond = 100 * MIB, protocols = {}, partitions = 1, random = half } = options;
    this.protocols = protocols;
    this.partitions = partitions;
    this.nodes = ids.map((id) => new BenchNode(id, scrubBytesPerSecond, random));
    for (const { id, core } of this.nodes)
      for (const other of ids) if (other !== id) core.peerSpeaks(other, this.protocolOf(id, other));
    this.advance(1);
  }

  private protocolOf(one: string, other: string): number {
    return Math.min(this.protocols[one] ?? PROTOCOL_MAX, this.protocols[other] ?? PROTOCOL_MAX);
  }

  /** The first three nodes. */
  get trio(): [BenchNode, BenchNode, BenchNode] {
    const [first, second, third] = this.nodes;
    if (first === undefined || second === undefined || third === undefined)
      throw new Error('fewer than three');
    return [first, second, third];
  }

  node(id: string): BenchNode {
    return this.nodes.find((node) => node.id === id)!;
  }

  /** Lets everybody work and hear each other until nothing happens any more. */
  pump(turnsMax = 1_000): number {
    for (let turn = 0; turn < turnsMax; turn++) {
      for (const node of this.nodes) {
        node.settle();
        for (const sent of node.outbox.splice(0))
          this.flying.push({ from: node.id, ...sent, dueAt: this.now + this.latencyMs });
      }
      const messages = this.flying.filter(({ dueAt }) => dueAt <= this.now);
      this.flying = this.flying.filter(({ dueAt }) => dueAt > this.now);
      if (messages.length === 0) return turn;
      for (const { from, node, message: given } of messages) {
        const message = spokenAt(this.protocolOf(from, node), given);
        const isCut =
          this.cut.has(from) || this.cut.has(node) || this.cutLinks.has([from, node].sort().join(' '));
        if (message === null || isCut || (message.relayed === true && !this.relays)) continue;
        if (message.counterOrder && this.lostOrders.has(message.counterOrder.kind)) continue;
        if (message.copyReply) this.copyReads += message.copyReply.reads;
        if (message.copyOrder) this.copyOrders.push(message);
        if (message.counterOrder) this.counterOrders.push(message);
        if (message.scrub) this.scrubs.push({ from, scrub: message.scrub });
        this.delivered.set(message.body, (this.delivered.get(message.body) ?? 0) + 1);
        this.node(node).core.peerMessages(from, [message]);
      }
    }
    return turnsMax;
  }

  /** Lets time pass in ticks of 20 ms. */
  advance(ms: number): void {
    for (const until = this.now + ms; this.now < until; ) {
      this.tick(Math.min(20, until - this.now));
      this.pump();
    }
  }

  /** Lets time pass, and everybody notice; nobody hears of it. */
  tick(ms: number): void {
    this.now += ms;
    for (const node of this.nodes) {
      node.core.advance(this.now, WALL_START + this.now);
      node.core.tick();
    }
  }

  /** Pushes a record, of partition 0 unless it says otherwise, to nodes. */
  push(fields: Partial<PartitionRecord>, to: readonly BenchNode[] = this.nodes): void {
    const { voters, learners } = this.sets(fields.partition);
    this.revision++;
    const record: PartitionRecord = {
      partition: 0,
      revision: this.revision,
      epoch: 0,
      reservationId: '',
      configuration: 1,
      voters,
      previousVoters: [],
      led: false,
      learners,
      leader: null,
      established: false,
      ...fields,
    };
    this.tell([record], to);
    this.pump();
  }

  private sets(partition = 0): { voters: ReplicaName[]; learners: ReplicaName[] } {
    const names = this.nodes.map((node) => node.nameOf(partition));
    const learns = ({ node }: ReplicaName): boolean => this.learning.has(node);
    return { voters: names.filter((name) => !learns(name)), learners: names.filter(learns) };
  }

  private tell(records: readonly PartitionRecord[], to: readonly BenchNode[]): void {
    const nodes = this.nodes.map((node) => node.record());
    const { revision } = this;
    const head = {
      clusterId: 'c',
      revision,
      partitions: this.partitions,
      replicationFactor: nodes.length,
      full: false,
    };
    for (const node of to) node.core.topologyPushed({ ...head, nodes, records });
  }

  /** Forms the partition if need be, seals `epoch` at `sealed` and names the leader to them, or to others. */
  lead(
    id: string,
    epoch: number,
    sealed: readonly BenchNode[] = this.nodes,
    partition = 0,
    told: readonly BenchNode[] = sealed,
  ): void {
    if (epoch === 1) this.push({ partition });
    // Those that have restarted are admitted first.
    this.tell([], sealed);
    const { voters } = this.sets(partition);
    const reservationId = `e${epoch}`;
    const sets = { configuration: 1, voters, previousVoters: [] };
    for (const node of sealed) {
      node.core.seal({ partition, replica: node.nameOf(partition).id, epoch, reservationId, ...sets });
    }
    this.pump();
    const { boot } = this.node(id);
    const leader = { replica: this.node(id).nameOf(partition).id, node: id, boot };
    this.push({ partition, epoch, reservationId, leader, led: true, established: true }, told);
  }

  /** Sends a put to a node; its reply shows up in `replies`. */
  put(
    id: string,
    fields: Partial<Request> & { sequence: number },
    value: Uint8Array = Buffer.from('v'),
  ): number {
    this.requestId++;
    this.node(id).core.request(
      1,
      {
        id: this.requestId,
        timeLeftMs: 60_000,
        keyspace: '',
        key: Buffer.from(`k${fields.sequence}`),
        clientId: Buffer.alloc(16, 1),
        lowWater: 1,
        sessionTime: WALL_START,
        attempt: 1,
        ack: 'ACK_QUORUM',
        traceParent: '',
        operation: 'put',
        put: { value, codec: 1, ttlMs: 0 },
        ...fields,
      },
      Buffer.alloc(0),
    );
    return this.requestId;
  }

  /** The reply to a request of `put`: what was reached, or the error's code. */
  outcome(id: string, request: number): string {
    const reply = this.node(id).replies.find((candidate) => candidate.id === request);
    return reply?.receipt?.durability ?? reply?.failure?.code ?? 'none';
  }
}
