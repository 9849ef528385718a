/**
 * What a leader sends to the others: entries out of memory or out of the WAL, a snapshot to those whose log is too far back, and
 * heartbeats. What they answer, and what it decides, is leadership.ts's.
 * INVARIANT: entries that were there before a learner came are sent at the rate of moves; what came later is never held up by it.
 */
import { assert } from '../../common/errors.ts';
import { APPEND_IDLE_MS, APPEND_IN_FLIGHT_BYTES_MAX, LOG_COPY_BYTES_MIN } from '../../common/limits.ts';
import type { AppendReply, SnapshotPull } from '../../common/wire/messages.ts';
import type { WalEntry } from '../wal/types.ts';
import { isMove } from './copy-budget.ts';
import type { Host } from './host.ts';
import type { Leadership } from './leadership.ts';
import type { Progress } from './progress.ts';
import type { Replica } from './replica.ts';
import { SnapshotSender } from './snapshot-sender.ts';

const NO_ECHO = { echo: 0, echoBoot: 0 };

/** The sending half of one leadership. */
export class Replication {
  private readonly leadership: Leadership;
  private readonly replica: Replica;
  private readonly host: Host;
  private readonly senders = new Map<string, SnapshotSender>();

  constructor(leadership: Leadership) {
    this.leadership = leadership;
    this.replica = leadership.replica;
    this.host = leadership.host;
  }

  /** A receiver asks for a part of its snapshot. */
  pulled(progress: Progress, pull: SnapshotPull): void {
    const sender = this.senders.get(pull.snapshot);
    if (sender === undefined) SnapshotSender.refuse(this.leadership, progress.replica, pull);
    else sender.pull(pull);
  }

  /** What it was sent does not fit behind its log: goes back to where it may. */
  mismatched(progress: Progress, reply: AppendReply): void {
    if (progress.state === 'snapshot') return this.senders.get(progress.snapshot)?.notHeld();
    if (progress.state === 'reading') return;
    // A real mismatch hints below what was asked; anything else answers an append from before the last correction.
    if (progress.state === 'probe' && reply.hintIndex + 1 >= progress.next) return;
    progress.probe(reply.hintIndex + 1);
    this.host.touch(this.replica.partition);
  }

  /** The receiver holds all of the snapshot that it is sent. */
  hasSnapshot(progress: Progress): boolean {
    const index = this.senders.get(progress.snapshot)?.index;
    return index !== undefined && progress.match >= index;
  }

  /** The link to it came up anew: what was sent may be lost. */
  reconnected(progress: Progress): void {
    if (progress.state === 'replicate' || progress.state === 'probe') progress.probe();
    else this.senders.get(progress.snapshot)?.offerAgain();
    progress.lastSentAt = Number.NEGATIVE_INFINITY;
  }

  /** Sends what is new. */
  replicate(progress: Progress): void {
    const { log } = this.replica;
    while (progress.next <= log.lastIndex && progress.inFlightBytes < APPEND_IN_FLIGHT_BYTES_MAX) {
      if (progress.state === 'snapshot' || progress.state === 'reading') return;
      if (progress.state === 'probe' && progress.probeOutstanding) return;
      if (log.epochAt(progress.next - 1) === undefined || this.isLogLonger(progress))
        return this.startSnapshot(progress);
      progress.waitsForRoom = !this.mayCopy(progress);
      if (progress.waitsForRoom) return;
      if (progress.next < log.firstInMemory) return this.readFor(progress);
      const { appendEntriesMax, appendBytesTarget } = this.host.options;
      const countMax = progress.full ? 1 : appendEntriesMax;
      this.sendAppend(progress, log.slice(progress.next, countMax, appendBytesTarget));
    }
  }

  /**
   * Whether the log that a new learner lacks is longer than the rows that it amounts to: values that were overwritten. The size of
   * the rows leaves out what is not in tables yet, so it is not asked about short logs.
   */
  private isLogLonger({ votes, match, next }: Progress): boolean {
    if (votes || match > 0) return false;
    const { log, rowsBytes } = this.replica;
    return (log.lastIndex - next + 1) * log.meanBytes > Math.max(LOG_COPY_BYTES_MIN, rowsBytes);
  }

  /**
   * Whether the next entries may be sent now: those that were there before a learner are as much a copy as a snapshot is. What came
   * later is not held up, so that the learner gets level.
   */
  private mayCopy(progress: Progress): boolean {
    const { host, replica } = this;
    if (progress.next > progress.copyUntil || progress.replica.id === this.leadership.pauseTarget)
      return true;
    const record = host.recordOf(replica.partition);
    if (record === undefined || !isMove(record, progress.replica)) return true;
    // What was taken for entries that then did not have to be sent.
    if (progress.roomTaken > 0) return true;
    const room = host.options.snapshotChunkBytes;
    if (!host.copies.send(room, true, progress)) return false;
    progress.roomTaken = room;
    return true;
  }

