/**
 * One replica: its promise, its log, its copy of the state, and its part as follower, learner or leader. Pure: events
 * in, effects out through `Host`. Elections are not its business: the controller reserves epochs and asks for seals.
 * The rules are those of DESIGN.md section 5; do not simplify one without a simulation to show for it.
 * INVARIANT: the promise never decreases and is durable before anything that relies on it leaves; no acknowledgement or
 * confirmation for a lower epoch leaves after it; a damaged replica answers nothing.
 */
import type { DiskError } from '../../common/disk.ts';
import { assert } from '../../common/errors.ts';
import type { PartitionRecord, Replica as ReplicaName } from '../../common/topology.ts';
import type { PeerMessage, ReplicaReport, Seal, SealReply } from '../../common/wire/messages.ts';
import type { ReplicaMeta } from '../wal/types.ts';
import { type Entry, encodeEntry, UnknownEntryError } from './entry.ts';
import { Follower } from './follower.ts';
import { Freshness } from './freshness.ts';
import type { Host } from './host.ts';
import { storeRange } from './layout.ts';
import { Leadership } from './leadership.ts';
import { LocalReads } from './local-reads.ts';
import type { ReplicaLog } from './log.ts';
import { Machine, type MachineHooks } from './machine.ts';
import { PendingKeys } from './pending-keys.ts';
import { QuorumReads } from './quorum-reads.ts';
import { passedOrder } from './relay.ts';
import { buildReport } from './report.ts';
import { ReplicaScrubs } from './scrub.ts';
import { type SessionLimits, sessionLimits } from './sessions.ts';
import { SharedGets } from './shared-gets.ts';
import { type InstalledSnapshot, SnapshotReceiver } from './snapshot-receiver.ts';

/** One replica of one partition on this node. */
export class Replica {
  readonly partition: number;
  readonly host: Host;
  readonly log: ReplicaLog;
  readonly sessionLimits: SessionLimits;
  meta: ReplicaMeta;
  machine: Machine;
  leadership: Leadership | null = null;
  /** The newest record seen of this partition. */
  record: PartitionRecord | null = null;
  readonly quorumReads: QuorumReads;
  readonly gets: SharedGets;
  readonly localReads: LocalReads;
  readonly freshness = new Freshness();
  private readonly follower: Follower;
  /** The WAL record that holds `meta`. */
  private metaLsn = 0;
  /** To be answered once the promise is durable, with what the log is then: an install that was under way may end first. */
  private pendingSeal: Seal | null = null;
  private receiver: SnapshotReceiver | null = null;

  /** What the store's tables hold of its rows, about, as the node was last told. */
  rowsBytes = 0;
  /** Bytes of entries that it was filled with by the log. */
  private logBytes = 0;

  /** Bytes that have come of what it is being filled with: of a snapshot, or of the log where no snapshot was needed; 0: it is not. */
  get copiedBytes(): number {
    if (this.receiver !== null) return this.receiver.bytes;
    return this.isLearner && this.meta.baseIndex === 0 ? this.logBytes : 0;
  }

  get isLearner(): boolean {
    return this.record?.learners.some(({ id }) => id === this.meta.replica) === true;
  }

  /** Whether what it is filled with may come now: to a voter in any case, as long as the disk takes anything. */
  get hasRoomForCopy(): boolean {
    return !this.isLearner || !this.host.room.full;
  }

  /** Counts what has come by the log, if it is being filled. */
  took(bytes: number): void {
    if (bytes === 0 || !this.isLearner) return;
    this.logBytes += bytes;
    this.host.copies.receivedLogBytes += bytes;
  }

  readonly scrubs: ReplicaScrubs;
  /** The node has dropped it: late answers of the store concern nobody, least of all the partition's next replica. */
  private retired = false;
  /** Cleared once the switch to a snapshot is durable. */
  private oldGeneration: { readonly lsn: number; readonly generation: number } | null = null;

