/**
 * A node without its I/O: all its replicas, its view of the topology, its open requests, its bounds. Events in, effects
 * out (api.ts, effects.ts). The shell around it (src/node/shell) and the simulator carry the effects out.
 * INVARIANT: whatever leaves was decided here or below; the shell takes no decisions.
 */
import { toLatin1 } from '../../common/bytes.ts';
import { assert, RingkeepError } from '../../common/errors.ts';
import { toFailure } from '../../common/failure.ts';
import {
  CLIENT_ID_BYTES,
  OVERLOADED_RETRY_AFTER_MS,
  REQUEST_TIMEOUT_MS,
  REQUEST_TIMEOUT_MS_MAX,
  STORE_READS_MAX,
} from '../../common/limits.ts';
import { hexId } from '../../common/random.ts';
import type { AckLevel, PartitionRecord, Replica as ReplicaName, Topology } from '../../common/topology.ts';
import type {
  PeerMessage,
  Prepare,
  Receipt,
  ReplicaReport,
  Reply,
  Request,
  Seal,
  SealReply,
} from '../../common/wire/messages.ts';
import type { WalAppend } from '../wal/types.ts';
import type { NodeCoreEvents, NodeCoreOptions, RestoreInput } from './api.ts';
import { Checkpoints } from './checkpoints.ts';
import { CopyBudget } from './copy-budget.ts';
import { CopyRoom } from './copy-room.ts';
import { type CoreFigures, figuresOf } from './core-figures.ts';
import { type CoreEvent, type Effects, noEffects, type StoreEffect, type WalReadEffect } from './effects.ts';
import type { Host, PeerBody, RequestHandle } from './host.ts';
import { HotKeys } from './hot-keys.ts';
import { userKey } from './layout.ts';
import type { Leadership } from './leadership.ts';
import { OpenRequests } from './open-requests.ts';
import { PeerProtocols } from './peer-protocols.ts';
import { nodeOfAnswer } from './relay.ts';
import { ReplicaSet } from './replica-set.ts';
import { saysTheSame } from './report.ts';
import { checkRequest, execute, notLeader, partitionFor, requestBytes } from './requests.ts';
import { SaltPolicy } from './salt-policy.ts';
import { ScrubBook } from './scrub-book.ts';
import { type StoreRead, StoreReads } from './store-reads.ts';
import { joined, TopologyCache } from './topology-cache.ts';
import { WalHolds } from './wal-holds.ts';
import { weigh } from './weights.ts';

/** Generations of one process run: boot * this + a counter, as a u32: 262,144 boots. Every snapshot attempt takes one. */
const GENERATIONS_PER_BOOT = 16_384;
const REPORT_MS = 1_000;
/** All that a node decides; see `NodeCoreEvents` for its events. */
export class NodeCore implements NodeCoreEvents, Host {
  readonly options: NodeCoreOptions;
  readonly replicas: ReplicaSet;
  readonly scrubs: ScrubBook;
  now = 0;
  wall = 0;
  durableLsn = 0;
  /** Keys and values of all writes of clients that took effect in the replicas here, since this process began. */
  clientBytes = 0;
  diskFull = false;
  overloaded = false;
  applyBehind = false;
  sessionsFull = false;
  private effects: Effects = noEffects();
  private lastLsn = 0;
  private nextGenerationOffset = 1;
  readonly copies: CopyBudget;
  readonly hot: HotKeys;
  readonly protocols: PeerProtocols;
  readonly keyCopies = { bytes: 0 };
  private readonly salting: SaltPolicy;
  readonly room: CopyRoom;
  readonly holds: WalHolds;
  private draining = false;
  private admitted = false;
  /** Of replicas here to other ones here. */
  private ownMessages: PeerMessage[] = [];
  private readonly dirty = new Set<number>();
  private readonly awaiting = new Set<number>();
  private readonly requests: OpenRequests;
  private readonly reads = new StoreReads(STORE_READS_MAX, (read) => this.store(read));
  private readonly cache = new TopologyCache();
  private readonly reported = new Map<number, { report: ReplicaReport; at: number }>();
  private readonly checkpoints: Checkpoints;

  constructor(options: NodeCoreOptions) {
    assert(options.boot >= 1, 'boots count from 1');
    this.options = options;
    this.protocols = new PeerProtocols(options.nodeId);
    this.requests = new OpenRequests(options.requestsMax, options.requestBytesMax);
    this.replicas = new ReplicaSet(this, options.boot * GENERATIONS_PER_BOOT);
    this.scrubs = new ScrubBook(options, this.replicas.byPartition);
    this.checkpoints = new Checkpoints(this);
    this.copies = new CopyBudget(options.snapshotBytesPerSecond, options.snapshotChunkBytes);
    this.hot = new HotKeys(options.boot);
    this.salting = new SaltPolicy(this);
    this.room = new CopyRoom(options.copyReserveBytes);
    this.holds = new WalHolds(options.walHeldBytes);
  }