  private sendAppend(progress: Progress, entries: Uint8Array[], prevIndex: number = progress.next - 1): void {
    const { leadership } = this;
    const { log, meta } = this.replica;
    const prevEpoch = log.epochAt(prevIndex);
    assert(prevEpoch !== undefined, 'the epoch of the previous entry is known');
    const sentAt = Math.floor(this.host.now * 1_000);
    const { echo, echoBoot } = leadership.serving
      ? progress.clock.echoFor(leadership.contactOfNow())
      : NO_ECHO;
    leadership.send(progress.replica, {
      body: 'append',
      append: {
        configuration: meta.configuration,
        prevIndex,
        prevEpoch,
        entries,
        commitIndex: log.commitIndex,
        voters: progress.confirmed ? [] : meta.voters,
        previousVoters: progress.confirmed ? [] : meta.previousVoters,
        sentAt,
        echo,
        echoBoot,
      },
    });
    progress.lastSentAt = this.host.now;
    if (progress.state === 'probe') progress.probeOutstanding = true;
    if (entries.length === 0) return;
    let bytes = 0;
    for (const entry of entries) bytes += entry.byteLength;
    if (progress.roomTaken > 0) this.host.copies.sentLess(progress.roomTaken - bytes, true);
    progress.roomTaken = 0;
    if (!progress.votes) this.host.copies.sentLogBytes += bytes;
    progress.sent(prevIndex + entries.length, bytes);
  }

  private readFor(progress: Progress): void {
    const from = progress.next;
    const before = progress.state;
    progress.state = 'reading';
    const { appendEntriesMax, appendBytesTarget } = this.host.options;
    this.host.readWal({
      partition: this.replica.partition,
      from,
      countMax: progress.full ? 1 : appendEntriesMax,
      bytesMax: from <= progress.copyUntil ? appendBytesTarget : appendBytesTarget * 4,
      done: (error, result) => {
        if (this.replica.leadership !== this.leadership || progress.state !== 'reading') return;
        progress.state = before;
        if (error !== null) return this.replica.readFailed('the WAL', error);
        assert(result !== undefined, 'a read gives a result or an error');
        // An answer that came meanwhile may have moved the place to go on from: then nothing is known of it.
        if (progress.next !== from) progress.probeOutstanding = false;
        else if (result.gone) this.startSnapshot(progress);
        else this.sendRead(progress, result.entries);
        this.host.touch(this.replica.partition);
      },
    });
  }

  private sendRead(progress: Progress, entries: WalEntry[]): void {
    const { log } = this.replica;
    const known = entries.filter((entry) => entry.index <= log.lastIndex);
    for (const entry of known) {
      assert(log.epochAt(entry.index) === entry.epoch, 'the WAL holds the entries of this log');
    }
    this.sendAppend(
      progress,
      known.map((entry) => entry.payload),
    );
  }

  private startSnapshot(progress: Progress): void {
    progress.probe();
    progress.state = 'snapshot';
    this.closeSender(progress);
    const sender = new SnapshotSender(this.leadership, progress.replica);
    progress.snapshot = sender.id;
    this.senders.set(sender.id, sender);
    progress.lastNewsAt = this.host.now;
    this.host.holds.begin(progress.replica.id);
    sender.start();
  }

  /** Ends the snapshot that it is sent, if it is. */
  closeSender(progress: Progress): void {
    const sender = this.senders.get(progress.snapshot);
    if (sender === undefined) return;
    this.senders.delete(progress.snapshot);
    progress.snapshot = '';
    sender.close();
  }

  /** Heartbeats and what has to go on. A heartbeat asks about the newest entry sent, so it also finds what was lost. */
  tick(progress: Progress): void {
    if (progress.state === 'snapshot') {
      const sender = this.senders.get(progress.snapshot);
      if (sender === undefined || sender.tick()) {
        this.closeSender(progress);
        progress.probe();
        this.host.touch(this.replica.partition);
      }
    }
    if (this.host.now - progress.lastSentAt >= APPEND_IDLE_MS) this.sendIdle(progress);
    if (progress.waitsForRoom) this.host.touch(this.replica.partition);
  }

  private sendIdle(progress: Progress): void {
    const next = progress.next;
    // All of it was sent, so the receiver may hold it, and the answer that said so be lost.
    const held = progress.state === 'snapshot' ? this.senders.get(progress.snapshot)?.sentIndex : undefined;
    if (held !== undefined) return this.sendAppend(progress, [], held);
    const known = this.replica.log.epochAt(next - 1) !== undefined;
    // While a snapshot or a WAL read is under way, the heartbeat must not ask about entries the receiver lacks.
    if (!known || progress.state === 'snapshot' || progress.state === 'reading') {
      // Except of one that has not answered in this epoch: only an append brings it the epoch and its sets, and without
      // them it takes neither an offer nor a question. That it does not match is known here already.
      if (progress.confirmed) this.leadership.reads.probe(progress.replica);
      else this.sendAppend(progress, [], this.replica.log.lastIndex);
      progress.probeOutstanding = false;
      progress.lastSentAt = this.host.now;
      // What the log does not reach back to, a snapshot brings.
      return this.host.touch(this.replica.partition);
    }
    if (progress.full && progress.state === 'probe' && next <= this.replica.log.lastIndex) {
      progress.probeOutstanding = false;
      return this.host.touch(this.replica.partition);
    }
    this.sendAppend(progress, []);
  }
}