  constructor(
    host: Host,
    partition: number,
    meta: ReplicaMeta,
    log: ReplicaLog,
    makeMachine: (hooks: MachineHooks) => Machine,
  ) {
    this.host = host;
    this.partition = partition;
    this.meta = meta;
    this.log = log;
    this.sessionLimits = sessionLimits(host.options);
    this.machine = makeMachine(this.hooks());
    this.follower = new Follower(this);
    this.scrubs = new ReplicaScrubs(this);
    this.quorumReads = new QuorumReads(this, new PendingKeys(log));
    this.gets = new SharedGets(this);
    this.localReads = new LocalReads(this, this.freshness);
  }

  private hooks(): MachineHooks {
    const { host, partition } = this;
    return {
      store: (effect) => host.store(effect),
      read: (read, wanted) => host.read(read, wanted),
      decided: (entry, result) => {
        this.leadership?.decided(entry, result);
        if (entry.command.kind === 'scrub') this.scrubs.start(entry.index);
      },
      applied: (index) => {
        assert(
          index <= this.log.commitIndex && index <= this.log.durableIndex,
          'applied is committed and durable',
        );
        // Everybody has it: kept any longer, it would only grow old in memory. Who comes back later is served from the WAL.
        this.log.evict(Math.min(index, this.leadership?.matchOfEach() ?? index), 0);
        this.log.evict(index, host.logCacheBytes);
        host.touch(partition);
      },
      wrote: (bytes) => host.wrote(bytes),
      resume: () => host.touch(partition),
      damaged: (reason) => this.markDamaged(reason),
      failed: (error) => {
        throw error;
      },
    };
  }

  /** Whether it may answer anything at all. */
  get usable(): boolean {
    return !this.meta.damaged;
  }

  /** The promise, and whatever else `meta` says, is fsynced. */
  get promiseDurable(): boolean {
    return this.metaLsn <= this.host.durableLsn;
  }

  /** The leader that was last heard of in the promised epoch; null while this replica leads itself, or knows of none. */
  get currentLeader(): ReplicaName | null {
    return this.follower.currentLeader;
  }

  /** Replaces the durable state; effective at once, relied on by others only when fsynced. */
  setMeta(meta: ReplicaMeta): void {
    assert(meta.promiseEpoch >= this.meta.promiseEpoch, 'a promise never decreases');
    assert(!this.retired, 'a dropped replica writes nothing any more');
    this.meta = meta;
    this.metaLsn = this.host.appendWal({ type: 'meta', partition: this.partition, meta });
    this.host.touch(this.partition);
  }

  /** Appends as leader: at most one (replica id, boot id) does in an epoch. */
  appendOwn(entry: Entry): void {
    assert(entry.epoch === this.meta.promiseEpoch, 'a leader appends in the epoch it has promised');
    this.log.append(entry.epoch, encodeEntry(entry), entry);
  }

  // ---------------------------------------------------------------- the record

  /** Takes a newer record that names this replica. */
  onRecord(record: PartitionRecord): void {
    this.record = record;
    this.host.touch(this.partition);
    if (!this.usable) return;
    if (this.leadership !== null && this.leadership.epoch === record.epoch) {
      this.leadership.updateMembers(record);
      return;
    }
    this.tryLead();
  }

  /** Leads if the record names this very process run, and the promise was made for that reservation. */
  private tryLead(): void {
    const { record, meta, host } = this;
    const leader = record?.leader;
    if (record === null || !leader || leader.replica !== meta.replica || this.leadership !== null) return;
    if (leader.boot !== host.options.boot) return;
    if (record.epoch !== meta.promiseEpoch || record.reservationId !== meta.reservationId) return;
    if (!this.promiseDurable || this.log.lastEpoch >= record.epoch) return;
    this.endInstall('this replica leads now');
    this.setMeta({ ...meta, ledEpoch: record.epoch });
    this.leadership = new Leadership(this, host, record);
    host.event({ level: 'info', event: 'leader_started', partition: this.partition, epoch: record.epoch });
  }

