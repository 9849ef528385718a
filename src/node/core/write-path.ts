/**
 * The leader's writes: from a client's request to an entry in the log, and from its decision back to the reply. The
 * acknowledgement level only decides when the reply leaves (DESIGN.md section 4).
 * INVARIANT: a request id has at most one undecided entry in this leader's log; a `leader` acknowledgement leaves only
 * for a blind write that is durable here, while a quorum has been heard from within the lease.
 */

import { type ErrorCode, type ErrorDetails, type Outcome, RingkeepError } from '../../common/errors.ts';
import {
  LEADER_ACK_LEASE_MS,
  OVERLOADED_RETRY_AFTER_MS,
  REQUESTS_REMEMBERED_MAX,
  SESSION_SEQUENCES_MAX,
  SESSIONS_MAX,
} from '../../common/limits.ts';
import { narrow } from '../../common/text.ts';
import type { ReceiptItem } from '../../common/wire/messages.ts';
import type { Ack, Command, Entry, RequestId } from './entry.ts';
import { isBlind } from './execute.ts';
import type { RequestHandle } from './host.ts';
import type { Leadership } from './leadership.ts';
import { entryOf } from './log.ts';
import type { ItemResult, WriteResult } from './result.ts';

interface Waiter {
  readonly handle: RequestHandle;
  readonly ack: Ack;
  readonly id: RequestId;
  /** May be answered as soon as it is durable here. */
  readonly early: boolean;
  /** As of its proposal. */
  readonly unread: Uint8Array | null;
}

/** A decided write that waits for every voter. */
interface AllWaiter extends Waiter {
  readonly index: number;
  readonly result: Extract<WriteResult, { kind: 'applied' }>;
  readonly duplicate: boolean;
}

const DEPOSED_BEFORE_ALL = 'deposed before every voter had acknowledged';

function idKey(id: RequestId): string {
  return `${id.client}${id.sequence}`;
}

function receiptItem({ failed, version, counter }: ItemResult): ReceiptItem {
  return { conditionFailed: failed, version, counter: counter === null ? 0 : narrow(counter) };
}

/** A write as it came. */
export interface Proposal {
  readonly handle: RequestHandle;
  readonly id: RequestId;
  readonly ack: Ack;
  readonly command: Command;
  /** Of an increment whose receipt need not tell the counter, its user key; else null. */
  readonly unread: Uint8Array | null;
}

/** Takes, tracks and answers the writes of one leadership. */
export class WritePath {
  private readonly leadership: Leadership;
  /** Clients that wait for the decision of the entry at an index. */
  private readonly waiters = new Map<number, Waiter[]>();
  /** Undecided request ids → index. */
  private readonly pending = new Map<string, number>();
  /** Indexes with early waiters, ascending. */
  private early: number[] = [];
  private all: AllWaiter[] = [];
  /** Requests that need a session time, until a recent entry is committed. */
  private timeWaiters: RequestHandle[] = [];
  /** Held back while a learner has to catch up, in order; bounded like all open requests. */
  private held: Proposal[] = [];
  private tickPending = false;
  private ended = false;

  constructor(leadership: Leadership) {
    this.leadership = leadership;
    const { log, machine } = leadership.replica;
    for (let index = machine.decidedIndex + 1; index <= log.lastIndex; index++) {
      const entry = entryOf(log.at(index)!);
      if (entry.requestId !== null) this.pending.set(idKey(entry.requestId), index);
    }
  }

  /** The timestamp of an entry that is appended now: the leader's clock, which never goes back within a log. */
  get clock(): number {
    const { replica, host } = this.leadership;
    return Math.max(host.wall, replica.log.lastTimestamp);
  }

  /** Takes a write: appends it, holds it back for a while, or answers at once. */
  propose(proposal: Proposal): void {
    const { pace, host } = this.leadership;
    if (this.held.length === 0 && pace.take(host.now)) this.take(proposal);
    else this.held.push(proposal);
  }

  /** Takes writes that were held back, as the pace allows. */
  private release(): void {
    const { pace, host, pauseTarget } = this.leadership;
    while (this.held.length > 0 && pauseTarget === '' && pace.take(host.now)) {
      const proposal = this.held.shift()!;
      if (host.isOpen(proposal.handle)) this.take(proposal);
    }
    this.held = this.held.filter(({ handle }) => {
      if (pauseTarget !== '') this.refuse(handle, 'NOT_LEADER', 'the leader is about to change');
      else if (handle.deadline <= host.now)
        this.refuse(
          handle,
          'DEADLINE_EXCEEDED',
          'not taken in time: a replica that is moved has to catch up',
        );
      return pauseTarget === '' && handle.deadline > host.now;
    });
  }