  // ---------------------------------------------------------------- events

  advance(now: number, wall: number): void {
    this.now = Math.max(this.now, now);
    this.wall = Math.floor(wall);
  }

  restore(input: RestoreInput): void {
    this.lastLsn = input.lastLsn;
    this.durableLsn = input.lastLsn;
    for (const recovered of input.replicas) this.replicas.restore(recovered, input);
    if (input.topology !== null) this.cache.merge(input.topology);
    this.replicas.clearLeftovers(this.cache.partitionCount);
    for (const partition of this.replicas.byPartition.keys()) this.touch(partition);
  }

  /** The clock's tick, so many ms later than it was to come. */
  tick(lateMs = 0): void {
    this.copies.refill(this.now, this.cache.moves.bytesPerSecond, lateMs);
    this.hot.tick(this.now);
    this.salting.tick(this.now);
    this.scrubs.tick(this.now);
    for (const replica of this.replicas.byPartition.values()) replica.tick();
    const weights = weigh(this.replicas.byPartition.values());
    this.overloaded = weights.overloaded;
    this.sessionsFull = weights.sessionsFull;
    this.applyBehind = weights.applyBehind;
    this.checkpoints.tick();
  }

  peerConnected(node: string): void {
    for (const replica of this.replicas.byPartition.values()) replica.leadership?.reconnected(node);
  }

  peerSpeaks(node: string, protocol: number): void {
    this.protocols.note(node, protocol);
  }

  peerMessages(node: string, messages: readonly PeerMessage[]): void {
    if (!this.admitted) return;
    for (const message of messages) {
      const replica = this.replicas.byPartition.get(message.partition);
      const elsewhere =
        replica?.meta.replica === message.to ? null : nodeOfAnswer(message, this.recordOf(message.partition));
      if (elsewhere === null) replica?.onMessage(node, message);
      else this.relay(elsewhere, { ...message, relayed: true });
    }
  }

  relay(node: string, message: PeerMessage): void {
    this.effects.peers.push({ node, message });
  }

  topologyPushed(topology: Topology): void {
    const known = this.cache.snapshot();
    assert(
      known === null || topology.clusterId === known.clusterId || topology.clusterId === '',
      'the shell refuses the topology of another cluster',
    );
    const news = this.cache.merge(topology);
    if (news.length > 0 || topology.nodes.length > 0 || topology.acks || topology.moves)
      this.noteChange({ ...topology, full: false, records: news });
    if (this.admitted) for (const record of news) this.replicas.onRecord(record);
    else if (this.isAdmittedBy(topology)) this.admit();
  }

  isAdmittedBy(topology: Topology): boolean {
    const { nodeId, incarnation, run } = this.options;
    return topology.nodes.some(
      (node) => node.id === nodeId && node.incarnation === incarnation && node.run === run,
    );
  }

  private admit(): void {
    this.admitted = true;
    this.event({ level: 'info', event: 'node_admitted', boot: this.options.boot });
    for (const record of this.cache.allRecords()) this.replicas.onRecord(record);
  }

  private noteChange(change: Topology): void {
    this.effects.topologyChanged = joined(this.effects.topologyChanged, change);
  }

  seal(seal: Seal): void {
    if (this.admitted) this.replicas.byPartition.get(seal.partition)?.onSeal(seal);
  }

  prepare(prepare: Prepare): void {
    this.replicas.byPartition.get(prepare.partition)?.leadership?.prepare(prepare);
  }

  request(connection: number, request: Request, clientId: Uint8Array): void {
    const handle = this.handleOf(connection, request);
    if (!this.requests.open(handle)) {
      const details = { retryAfterMs: OVERLOADED_RETRY_AFTER_MS };
      const error = new RingkeepError(
        'OVERLOADED',
        'the node holds its maximum of requests',
        'not_applied',
        details,
      );
      const reply: Reply = { id: request.id, end: true, result: 'failure', failure: toFailure(error) };
      this.effects.replies.push({ connection, reply });
      return;
    }
    const problem = checkRequest(request, this.options.valueBytesMax);
    if (problem !== null) return this.fail(handle, problem);
    const client = request.clientId.byteLength > 0 ? request.clientId : clientId;
    // It names the deduplication session, which neither reads have nor what can be repeated.
    const { operation } = request;
    const isDeduplicated = operation !== 'get' && operation !== 'scan' && operation !== 'salt';
    if (isDeduplicated && client.byteLength !== CLIENT_ID_BYTES) {
      return this.fail(
        handle,
        new RingkeepError('INVALID_ARGUMENT', `a write needs a client id of ${CLIENT_ID_BYTES} bytes`),
      );
    }
    this.route(handle, request, toLatin1(client));
  }