  /** Stops leading; the promise stays. */
  stepDown(reason: string): void {
    const { leadership } = this;
    if (leadership === null) return;
    this.leadership = null;
    leadership.end();
    this.host.event({
      level: 'info',
      event: 'leader_stepped_down',
      partition: this.partition,
      epoch: leadership.epoch,
      reason,
    });
    this.host.touch(this.partition);
  }

  // ---------------------------------------------------------------- seal

  /**
   * Promises an epoch. The answer leaves after the fsync that covers the promise and everything appended before it, with
   * the last entry before it. An equal epoch is answered again for the same reservation only, while nothing was heard of a
   * leader of it: what that one sends changes the log, also before the first entry of its own.
   */
  onSeal(seal: Seal): void {
    const { meta, log } = this;
    if (!this.usable || seal.replica !== meta.replica) return;
    if (
      seal.epoch === meta.promiseEpoch &&
      seal.reservationId === meta.reservationId &&
      log.lastEpoch < seal.epoch
    ) {
      if (this.pendingSeal !== null || this.leadership !== null || this.follower.currentLeader !== null)
        return;
      this.pendingSeal = seal;
      this.host.touch(this.partition);
      return;
    }
    if (seal.epoch <= meta.promiseEpoch) {
      if (this.promiseDurable) this.host.sealReply(this.sealReply(seal, false));
      return;
    }
    this.stepDown(`sealed for epoch ${seal.epoch}`);
    this.setMeta({
      ...meta,
      promiseEpoch: seal.epoch,
      reservationId: seal.reservationId,
      configuration: seal.configuration,
      voters: seal.voters,
      previousVoters: seal.previousVoters,
    });
    this.follower.reset();
    this.pendingSeal = seal;
  }

  /** The promised epoch has a leader, and its log becomes ours: an answer that has not left yet would be wrong. */
  leaderHeard(): void {
    this.pendingSeal = null;
  }

  private sealReply(seal: Seal, accepted: boolean): SealReply {
    return {
      partition: this.partition,
      replica: this.meta.replica,
      boot: this.host.options.boot,
      epoch: seal.epoch,
      reservationId: seal.reservationId,
      accepted,
      promiseEpoch: this.meta.promiseEpoch,
      lastEpoch: this.log.lastEpoch,
      lastIndex: this.log.lastIndex,
    };
  }

  /** Adopts a leader's epoch: its entries or its confirmation imply the promise. */
  adopt(epoch: number, from: Pick<ReplicaMeta, 'configuration' | 'voters' | 'previousVoters'>): void {
    assert(epoch > this.meta.promiseEpoch, 'only a higher epoch is adopted');
    this.stepDown(`epoch ${epoch} has a leader`);
    this.pendingSeal = null;
    this.setMeta({
      ...this.meta,
      promiseEpoch: epoch,
      reservationId: '',
      configuration: from.configuration,
      voters: from.voters,
      previousVoters: from.previousVoters,
    });
    this.follower.reset();
  }

  // ---------------------------------------------------------------- peers

