/**
 * One replica's time as leader of one epoch: what the others hold, the commit rule, the pause before a planned change.
 * What they are sent is in replication.ts, writes and reads of clients in write-path.ts and read-path.ts.
 * The log protocol is that of Raft figure 2; the configuration comes with the record that named this leader.
 * INVARIANT: an index is committed once a quorum of `voters` has it durable and its entry is of this epoch; earlier
 * entries commit with it. A learner, a previous voter and a leader outside `voters` never count.
 */
import { assert } from '../../common/errors.ts';
import { QUORUM_LOST_MS } from '../../common/limits.ts';
import { type PartitionRecord, quorumSize, type Replica as ReplicaName } from '../../common/topology.ts';
import type { AppendReply, ConfirmReply, Prepare, SnapshotPull } from '../../common/wire/messages.ts';
import { CopyCare } from './copy-care.ts';
import type { Entry } from './entry.ts';
import { Expiry } from './expiry.ts';
import { HeldCopies } from './held-copies.ts';
import { HomeCounters } from './home-counters.ts';
import { HomeSalts } from './home-salts.ts';
import type { Host, PeerBody } from './host.ts';
import { Pace } from './pace.ts';
import { LEVEL_HEARD_MS, Progress } from './progress.ts';
import { ReadPath } from './read-path.ts';
import type { Replica } from './replica.ts';
import { Replication } from './replication.ts';
import type { WriteResult } from './result.ts';
import { ScrubRound } from './scrub-round.ts';
import { SubCounters } from './sub-counters.ts';
import { SubSweep } from './sub-sweep.ts';
import { WritePath } from './write-path.ts';

/** A learner this close to the commit index, and heard of within LEVEL_HEARD_MS, is level. */
const LEVEL_ENTRIES = 512;
/** A replica that was not heard of for so long, ms, may have another build by now. */
const KNOWN_MS = 3_000;
/** The controller is told the indexes this often when nothing else happens. */
const REPORT_MS = 1_000;

/** Leads one partition in one epoch; ends with `end`. */
export class Leadership {
  readonly replica: Replica;
  readonly host: Host;
  readonly epoch: number;
  readonly voters: readonly ReplicaName[];
  readonly quorum: number;
  readonly selfVotes: boolean;
  readonly progress = new Map<string, Progress>();
  readonly replication: Replication;
  readonly writes: WritePath;
  readonly reads: ReadPath;
  readonly scrubs: ScrubRound;
  readonly expiry: Expiry;
  /** The salted keys of this partition, and the copies that it holds of keys of others. */
  readonly salts: HomeSalts;
  readonly copies: HeldCopies;
  /** The salted counters of this partition, and the sub-counters in it of those of others. */
  readonly counters: HomeCounters;
  readonly subs: SubCounters;
  private readonly sweep: SubSweep;
  readonly pace = new Pace();
  private readonly care: CopyCare;
  /** Index of the first entry of this epoch. */
  readonly establishIndex: number;
  private readonly startedAt: number;
  private nextExpiryAt = 0;
  private nextReportAt = 0;
  private contact = { countedAt: Number.NEGATIVE_INFINITY, at: Number.NEGATIVE_INFINITY };
  /** Requests that were handed to it, as a measure of its load. */
  requests = 0;
  /** An entry of this epoch is committed: reads are served. */
  serving = false;
  /** Replica id to bring level, once a planned change was asked for: no writes are taken any more. */
  pauseTarget = '';

  constructor(replica: Replica, host: Host, record: PartitionRecord) {
    this.replica = replica;
    this.host = host;
    this.epoch = record.epoch;
    this.voters = record.voters;
    this.quorum = quorumSize(record.voters.length);
    this.selfVotes = record.voters.some((voter) => voter.id === replica.meta.replica);
    this.startedAt = host.now;
    this.replication = new Replication(this);
    this.care = new CopyCare(this);
    this.updateMembers(record);
    this.writes = new WritePath(this);
    this.reads = new ReadPath(this);
    this.scrubs = new ScrubRound(this);
    this.expiry = new Expiry(this);
    this.salts = new HomeSalts(this);
    this.copies = new HeldCopies(this);
    this.counters = new HomeCounters(this);
    this.subs = new SubCounters(this);
    this.sweep = new SubSweep(this);
    this.establishIndex = this.writes.append('quorum', null, { kind: 'establish' });
  }

  /** Follows the record's learners; voters are fixed within an epoch. */
  updateMembers(record: PartitionRecord): void {
    const next = this.replica.log.lastIndex + 1;
    const self = this.replica.meta.replica;
    const names = new Map<string, boolean>();
    for (const voter of this.voters) if (voter.id !== self) names.set(voter.id, true);
    for (const learner of record.learners) if (!names.has(learner.id)) names.set(learner.id, false);
    for (const name of [...this.voters, ...record.learners]) {
      const votes = names.get(name.id);
      if (votes === undefined || this.progress.has(name.id)) continue;
      this.progress.set(name.id, new Progress(name, votes, next, this.host.now));
    }
    for (const [id, progress] of this.progress) {
      if (names.has(id)) continue;
      this.progress.delete(id);
      this.replication.closeSender(progress);
      this.host.endHold(id);
    }
  }