  private handleOf(connection: number, request: Request): RequestHandle {
    const asked = request.timeLeftMs > 0 ? request.timeLeftMs : REQUEST_TIMEOUT_MS;
    const deadline = this.now + Math.min(asked, REQUEST_TIMEOUT_MS_MAX);
    return { connection, id: request.id, bytes: requestBytes(request, this.options.valueBytesMax), deadline };
  }

  private route(handle: RequestHandle, request: Request, client: string): void {
    const topology = this.cache;
    if (!topology.known) {
      const details = { retryAfterMs: 100 };
      return this.fail(
        handle,
        new RingkeepError('NOT_READY', 'the node knows no topology yet', 'not_applied', details),
      );
    }
    const home = partitionFor(request, topology.partitionCount);
    const partition = request.saltIn ? request.saltIn - 1 : home;
    if (partition >= topology.partitionCount || (request.saltSet && partition === home)) {
      const message = `partition ${partition} has nothing of that`;
      return this.fail(handle, new RingkeepError('INVALID_ARGUMENT', message));
    }
    const replica = this.replicas.byPartition.get(partition);
    const { get } = request;
    if (replica?.usable === true && get && get.level !== 'READ_LINEARIZABLE' && partition === home) {
      this.hot.note(partition, request);
      const key = userKey(request.keyspace, request.key);
      if (get.level === 'READ_QUORUM') return replica.quorumReads.read(handle, key);
      return replica.localReads.read(handle, key, get);
    }
    if (replica === undefined || replica.leadership === null) {
      return this.fail(handle, notLeader(partition, topology.record(partition), this.draining));
    }
    this.hot.note(partition, request);
    if (partition === home || !get) execute(replica.leadership, handle, request, client);
    else replica.leadership.copies.read(handle, request, home);
  }

  cancel(connection: number, id: number): void {
    const handle = this.requests.find(connection, id);
    if (handle === undefined) return;
    this.fail(handle, new RingkeepError('CANCELLED', 'cancelled by the client', 'unknown'));
  }

  connectionClosed(connection: number): void {
    this.requests.closeConnection(connection);
  }

  durable(lsn: number): void {
    this.durableLsn = lsn;
    this.effects.reports.push(...this.replicas.onDurable());
    for (const partition of this.awaiting) {
      const replica = this.replicas.byPartition.get(partition);
      replica?.onDurable();
      if (replica === undefined || !replica.awaitsDurable) this.awaiting.delete(partition);
    }
  }

  diskFullChanged(full: boolean): void {
    if (full !== this.diskFull)
      this.event({ level: full ? 'error' : 'info', event: full ? 'disk_full' : 'disk_ok' });
    this.diskFull = full;
  }

  walSize(bytes: number, written: number): void {
    this.holds.wrote(written);
    this.checkpoints.walSize(bytes);
  }

  diskSpace(freeBytes: number): void {
    const { full } = this.room;
    this.room.look(freeBytes);
    if (full === this.room.full) return;
    this.event({ level: full ? 'info' : 'warn', event: full ? 'room_for_copies' : 'no_room_for_copies' });
  }

  drain(): void {
    this.draining = true;
  }

  // ---------------------------------------------------------------- what the shell asks

  /** Carries out what is due and hands over all effects since the last call. */
  take(): Effects {
    this.deliverOwn();
    for (let round = 0; this.dirty.size > 0; round++) {
      assert(round < 1_000, 'flushing ends');
      const partitions = [...this.dirty];
      this.dirty.clear();
      for (const partition of partitions) this.flushReplica(partition);
      this.deliverOwn();
    }
    const effects = this.effects;
    this.effects = noEffects();
    return effects;
  }

  private flushReplica(partition: number): void {
    const replica = this.replicas.byPartition.get(partition);
    if (replica === undefined) {
      this.reported.delete(partition);
      return;
    }
    replica.flush();
    const last = this.reported.get(partition);
    if (last !== undefined && this.now - last.at < REPORT_MS && saysTheSame(last.report, replica)) return;
    const report = replica.report();
    this.reported.set(partition, { report, at: this.now });
    this.effects.reports.push(report);
  }

  defaultAck(keyspace: string): AckLevel {
    return this.cache.defaultAck(keyspace);
  }

  topology(): Topology | null {
    return this.cache.snapshot();
  }

  openingReports(): ReplicaReport[] {
    return this.replicas.reports();
  }

  reportAll(): ReplicaReport[] {
    return this.replicas.held();
  }