  /** Takes a message of another replica. */
  onMessage(node: string, message: PeerMessage): void {
    if (!this.usable || message.to !== this.meta.replica) return;
    const { epoch, from } = message;
    const { leadership } = this;
    switch (message.body) {
      case 'append':
        assert(leadership === null || leadership.epoch !== epoch, 'one leader per epoch');
        return this.follower.onAppend({ id: from, node }, epoch, message.append!);
      case 'confirm':
        return this.follower.onConfirm({ id: from, node }, epoch, message.confirm!);
      case 'snapshotOffer':
        return this.onOffer({ id: from, node }, epoch, message);
      case 'snapshotChunk':
        return this.receiver?.chunk(message.snapshotChunk!);
      case 'scrub':
        return this.scrubs.onMessage(from, epoch, message.scrub!);
      case 'probe':
        return this.quorumReads.onProbe({ id: from, node }, message.probe!);
      case 'probeReply':
        return this.quorumReads.onReply(from, epoch, message.probeReply!);
      case 'copyOrder':
        if (leadership === null) return this.passOn(message);
        return leadership?.copies.onOrder({ replica: { id: from, node }, epoch }, message.copyOrder!);
      case 'copyReply':
        return leadership?.salts.onReply({ id: from, node }, epoch, message.copyReply!);
      case 'counterOrder':
        if (leadership === null) return this.passOn(message);
        return leadership?.subs.onOrder({ replica: { id: from, node }, epoch }, message.counterOrder!);
      case 'counterReply':
        return leadership?.counters.onReply(message.counterReply!);
      default:
    }
    if (leadership === null || leadership.epoch !== epoch) return;
    if (message.body === 'appendReply') leadership.onAppendReply(from, message.appendReply!);
    else if (message.body === 'confirmReply') leadership.onConfirmReply(from, message.confirmReply!);
    else if (message.body === 'snapshotPull') leadership.onSnapshotPull(from, message.snapshotPull!);
  }

  private passOn(message: PeerMessage): void {
    const leader = this.currentLeader;
    const order = passedOrder(message, leader);
    if (order !== null) this.host.relay(leader!.node, order);
  }

  // ---------------------------------------------------------------- snapshots

  private onOffer(leader: { id: string; node: string }, epoch: number, message: PeerMessage): void {
    const offer = message.snapshotOffer!;
    if (epoch !== this.meta.promiseEpoch || this.leadership !== null) return;
    if (this.receiver?.offer.snapshot === offer.snapshot) return this.receiver.offeredAgain();
    this.endInstall('a newer snapshot is offered');
    if (offer.index <= this.log.commitIndex) return this.follower.offerRefused(leader);
    // The store must never meet a full disk; the offer is repeated.
    if (this.host.diskFull || !this.hasRoomForCopy) return;
    this.receiver = new SnapshotReceiver(this, this.host, leader, epoch, offer);
    const { index } = offer;
    this.host.event({ level: 'info', event: 'snapshot_started', partition: this.partition, index });
  }

  /** Gives up an install under way. */
  endInstall(reason: string): void {
    if (this.receiver === null) return;
    this.receiver.close();
    this.receiver = null;
    this.host.event({ level: 'info', event: 'snapshot_given_up', partition: this.partition, reason });
  }

  /** Switches to an installed snapshot; a matching suffix of the log is kept. */
  switchTo(installed: InstalledSnapshot): void {
    const { generation, state } = installed;
    const { mark, sessions } = state;
    if (mark.index <= this.log.commitIndex || this.leadership !== null) {
      return this.endInstall('the log has overtaken the snapshot');
    }
    const { receiver } = this;
    assert(receiver !== null, 'what is installed was being received');
    this.receiver = null;
    const old = this.meta.generation;
    if (this.log.epochAt(mark.index) !== mark.epoch && this.log.lastIndex > this.log.commitIndex) {
      this.follower.noteLost(this.log.truncate(this.log.commitIndex), (entry) => sessions.holds(entry));
    }
    assert(
      this.meta.promiseEpoch >= mark.epoch,
      'the promise is at or above every entry, snapshots included',
    );
    this.setMeta({ ...this.meta, generation, baseIndex: mark.index, baseEpoch: mark.epoch });
    this.log.rebase(mark.index, mark.epoch, mark.logTime);
    this.scrubs.close();
    this.machine.close();
    this.machine = new Machine(this.partition, generation, state, this.hooks());
    this.oldGeneration = { lsn: this.metaLsn, generation: old };
    this.follower.installed(receiver.leader, receiver.epoch, mark.index);
    this.host.event({
      level: 'info',
      event: 'snapshot_installed',
      partition: this.partition,
      index: mark.index,
    });
  }