  /** Appends a write, unless it has been before or cannot be. */
  take(proposal: Proposal): void {
    const { handle, id, ack, command, unread } = proposal;
    const { replica, host } = this.leadership;
    if (ack === 'leader' && !isBlind(command)) {
      return this.refuse(handle, 'CONDITION_UNSUPPORTED', 'a conditional result is known at commit only');
    }
    const timestamp = this.clock;
    const pendingIndex = this.pending.get(idKey(id));
    if (pendingIndex !== undefined) {
      return this.wait(pendingIndex, { handle, ack, id, unread, early: false });
    }
    const found = replica.machine.sessions.lookup(id, timestamp);
    if (found.kind === 'seen') {
      return this.answerDuplicate({ handle, ack, id, unread, early: false }, found.index, found.stored);
    }
    if (found.kind === 'unknown') return this.tellTime(handle);
    if (found.kind === 'expired') {
      return this.refuse(handle, 'SESSION_EXPIRED', 'the deduplication window of this request has passed');
    }
    if (found.kind === 'full' || this.mayLackRoom(id.client)) {
      return this.refuse(handle, 'OVERLOADED', 'no room for further client sessions', 1_000);
    }
    if (id.sequence - id.lowWater >= SESSION_SEQUENCES_MAX * 2) {
      return this.refuse(handle, 'INVALID_ARGUMENT', 'the sequence is too far above the low water');
    }
    if (host.diskFull) return this.refuse(handle, 'DISK_FULL', 'the leader has no disk space', 1_000);
    if (host.overloaded) {
      return this.refuse(
        handle,
        'OVERLOADED',
        'too much is waiting to be applied',
        OVERLOADED_RETRY_AFTER_MS,
      );
    }
    if (!this.leadership.hasQuorumContact()) {
      return this.refuse(handle, 'NO_QUORUM', 'no quorum of voters answers', 250);
    }
    if (this.leadership.counters.holds(proposal) || this.leadership.salts.holds(proposal)) return;
    const early =
      ack === 'leader' && timestamp - id.sessionTime <= host.options.sessionWindowMs && id.sessionTime > 0;
    const index = this.append(ack, id, command, timestamp);
    this.pending.set(idKey(id), index);
    this.wait(index, { handle, ack, id, unread, early });
    if (early) this.early.push(index);
  }

  /** A client without a session may find none left when its write is decided: too late for a `leader` acknowledgement. */
  private mayLackRoom(client: string): boolean {
    const { replica, host } = this.leadership;
    const { sessions } = replica.machine;
    if (sessions.requests + this.pending.size >= REQUESTS_REMEMBERED_MAX) return true;
    if (sessions.has(client)) return false;
    return host.sessionsFull || sessions.size + this.pending.size >= SESSIONS_MAX;
  }

  /** Appends an entry of the current epoch and returns its index. */
  append(ack: Ack, requestId: RequestId | null, command: Command, timestamp?: number): number {
    const { replica, host, epoch } = this.leadership;
    const { log } = replica;
    const entry: Entry = {
      epoch,
      index: log.lastIndex + 1,
      timestamp: timestamp ?? this.clock,
      ack,
      requestId,
      command,
    };
    replica.appendOwn(entry);
    this.leadership.salts.appended(command, entry.index);
    this.leadership.counters.appended(command);
    replica.machine.prefetch(command);
    host.touch(replica.partition);
    return entry.index;
  }

  private wait(index: number, waiter: Waiter): void {
    const waiters = this.waiters.get(index);
    if (waiters === undefined) this.waiters.set(index, [waiter]);
    else waiters.push(waiter);
  }

  private fail(
    handle: RequestHandle,
    code: ErrorCode,
    outcome: Outcome,
    message: string,
    more: ErrorDetails = {},
  ): void {
    const { replica, host, epoch } = this.leadership;
    const details = { partition: replica.partition, epoch, ...more };
    host.fail(handle, new RingkeepError(code, message, outcome, details));
  }