  leaderCount(): number {
    return [...this.leaderships()].length;
  }

  /** What metrics tell of this core. */
  figures(): CoreFigures {
    return figuresOf(this, this.requests.size);
  }

  /** Leaderships that another voter could take over. */
  handOverCount(): number {
    return [...this.leaderships()].filter(({ progress }) => progress.size > 0).length;
  }

  /** Stops taking writes where this node still leads; before the end of the process. */
  pauseLeaderships(): void {
    for (const leadership of this.leaderships()) leadership.pause();
  }

  /** Whether nobody waits for an answer and everything that is led here is committed. */
  get settled(): boolean {
    const isOpen = [...this.leaderships()].some(({ replica: { log } }) => log.commitIndex < log.lastIndex);
    return !isOpen && this.requests.size === 0;
  }

  /** lsn of the last record that was given out: the WAL must count the same way. */
  get appendedLsn(): number {
    return this.lastLsn;
  }

  // ---------------------------------------------------------------- host of the replicas

  get logCacheBytes(): number {
    return this.options.logCacheBytes / Math.max(1, this.replicas.byPartition.size);
  }

  appendWal(record: WalAppend): number {
    this.effects.wal.push(record);
    this.awaiting.add(record.partition);
    this.lastLsn++;
    return this.lastLsn;
  }

  readWal(effect: WalReadEffect): void {
    this.effects.walReads.push(effect);
  }

  store(effect: StoreEffect): void {
    this.effects.store.push(effect);
  }

  read(read: StoreRead, wanted?: () => boolean): void {
    if (wanted === undefined) this.reads.addUrgent(read);
    else this.reads.add(read, wanted);
  }

  isOpen(handle: RequestHandle): boolean {
    return this.requests.find(handle.connection, handle.id) === handle;
  }

  dropWalBelow(floors: Map<number, number>): void {
    const held = this.diskFull || this.room.tight ? 0 : this.holds.bytes;
    this.effects.walFloors = { floors, keepBytes: this.options.walRetentionBytes + held };
  }

  endHold(replica: string): void {
    // What was kept for it alone goes soon, also when nobody writes any more.
    if ((this.holds.of(replica)?.grown ?? 0) >= this.options.checkpointBytes) this.checkpoints.hasten();
    this.holds.end(replica);
  }

  send(partition: number, epoch: number, from: string, to: ReplicaName, body: PeerBody): void {
    const message = { partition, epoch, from, to: to.id, ...body };
    if (to.node === this.options.nodeId) this.ownMessages.push(message);
    else this.effects.peers.push({ node: to.node, message });
  }

  /** Delivers what replicas of this node tell each other: leaders about copies of hot keys. */
  private deliverOwn(): void {
    const messages = this.ownMessages;
    this.ownMessages = [];
    if (messages.length > 0) this.peerMessages(this.options.nodeId, messages);
  }

  sealReply(reply: SealReply): void {
    this.effects.sealReplies.push(reply);
  }

  touch(partition: number): void {
    this.dirty.add(partition);
  }

  event(event: CoreEvent): void {
    this.effects.events.push(event);
  }

  nextGeneration(): number {
    assert(this.nextGenerationOffset < GENERATIONS_PER_BOOT, 'generations of this process run are used up');
    return this.options.boot * GENERATIONS_PER_BOOT + this.nextGenerationOffset++;
  }

  wrote(bytes: number): void {
    this.clientBytes += bytes;
  }

  records(): Iterable<PartitionRecord> {
    return this.cache.allRecords();
  }

  get partitionCount(): number {
    return this.cache.partitionCount;
  }

  /** What this node leads. */
  *leaderships(): Iterable<Leadership> {
    for (const { leadership } of this.replicas.byPartition.values())
      if (leadership !== null) yield leadership;
  }

  leadershipOf(partition: number): Leadership | null {
    return this.replicas.byPartition.get(partition)?.leadership ?? null;
  }

  /** A partition's record as this node has heard it. */
  recordOf(partition: number): PartitionRecord | undefined {
    return this.cache.record(partition);
  }

  uniqueId(): string {
    return hexId(this.options.random);
  }

  reply(handle: RequestHandle, result: Omit<Reply, 'id' | 'end'>): void {
    if (!this.requests.close(handle)) return;
    this.effects.replies.push({
      connection: handle.connection,
      reply: { id: handle.id, end: true, ...result },
    });
  }

  succeed(handle: RequestHandle, receipt: Receipt): void {
    this.reply(handle, { result: 'receipt', receipt });
  }

  fail(handle: RequestHandle, error: RingkeepError): void {
    this.reply(handle, { result: 'failure', failure: toFailure(error) });
  }
}
