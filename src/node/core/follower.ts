/**
 * The follower's half of replication: checks an append against its own log, truncates on conflict, acknowledges what it
 * has verified to match *this* leader's log and what is durable here, whichever is less.
 * INVARIANT: nothing at or below the commit index is touched; an acknowledgement leaves only while its epoch is the
 * promised one, and only when that promise is durable.
 */
import { assert } from '../../common/errors.ts';
import type { Append, AppendReply, Confirm } from '../../common/wire/messages.ts';
import { canWait, decodeEntry, type Entry, peekEntry, UnknownEntryError } from './entry.ts';
import { entryOf, type LogItem } from './log.ts';
import type { Replica } from './replica.ts';

interface LeaderName {
  readonly id: string;
  readonly node: string;
}

/** An answer to appends of a leader that do not fit behind this log. */
interface Mismatch {
  readonly leader: LeaderName;
  readonly epoch: number;
  readonly sentAt: number;
  readonly hintIndex: number;
}

/** Follows the leader of the promised epoch. */
export class Follower {
  private readonly replica: Replica;
  private leader: LeaderName | null = null;
  /** Up to here this leader's log is known to equal ours. */
  private verifiedIndex = 0;
  private ackPending = false;
  private acknowledged = 0;
  private echo = 0;
  /** What did not match, to be answered once the promise is durable. */
  private mismatch: Mismatch | null = null;
  private confirms: { readonly leader: LeaderName; readonly epoch: number; readonly round: number }[] = [];

  constructor(replica: Replica) {
    this.replica = replica;
  }

  /** A new promise: nothing has been verified against its leader yet. */
  reset(): void {
    this.leader = null;
    this.verifiedIndex = 0;
    this.acknowledged = 0;
    this.ackPending = false;
    this.mismatch = null;
    this.confirms = [];
  }

  onAppend(leader: LeaderName, epoch: number, append: Append): void {
    const { replica } = this;
    if (epoch < replica.meta.promiseEpoch) return this.sendRefusal(leader, epoch, append.sentAt);
    if (epoch > replica.meta.promiseEpoch) {
      // The sets come along until the sender knows that we have them; without them the promise would be incomplete.
      if (append.voters.length === 0)
        return this.noteMismatch(leader, epoch, append.sentAt, replica.log.lastIndex);
      replica.adopt(epoch, append);
    }
    replica.leaderHeard();
    this.leader = leader;
    this.echo = append.sentAt;
    const { log } = replica;
    const prev = append.prevIndex;
    if (prev > log.lastIndex) return this.noteMismatch(leader, epoch, append.sentAt, log.lastIndex);
    if (prev > log.commitIndex) {
      const known = log.epochAt(prev);
      if (known !== append.prevEpoch) {
        const hint = Math.max(log.commitIndex, Math.min(prev, log.epochStart(prev)) - 1);
        return this.noteMismatch(leader, epoch, append.sentAt, hint);
      }
    }
    const taken = this.tryTake(append);
    this.verifiedIndex = Math.max(this.verifiedIndex, prev + taken);
    log.commitIndex = Math.max(log.commitIndex, Math.min(append.commitIndex, this.verifiedIndex));
    if (append.echo > 0 && append.echoBoot === replica.host.options.boot) {
      replica.freshness.told(append.commitIndex, append.echo / 1_000);
    }
    this.ackPending = true;
    replica.host.touch(replica.partition);
  }

  private tryTake(append: Append): number {
    try {
      return this.takeEntries(append);
    } catch (error) {
      if (!(error instanceof UnknownEntryError)) throw error;
      this.replica.markDamaged(`an entry that this version does not know: ${error.message}`);
      return 0;
    }
  }

  /** Appends what is new, truncating what conflicts. Returns how many of the entries are in the log now. */
  private takeEntries(append: Append): number {
    const { log, machine } = this.replica;
    let index = append.prevIndex;
    let taken = 0;
    for (const bytes of append.entries) {
      index++;
      const head = peekEntry(bytes);
      assert(head.index === index, 'entries of an append are contiguous');
      if (index <= log.lastIndex) {
        const known = log.epochAt(index);
        if (known === head.epoch || index <= log.commitIndex) {
          assert(known === undefined || known === head.epoch, 'a committed entry differs from its leader’s');
          continue;
        }
        this.noteLost(log.truncate(index - 1), () => false);
        machine.forgetFetched();
      }
      // A leader's own entries are few and small, and without the first of them no failover ends.
      if (this.takesNoWrites && canWait(bytes)) {
        this.replica.took(taken);
        return index - 1 - append.prevIndex;
      }
      // Decoded before it is in the log: what is not understood must not get there.
      const entry = decodeEntry(bytes);
      log.append(head.epoch, bytes, entry);
      machine.prefetch(entry.command);
      taken += bytes.byteLength;
    }
    this.replica.took(taken);
    return append.entries.length;
  }

  private get takesNoWrites(): boolean {
    const { host, hasRoomForCopy } = this.replica;
    return host.diskFull || host.applyBehind || !hasRoomForCopy;
  }