  /** The write is in effect; who has it only the next leader can tell. */
  private deposed(handle: RequestHandle, { index, epoch }: { index: number; epoch: number }): void {
    this.fail(handle, 'ACK_NOT_REACHED', 'applied', DEPOSED_BEFORE_ALL, { epoch, version: index });
  }

  private refuse(handle: RequestHandle, code: ErrorCode, message: string, retryAfterMs?: number): void {
    this.fail(handle, code, 'not_applied', message, retryAfterMs === undefined ? {} : { retryAfterMs });
  }

  /** Tells the timestamp of a committed entry; when that is old, appends one that only advances the log time first. */
  private tellTime(handle: RequestHandle): void {
    const { replica, host } = this.leadership;
    const recent = host.wall - replica.machine.mark.logTime <= host.options.sessionWindowMs / 4;
    if (recent && this.leadership.serving) return this.sendTime(handle);
    if (!this.leadership.hasQuorumContact()) {
      return this.refuse(handle, 'NO_QUORUM', 'no quorum of voters answers', 250);
    }
    if (host.diskFull) return this.refuse(handle, 'DISK_FULL', 'the leader has no disk space', 1_000);
    this.timeWaiters.push(handle);
    if (this.leadership.serving && !this.tickPending) {
      this.tickPending = true;
      this.append('quorum', null, { kind: 'tick' });
    }
  }

  private sendTime(handle: RequestHandle): void {
    const { replica, host, epoch } = this.leadership;
    const { logTime } = replica.machine.mark;
    const details = { partition: replica.partition, epoch, logTime };
    host.fail(handle, new RingkeepError('SESSION_TIME', 'resend with this log time', 'not_applied', details));
  }

  /** An entry was decided: answers those who wait for it. */
  decided(entry: Entry, result: WriteResult | null): void {
    if (entry.command.kind === 'tick') this.tickPending = false;
    if (this.leadership.serving && this.timeWaiters.length > 0) {
      for (const handle of this.timeWaiters.splice(0)) this.sendTime(handle);
    }
    if (entry.requestId !== null) this.pending.delete(idKey(entry.requestId));
    const waiters = this.waiters.get(entry.index);
    if (waiters === undefined || result === null) return;
    this.waiters.delete(entry.index);
    for (const waiter of waiters) this.answer(waiter, result);
  }

  private answer(waiter: Waiter, result: WriteResult): void {
    if (result.kind === 'duplicate') {
      return this.answerDuplicate(waiter, result.index, result.stored);
    }
    this.finish(waiter, result, false);
  }

  private answerDuplicate(waiter: Waiter, index: number, stored: boolean): void {
    const { replica } = this.leadership;
    if (!stored) {
      const epoch = replica.log.epochAt(index) ?? 0;
      return this.finish(waiter, { kind: 'applied', index, epoch, counter: null }, true);
    }
    replica.machine.readResult(waiter.id, (result) => {
      if (result === null) {
        this.fail(waiter.handle, 'SESSION_EXPIRED', 'unknown', 'the stored result of this request is gone');
      } else this.finish(waiter, result, true);
    });
  }

  private finish(waiter: Waiter, result: WriteResult, duplicate: boolean): void {
    const { handle, ack } = waiter;
    if (result.kind === 'refused') {
      return this.refuse(handle, result.code, 'the write was decided to have no effect');
    }
    if (result.kind === 'duplicate') return;
    const onAll = ack === 'all' && this.leadership.matchOfAll() >= result.index;
    // A condition that did not hold has written nothing that voters could have.
    if (ack === 'all' && !onAll && result.kind === 'applied') {
      // A stored result may come back after the end.
      if (this.ended) return this.deposed(handle, result);
      this.all.push({ ...waiter, index: result.index, result, duplicate });
      return;
    }
    this.succeed(waiter, result, onAll ? 'all' : 'quorum', duplicate);
  }

  private succeed(
    { handle, unread }: Waiter,
    result: Extract<WriteResult, { kind: 'applied' | 'condition' }>,
    durability: 'quorum' | 'all',
    duplicate: boolean,
  ): void {
    const { replica, host, counters } = this.leadership;
    const isCounted = unread === null && result.kind === 'applied' && result.counter !== null;
    host.succeed(handle, {
      partition: replica.partition,
      epoch: result.kind === 'applied' ? result.epoch : this.leadership.epoch,
      version: result.kind === 'applied' ? result.index : result.version,
      durability,
      logTime: replica.machine.mark.logTime,
      duplicate,
      counter: isCounted ? narrow(result.counter!) : 0,
      conditionFailed: result.kind === 'condition',
      index: result.index,
      // Those of a sub-counter are its leader's affair.
      items: unread === null ? (result.items ?? []).map(receiptItem) : [],
      repeated: result.repeated === true,
      salts: unread === null ? null : counters.of(unread),
    });
  }