  // ---------------------------------------------------------------- damage

  /** Ends what must not go on after a failed read: EIO says that bytes are bad; anything else ends the process. */
  readFailed(what: string, error: DiskError): void {
    if (error.code !== 'EIO') throw error;
    this.markDamaged(`${what} cannot be read: ${error.message}`);
  }

  /**
   * A voter that has promised `promise` knows an entry to be committed. If ours at that index has the same epoch, it is that
   * entry, and all before it are the same, too. Not from above the own promise: a leader below it may lack the entry, and still
   * send. A leader counts for itself.
   */
  learnCommitted(promise: number, index: number, epoch: number): void {
    const { log, meta } = this;
    if (this.leadership !== null || promise > meta.promiseEpoch || index <= log.commitIndex) return;
    if (log.epochAt(index) !== epoch) return;
    log.commitIndex = index;
    this.host.touch(this.partition);
  }

  /** Stops counting: answers and confirms nothing until it has been replaced. */
  markDamaged(reason: string): void {
    if (!this.usable || this.retired) return;
    this.scrubs.metDamage();
    this.stepDown(`damaged: ${reason}`);
    this.endInstall('damaged');
    this.pendingSeal = null;
    this.endReads();
    this.setMeta({ ...this.meta, damaged: true });
    this.host.event({ level: 'error', event: 'replica_damaged', partition: this.partition, reason });
  }

  private endReads(): void {
    this.quorumReads.end();
    this.localReads.close();
    this.gets.end();
  }

  /** Ends for good: the node drops this replica. */
  retire(reason: string): void {
    this.retired = true;
    this.endReads();
    this.stepDown(reason);
    this.endInstall(reason);
    this.scrubs.close();
    this.machine.close();
  }

  // ---------------------------------------------------------------- time and effects

  /** The WAL is durable further. */
  onDurable(): void {
    if (this.oldGeneration !== null && this.oldGeneration.lsn <= this.host.durableLsn) {
      this.host.store({ kind: 'clear', ...storeRange(this.partition, this.oldGeneration.generation) });
      this.oldGeneration = null;
    }
    this.log.advanceDurable(this.host.durableLsn);
    this.leadership?.durable();
    this.host.touch(this.partition);
  }

  /** Waits for an fsync: a record of it is not durable yet. */
  get awaitsDurable(): boolean {
    return this.log.durableIndex < this.log.lastIndex || !this.promiseDurable || this.oldGeneration !== null;
  }

  tick(): void {
    if (this.usable) this.machine.flush();
    this.leadership?.tick();
    this.quorumReads.tick();
    this.localReads.tick();
    this.receiver?.tick();
    this.scrubs.tick();
  }

  /** Carries out what has become due through the events since the last flush. */
  flush(): void {
    if (!this.usable) return;
    if (this.pendingSeal !== null && this.promiseDurable) {
      if (this.log.lastEpoch < this.meta.promiseEpoch)
        this.host.sealReply(this.sealReply(this.pendingSeal, true));
      this.pendingSeal = null;
    }
    this.tryLead();
    this.decide();
    this.leadership?.reads.serve();
    this.localReads.serve();
    this.quorumReads.serve();
    this.quorumReads.flush();
    this.leadership?.flush();
    this.follower.flush();
    this.gets.flush();
  }

  private decide(): void {
    const { log } = this;
    const limit = Math.min(log.commitIndex, log.durableIndex);
    if (limit <= this.machine.decidedIndex) return;
    try {
      this.machine.advance(log, limit);
    } catch (error) {
      if (!(error instanceof UnknownEntryError)) throw error;
      return this.markDamaged(`an entry that this version does not know: ${error.message}`);
    }
    this.machine.flushMuch();
  }

  /** What the controller is told. */
  report(): ReplicaReport {
    return buildReport(this);
  }
}