  /**
   * Counts writes that this replica, as their leader, had acknowledged at `leader` and that are lost now (G3). After a
   * restart it is not known any more which of its epoch were answered: then all of them count. `survived` tells what
   * reached the present leader all the same.
   */
  noteLost(items: readonly LogItem[], survived: (entry: Entry) => boolean): void {
    const { host, partition, meta } = this.replica;
    let lost = 0;
    for (const item of items) {
      const mayBeOwn = item.answered || (item.lsn === 0 && item.epoch === meta.ledEpoch);
      if (!mayBeOwn) continue;
      const entry = entryOf(item);
      if (entry.ack === 'leader' && !survived(entry)) lost++;
    }
    if (lost > 0) host.event({ level: 'warn', event: 'leader_writes_lost', partition, lost });
  }

  /** The leader that was last heard of in the promised epoch. */
  get currentLeader(): LeaderName | null {
    return this.leader;
  }

  onConfirm(leader: LeaderName, epoch: number, confirm: Confirm): void {
    const { meta, host, partition } = this.replica;
    if (epoch > meta.promiseEpoch) return;
    if (epoch < meta.promiseEpoch) {
      if (!this.replica.promiseDurable) return;
      const confirmReply = { round: confirm.round, granted: false, promiseEpoch: meta.promiseEpoch };
      return host.send(partition, epoch, meta.replica, leader, { body: 'confirmReply', confirmReply });
    }
    this.confirms.push({ leader, epoch, round: confirm.round });
    host.touch(partition);
  }

  /** An offered snapshot is behind what is committed here: let the leader look for the place again. */
  offerRefused(leader: LeaderName): void {
    const { meta, log } = this.replica;
    this.noteMismatch(leader, meta.promiseEpoch, 0, log.lastIndex);
  }

  /** A snapshot of this leader was installed: it matches up to `index`. */
  installed(leader: LeaderName, epoch: number, index: number): void {
    const { replica } = this;
    if (epoch !== replica.meta.promiseEpoch) return;
    this.leader = leader;
    this.verifiedIndex = Math.max(this.verifiedIndex, index);
    this.ackPending = true;
    replica.host.touch(replica.partition);
  }

  private sendRefusal(leader: LeaderName, epoch: number, sentAt: number): void {
    if (this.replica.promiseDurable) this.send(leader, epoch, { ...this.blankReply(sentAt), success: false });
  }

  /** Several in one turn are one answer: the lowest place to go on from is right for all of them. */
  private noteMismatch(leader: LeaderName, epoch: number, sentAt: number, hintIndex: number): void {
    const known = this.mismatch;
    const hint = known?.epoch === epoch ? Math.min(known.hintIndex, hintIndex) : hintIndex;
    this.mismatch = { leader, epoch, sentAt, hintIndex: hint };
    this.replica.host.touch(this.replica.partition);
  }

  private blankReply(sentAt: number): AppendReply {
    const { meta, machine } = this.replica;
    return {
      success: true,
      matchIndex: 0,
      promiseEpoch: meta.promiseEpoch,
      hintIndex: 0,
      sentAt,
      appliedIndex: machine.appliedIndex,
      diskFull: this.takesNoWrites,
      clock: Math.floor(this.replica.host.now * 1_000),
      boot: this.replica.host.options.boot,
    };
  }

  private send(leader: LeaderName, epoch: number, appendReply: AppendReply): void {
    const { host, partition, meta } = this.replica;
    host.send(partition, epoch, meta.replica, leader, { body: 'appendReply', appendReply });
  }

  /** Sends the acknowledgements and confirmations that are due. */
  flush(): void {
    const { replica } = this;
    if (!replica.promiseDurable) return;
    this.flushMismatch();
    this.flushConfirms();
    if (!this.ackPending || this.leader === null) return;
    const match = Math.min(this.verifiedIndex, replica.log.durableIndex);
    const level = this.verifiedIndex <= replica.log.durableIndex;
    if (!level && match <= this.acknowledged) return;
    this.ackPending = !level;
    this.acknowledged = match;
    this.send(this.leader, replica.meta.promiseEpoch, { ...this.blankReply(this.echo), matchIndex: match });
  }

  private flushMismatch(): void {
    const { mismatch } = this;
    this.mismatch = null;
    if (mismatch === null || mismatch.epoch < this.replica.meta.promiseEpoch) return;
    const { leader, epoch, sentAt, hintIndex } = mismatch;
    this.send(leader, epoch, { ...this.blankReply(sentAt), success: false, hintIndex });
  }

  private flushConfirms(): void {
    const { host, partition, meta } = this.replica;
    for (const { leader, epoch, round } of this.confirms.splice(0)) {
      if (epoch !== meta.promiseEpoch) continue;
      const confirmReply = { round, granted: true, promiseEpoch: meta.promiseEpoch };
      host.send(partition, epoch, meta.replica, leader, { body: 'confirmReply', confirmReply });
    }
  }
}
