/**
 * Reads that any voter answers from its own state: at `session`, when it has decided what the session has seen; at `stale`, with a
 * bound of the state's age. They ask nobody, and tell the truth of a past.
 * INVARIANT: a session that has seen an entry is never shown a state without it: an entry of another epoch in its place means that
 * a write which was acknowledged at `leader` is lost, and that is an error.
 */
import { type ErrorCode, RingkeepError } from '../../common/errors.ts';
import type { GetOperation, SessionMark } from '../../common/wire/messages.ts';
import type { Freshness } from './freshness.ts';
import type { Host, RequestHandle } from './host.ts';
import type { Replica } from './replica.ts';

/** A follower that cannot answer within this sends the client elsewhere, ms; the leader goes on to the deadline. */
const WAIT_MS = 250;

/** Reads that wait at one replica: more are sent elsewhere. Each is looked at again in every tick. */
const WAITING_MAX = 1_024;

interface LocalRead {
  readonly handle: RequestHandle;
  readonly key: Uint8Array;
  readonly get: GetOperation;
  readonly until: number;
  /** Those of its marks that are not decided yet. */
  early: readonly SessionMark[];
}

type Verdict = 'ready' | 'wait' | 'lost';

/** The session and stale reads of one replica. */
export class LocalReads {
  private readonly replica: Replica;
  private readonly host: Host;
  private readonly freshness: Freshness;
  private waiting: LocalRead[] = [];
  /** No session read that waits is ready before this is decided. */
  private wakeAt = Number.POSITIVE_INFINITY;

  constructor(replica: Replica, freshness: Freshness) {
    this.replica = replica;
    this.host = replica.host;
    this.freshness = freshness;
  }

  /** Takes a get of a client at `READ_SESSION` or `READ_STALE`. */
  read(handle: RequestHandle, key: Uint8Array, get: GetOperation): void {
    const read: LocalRead = { handle, key, get, until: this.host.now + WAIT_MS, early: get.early };
    if (this.end(read)) return;
    // At the leader a fresh confirmation is as fast as waiting for one, and says that nothing is missing.
    const { leadership } = this.replica;
    if (leadership?.serving === true && get.level === 'READ_STALE') {
      return leadership.reads.read(handle, () => this.replica.gets.add(handle, key, 0, true));
    }
    // Beyond the end of its log: a deposed leader has not heard of it, but one that is confirmed has all that was ever committed.
    if (leadership?.serving === true && get.sessionIndex > this.replica.log.lastIndex) {
      return leadership.reads.read(handle, () => this.confirmed(read));
    }
    this.wait(read);
  }

  private confirmed(read: LocalRead): void {
    if (read.get.sessionIndex > this.replica.log.lastIndex) {
      this.fail(read, 'WRITE_LOST', 'what this session has seen is not there any more');
    } else if (!this.end(read)) this.wait(read);
  }

  private wait(read: LocalRead): void {
    if (this.waiting.length >= WAITING_MAX) return this.fail(read, 'UNAVAILABLE', 'too many reads wait here');
    this.waiting.push(read);
    this.wakeAt = Math.min(this.wakeAt, needs(read));
  }

  /** Answers what can be answered now. */
  serve(): void {
    if (this.waiting.length > 0 && this.replica.machine.decidedIndex >= this.wakeAt) this.look();
  }

  private look(): void {
    this.waiting = this.waiting.filter((read) => !this.end(read));
    this.wakeAt = this.waiting.reduce(
      (least, read) => Math.min(least, needs(read)),
      Number.POSITIVE_INFINITY,
    );
  }

  /** Ends what has waited for too long. */
  tick(): void {
    if (this.waiting.length === 0) return;
    const { now } = this.host;
    const mayWait = this.replica.leadership !== null;
    this.waiting = this.waiting.filter((read) => {
      if (!this.host.isOpen(read.handle)) return false;
      if (read.handle.deadline <= now) this.fail(read, 'DEADLINE_EXCEEDED', 'not fresh enough in time');
      else if (!mayWait && read.until <= now) this.fail(read, 'UNAVAILABLE', 'this replica is behind');
      else return true;
      return false;
    });
    this.look();
  }

  /** Answers a read or ends it with an error. Returns false if it has to wait. */
  private end(read: LocalRead): boolean {
    return read.get.level === 'READ_SESSION' ? this.endSession(read) : this.endStale(read);
  }

  private endSession(read: LocalRead): boolean {
    const { sessionIndex } = read.get;
    const { machine } = this.replica;
    const waits: SessionMark[] = [];
    for (const mark of read.early) {
      const verdict = this.judge(mark);
      if (verdict === 'lost') {
        this.fail(read, 'WRITE_LOST', 'a write that this session has seen is lost', mark.epoch);
        return true;
      }
      if (verdict === 'wait') waits.push(mark);
    }
    read.early = waits;
    if (waits.length > 0 || sessionIndex > machine.decidedIndex) return false;
    this.replica.gets.add(read.handle, read.key, 0, true);
    return true;
  }

  private judge({ index, epoch }: SessionMark): Verdict {
    const { log, machine, leadership } = this.replica;
    // What is decided tells for good; where not even the state knows so old an epoch, nobody can say that the write survived.
    if (index <= machine.decidedIndex) return machine.epochs.epochAt(index) === epoch ? 'ready' : 'lost';
    // The log of an established leader has all of lower epochs that can still become committed.
    const isSettled = leadership?.serving === true && epoch <= leadership.epoch;
    return isSettled && log.epochAt(index) !== epoch ? 'lost' : 'wait';
  }

  private endStale(read: LocalRead): boolean {
    const { maxStalenessMs } = read.get;
    const age = this.age();
    if (age === Number.POSITIVE_INFINITY || (maxStalenessMs > 0 && age > maxStalenessMs)) return false;
    // Told as of now: what is read later is as fresh at least, but not known to be fresher.
    this.replica.gets.add(read.handle, read.key, age, true);
    return true;
  }

  /** Age of the decided state, ms. */
  private age(): number {
    const { machine, leadership, log } = this.replica;
    if (leadership?.serving === true) this.freshness.told(log.commitIndex, leadership.quorumContactAt());
    return Math.ceil(this.freshness.ageMs(machine.decidedIndex, this.host.now));
  }

  /** `epoch`: of the write that is lost. */
  private fail({ handle }: LocalRead, code: ErrorCode, message: string, epoch = 0): void {
    const { partition, record } = this.replica;
    const leader = record?.leader?.node;
    const details = { partition, epoch, ...(leader === undefined ? {} : { leader }) };
    this.host.fail(handle, new RingkeepError(code, message, 'not_applied', details));
  }

  /** This replica answers nothing any more. */
  close(): void {
    for (const read of this.waiting) this.fail(read, 'UNAVAILABLE', 'this replica is gone');
    this.waiting = [];
  }
}

/** What has to be decided before a read can be answered; a stale one may become fresh with any entry. */
function needs({ get, early }: LocalRead): number {
  if (get.level === 'READ_STALE') return 0;
  return early.reduce((most, { index }) => Math.max(most, index), get.sessionIndex);
}