  /** Answers `leader` writes up to the durable index, if a quorum has been heard of within the lease. */
  durable(): void {
    if (this.early.length === 0) return;
    const { replica, host, epoch } = this.leadership;
    if (host.now - this.leadership.quorumContactAt() > LEADER_ACK_LEASE_MS) return;
    let done = 0;
    while (done < this.early.length && this.early[done]! <= replica.log.durableIndex) {
      const index = this.early[done++]!;
      const waiters = this.waiters.get(index);
      if (waiters === undefined) continue;
      const rest = waiters.filter((waiter) => !waiter.early);
      for (const waiter of waiters) {
        if (!waiter.early) continue;
        const item = replica.log.at(index);
        if (item !== undefined) item.answered = true;
        host.succeed(waiter.handle, {
          partition: replica.partition,
          epoch,
          version: index,
          durability: 'leader',
          logTime: replica.machine.mark.logTime,
          duplicate: false,
          counter: 0,
          conditionFailed: false,
          index,
          items: [],
          repeated: false,
        });
      }
      if (rest.length > 0) this.waiters.set(index, rest);
      else this.waiters.delete(index);
    }
    this.early.splice(0, done);
  }

  /** Some replica has acknowledged more: answers `all` writes that every voter has now. */
  matched(): void {
    if (this.all.length === 0) return;
    const match = this.leadership.matchOfAll();
    const rest: AllWaiter[] = [];
    for (const waiter of this.all) {
      if (waiter.index <= match) this.succeed(waiter, waiter.result, 'all', waiter.duplicate);
      else rest.push(waiter);
    }
    this.all = rest;
  }

  /** Ends what is past its deadline. */
  expire(): void {
    const { now } = this.leadership.host;
    this.release();
    const reachable = this.leadership.hasQuorumContact();
    for (const [index, waiters] of this.waiters) {
      if (!waiters.some((waiter) => waiter.handle.deadline <= now)) continue;
      const rest = waiters.filter((waiter) => waiter.handle.deadline > now);
      for (const waiter of waiters) {
        if (waiter.handle.deadline > now) continue;
        const code = reachable ? 'DEADLINE_EXCEEDED' : 'NO_QUORUM';
        this.fail(waiter.handle, code, 'unknown', 'appended, but not committed in time');
      }
      if (rest.length > 0) this.waiters.set(index, rest);
      else this.waiters.delete(index);
    }
    this.all = this.all.filter((waiter) => {
      if (waiter.handle.deadline > now) return true;
      const { match, voters } = this.leadership.ackCount(waiter.index);
      const text = `${match} of ${voters} voters have it`;
      const { epoch } = waiter.result;
      const receipt = { epoch, version: waiter.index, reached: match, voters };
      this.fail(waiter.handle, 'ACK_NOT_REACHED', 'applied', text, receipt);
      return false;
    });
    this.timeWaiters = this.timeWaiters.filter((handle) => {
      if (handle.deadline > now) return true;
      const code = reachable ? 'DEADLINE_EXCEEDED' : 'NO_QUORUM';
      this.refuse(handle, code, 'no entry was committed in time');
      return false;
    });
  }

  /** Entries that somebody waits for, or that are undecided. */
  get size(): number {
    return this.pending.size;
  }

  /** The leadership ends: what was appended is unknown, what was decided is applied. */
  end(): void {
    this.ended = true;
    for (const waiters of this.waiters.values()) {
      for (const waiter of waiters) {
        this.fail(waiter.handle, 'NOT_LEADER', 'unknown', 'deposed before the write was committed');
      }
    }
    for (const waiter of this.all) {
      this.deposed(waiter.handle, waiter.result);
    }
    for (const handle of this.timeWaiters) this.refuse(handle, 'NOT_LEADER', 'deposed');
    for (const { handle } of this.held) this.refuse(handle, 'NOT_LEADER', 'deposed');
    this.held = [];
    this.waiters.clear();
    this.all = [];
    this.timeWaiters = [];
  }
}