  send(to: ReplicaName, body: PeerBody): void {
    this.host.send(this.replica.partition, this.epoch, this.replica.meta.replica, to, body);
  }

  /** When a quorum was last known to accept this leader: the sending time of what it answered, ms. */
  quorumContactAt(): number {
    const times: number[] = this.selfVotes ? [this.host.now] : [];
    for (const progress of this.progress.values()) if (progress.votes) times.push(progress.contactAt);
    times.sort((a, b) => b - a);
    return times[this.quorum - 1] ?? Number.NEGATIVE_INFINITY;
  }

  /** The same, counted once per event: what has come since makes it newer only. */
  contactOfNow(): number {
    if (this.contact.countedAt !== this.host.now)
      this.contact = { countedAt: this.host.now, at: this.quorumContactAt() };
    return this.contact.at;
  }

  /** False once a quorum has been silent for QUORUM_LOST_MS: requests are then refused before they are appended. */
  hasQuorumContact(): boolean {
    const since = this.host.now - QUORUM_LOST_MS;
    if (this.startedAt >= since) return true;
    let heard = this.selfVotes ? 1 : 0;
    for (const progress of this.progress.values()) if (progress.votes && progress.contactAt >= since) heard++;
    return heard >= this.quorum;
  }

  /** The highest index that every voter has durable. */
  matchOfAll(): number {
    let match = this.selfVotes ? this.replica.log.durableIndex : Number.POSITIVE_INFINITY;
    for (const progress of this.progress.values())
      if (progress.votes) match = Math.min(match, progress.match);
    return match;
  }

  /** The highest index that every follower and learner has durable. */
  matchOfEach(): number {
    let match = Number.POSITIVE_INFINITY;
    for (const progress of this.progress.values()) match = Math.min(match, progress.match);
    return match;
  }

  /** How many voters have `index` durable. */
  ackCount(index: number): { match: number; voters: number } {
    let match = this.selfVotes && this.replica.log.durableIndex >= index ? 1 : 0;
    for (const progress of this.progress.values()) if (progress.votes && progress.match >= index) match++;
    return { match, voters: this.voters.length };
  }

  /**
   * Commits up to the highest index that a quorum has durable, if its entry is of this epoch. Not above what is durable here: that
   * would be decided no earlier, and on a disk that takes no more it never is, so that every read would wait for it. Followers
   * may not have decided it either then, so nobody has been shown it.
   */
  private advanceCommit(): void {
    const { log } = this.replica;
    const matches: number[] = this.selfVotes ? [log.durableIndex] : [];
    for (const progress of this.progress.values()) if (progress.votes) matches.push(progress.match);
    matches.sort((a, b) => b - a);
    const index = Math.min(matches[this.quorum - 1] ?? 0, log.durableIndex);
    if (index <= log.commitIndex || index < this.establishIndex) return;
    assert(log.epochAt(index) === this.epoch, 'only entries of the own epoch are committed by counting');
    log.commitIndex = index;
    if (!this.serving) {
      this.serving = true;
      this.host.event({
        level: 'info',
        event: 'leader_established',
        partition: this.replica.partition,
        epoch: this.epoch,
      });
    }
    this.host.touch(this.replica.partition);
  }

  /** An entry was decided. */
  decided(entry: Entry, result: WriteResult | null): void {
    this.writes.decided(entry, result);
    this.salts.decided(entry);
    this.counters.decided(entry);
    this.subs.decided(entry);
    this.sweep.decided(entry);
  }

  /** The own log is durable further. */
  durable(): void {
    this.advanceCommit();
    this.writes.durable();
    this.writes.matched();
  }

  /** A planned change: no more writes; `target` is brought level with everything. Not resumed before the next epoch. */
  prepare(prepare: Prepare): void {
    if (prepare.epoch !== this.epoch) return;
    this.pauseTarget = prepare.target;
    this.host.touch(this.replica.partition);
  }

  /** The process stops and nobody has taken over: no more writes here, so that what was acknowledged can commit. */
  pause(): void {
    if (this.pauseTarget === '') this.pauseTarget = this.replica.meta.replica;
    this.host.touch(this.replica.partition);
  }

  /** The pause target once it holds everything of this log, durable. */
  levelTarget(): string {
    if (this.pauseTarget === '') return '';
    const { log, meta } = this.replica;
    if (log.durableIndex < log.lastIndex) return '';
    if (this.pauseTarget === meta.replica) return this.pauseTarget;
    const progress = this.progress.get(this.pauseTarget);
    return progress !== undefined && progress.match === log.lastIndex ? this.pauseTarget : '';
  }

  /** Learners that could become voters now. */
  levelLearners(): string[] {
    const result: string[] = [];
    for (const progress of this.progress.values()) {
      if (progress.votes || progress.match + LEVEL_ENTRIES < this.replica.log.commitIndex) continue;
      // In the middle of a copy by the log nobody is level, however few entries it lacks: they may be long ones.
      if (progress.match < Math.max(1, progress.copyUntil)) continue;
      if (this.host.now - progress.lastHeardAt > LEVEL_HEARD_MS) continue;
      result.push(progress.replica.id);
    }
    return result.sort();
  }

  onAppendReply(from: string, reply: AppendReply): void {
    const progress = this.progress.get(from);
    if (progress === undefined) return;
    progress.lastHeardAt = this.host.now;
    if (reply.promiseEpoch > this.epoch) return this.refused(progress, reply.promiseEpoch);
    progress.contactAt = Math.max(progress.contactAt, reply.sentAt / 1_000);
    if (reply.promiseEpoch === this.epoch) progress.confirmed = true;
    progress.appliedIndex = reply.appliedIndex;
    progress.clock.answered(this.host.now, reply.clock, reply.boot);
    progress.full = reply.diskFull;
    if (!reply.success) return this.replication.mismatched(progress, reply);
    const news = progress.acknowledge(reply.matchIndex);
    assert(progress.match <= this.replica.log.lastIndex, 'nobody holds more than its leader');
    // What is not taken is offered again with the next heartbeat: at once, the two would spin while there is no room.
    if (progress.full) progress.holdBack();
    else if (progress.state === 'probe' && (news || reply.matchIndex + 1 >= progress.next))
      progress.replicate();
    // A snapshot may turn out to be no news: an answer to an earlier append was overtaken by one to a later probe.
    if (progress.state === 'snapshot' && (news || this.replication.hasSnapshot(progress))) {
      this.replication.closeSender(progress);
      progress.replicate();
    }
    this.writes.durable();
    if (news) {
      progress.lastNewsAt = this.host.now;
      this.advanceCommit();
      this.writes.matched();
    }
    this.host.touch(this.replica.partition);
  }

  private refused(progress: Progress, promise: number): void {
    progress.refused = true;
    let possible = this.selfVotes ? 1 : 0;
    for (const other of this.progress.values()) if (other.votes && !other.refused) possible++;
    if (possible < this.quorum) this.replica.stepDown(`a quorum has promised an epoch such as ${promise}`);
  }

  onConfirmReply(from: string, reply: ConfirmReply): void {
    const progress = this.progress.get(from);
    if (progress === undefined || !progress.votes) return;
    progress.lastHeardAt = this.host.now;
    if (reply.granted)
      progress.contactAt = Math.max(progress.contactAt, this.reads.granted(from, reply.round));
    else if (reply.promiseEpoch > this.epoch) this.refused(progress, reply.promiseEpoch);
  }

  onSnapshotPull(from: string, pull: SnapshotPull): void {
    const progress = this.progress.get(from);
    if (progress === undefined) return;
    progress.lastHeardAt = this.host.now;
    progress.lastNewsAt = this.host.now;
    this.replication.pulled(progress, pull);
  }

  /** The link to a node came up anew: what was sent may be lost. */
  reconnected(node: string): void {
    for (const progress of this.progress.values())
      if (progress.replica.node === node) this.replication.reconnected(progress);
    this.host.touch(this.replica.partition);
  }

  /** Says which of the other replicas may not understand `protocol`, or whether; empty: all of them do. */
  strangers(protocol: number): string {
    for (const { replica, lastHeardAt } of this.progress.values()) {
      if (this.host.now - lastHeardAt > KNOWN_MS)
        return `node ${replica.node} has not been heard of for a while`;
      if (!this.host.protocols.speaks(replica.node, protocol))
        return `node ${replica.node} speaks an earlier protocol`;
    }
    return '';
  }

  /** Sends what is new. */
  flush(): void {
    for (const progress of this.progress.values()) this.replication.replicate(progress);
    this.reads.flush();
  }

  /** Heartbeats and deadlines. */
  tick(): void {
    const { now } = this.host;
    for (const progress of this.progress.values()) this.replication.tick(progress);
    this.care.tick();
    this.writes.expire();
    this.reads.tick();
    this.expireSessions();
    this.scrubs.tick();
    this.expiry.tick();
    this.salts.tick();
    this.counters.tick();
    this.sweep.tick();
    if (now < this.nextReportAt) return;
    this.nextReportAt = now + REPORT_MS;
    this.host.touch(this.replica.partition);
  }

  /** Proposes to drop idle deduplication sessions, now and then. */
  private expireSessions(): void {
    const { machine, log } = this.replica;
    const { sessionWindowMs } = this.host.options;
    if (!this.serving || this.pauseTarget !== '' || this.host.diskFull) return;
    if (this.host.now < this.nextExpiryAt) return;
    this.nextExpiryAt = this.host.now + sessionWindowMs / 16;
    const before = Math.max(this.host.wall, log.lastTimestamp) - sessionWindowMs - 1;
    if (before > 0 && machine.sessions.hasIdle(before))
      this.writes.append('quorum', null, { kind: 'expireSessions', before });
  }

  /** Ends the leadership; everything that waits is answered. */
  end(): void {
    this.writes.end();
    this.reads.end();
    this.expiry.end();
    this.salts.end();
    this.copies.end();
    this.counters.end();
    this.scrubs.end();
    for (const progress of this.progress.values()) this.replication.closeSender(progress);
    this.care.end();
  }
}
