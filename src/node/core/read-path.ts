/**
 * Linearizable reads at the leader: note the commit index, confirm the epoch with a quorum by messages sent after the
 * read arrived (one round serves every waiting read), wait until that index is decided, answer. No clock takes part.
 * Only after an entry of the own epoch has committed (`Leadership.serving`).
 */
import { RingkeepError } from '../../common/errors.ts';
import type { Replica as ReplicaName } from '../../common/topology.ts';
import type { RequestHandle } from './host.ts';
import type { Leadership } from './leadership.ts';

/** Rounds that may be under way at once; what arrives meanwhile waits for the next. */
const ROUNDS_MAX = 4;
/** Idle questions whose answers are still looked for. */
const PROBES_MAX = 64;
/** A confirmation that no client waits for is given up after this, ms. */
const CONFIRM_MS = 2_000;
/** A round whose answers are missing is asked again after this, ms. */
const ROUND_RETRY_MS = 200;

interface Read {
  /** Of the client who asks; null: nobody does. */
  readonly handle: RequestHandle | null;
  /** On the core's clock, ms. */
  readonly deadline: number;
  /** Reads and replies, once the read point is decided. */
  readonly answer: () => void;
}

interface Round {
  readonly round: number;
  readonly reads: Read[];
  readonly readIndex: number;
  readonly grants: Set<string>;
  /** When it was first asked: a grant may answer that message, whatever was sent again since. */
  readonly startedAt: number;
  askedAt: number;
}

/** Confirms and answers the reads of one leadership. */
export class ReadPath {
  private readonly leadership: Leadership;
  private waiting: Read[] = [];
  private readonly rounds = new Map<number, Round>();
  /** Confirmed, but their index is not decided yet; ascending by index. */
  private confirmed: { readonly readIndex: number; readonly reads: Read[] }[] = [];
  private nextRound = 1;
  /** When idle questions were asked, by their round, oldest first; no read waits for them. */
  private readonly probes = new Map<number, number>();

  constructor(leadership: Leadership) {
    this.leadership = leadership;
  }

  /** Queues a read; `answer` runs once it may look at the state. */
  read(handle: RequestHandle, answer: () => void): void {
    if (!this.leadership.hasQuorumContact()) {
      const details = { retryAfterMs: 250, partition: this.leadership.replica.partition };
      const message = 'no quorum of voters answers';
      return this.leadership.host.fail(
        handle,
        new RingkeepError('NO_QUORUM', message, 'not_applied', details),
      );
    }
    this.take({ handle, deadline: handle.deadline, answer });
  }

  /** Runs `done` once a quorum has confirmed this leader by answers to messages sent from now on, if one does so in time. */
  confirm(done: () => void): void {
    const deadline = this.leadership.host.now + CONFIRM_MS;
    this.take({ handle: null, deadline, answer: done });
  }

  private take(read: Read): void {
    this.waiting.push(read);
    this.leadership.host.touch(this.leadership.replica.partition);
  }

  /** Starts a round for the reads that wait. */
  flush(): void {
    const { leadership } = this;
    if (!leadership.serving || this.waiting.length === 0 || this.rounds.size >= ROUNDS_MAX) return;
    const reads = this.waiting;
    this.waiting = [];
    const readIndex = leadership.replica.log.commitIndex;
    const round: Round = {
      round: this.nextRound++,
      reads,
      readIndex,
      grants: new Set(),
      startedAt: leadership.host.now,
      askedAt: leadership.host.now,
    };
    if (leadership.selfVotes) round.grants.add(leadership.replica.meta.replica);
    this.rounds.set(round.round, round);
    this.ask(round);
    this.settle(round);
  }

  private ask(round: Round): void {
    const { leadership } = this;
    for (const progress of leadership.progress.values()) {
      if (!progress.votes || round.grants.has(progress.replica.id)) continue;
      leadership.send(progress.replica, {
        body: 'confirm',
        confirm: { round: round.round, commitIndex: leadership.replica.log.commitIndex },
      });
    }
  }

  /** Asks a replica for a confirmation that no read waits for: a heartbeat where an append would ask for too much. */
  probe(to: ReplicaName): void {
    const { host, replica } = this.leadership;
    const round = this.nextRound++;
    this.probes.set(round, host.now);
    for (const oldest of this.probes.keys()) {
      if (this.probes.size <= PROBES_MAX) break;
      this.probes.delete(oldest);
    }
    const confirm = { round, commitIndex: replica.log.commitIndex };
    this.leadership.send(to, { body: 'confirm', confirm });
  }

  /** A voter confirmed that it has promised no higher epoch since the round was first asked. Returns when that was, ms. */
  granted(replica: string, number: number): number {
    const round = this.rounds.get(number);
    if (round === undefined) return this.probes.get(number) ?? Number.NEGATIVE_INFINITY;
    round.grants.add(replica);
    this.settle(round);
    return round.startedAt;
  }

  private settle(round: Round): void {
    if (round.grants.size < this.leadership.quorum) return;
    this.rounds.delete(round.round);
    this.confirmed.push({ readIndex: round.readIndex, reads: round.reads });
    this.serve();
    if (this.waiting.length > 0) this.leadership.host.touch(this.leadership.replica.partition);
  }

  /** Answers the reads whose index is decided. */
  serve(): void {
    if (this.confirmed.length === 0) return;
    const decided = this.leadership.replica.machine.decidedIndex;
    const ready = this.confirmed.filter(({ readIndex }) => readIndex <= decided);
    if (ready.length === 0) return;
    this.confirmed = this.confirmed.filter(({ readIndex }) => readIndex > decided);
    for (const { reads } of ready) for (const read of reads) read.answer();
  }

  /** Asks again where answers are missing, and ends what is past its deadline. */
  tick(): void {
    const { now } = this.leadership.host;
    for (const round of this.rounds.values()) {
      if (now - round.askedAt < ROUND_RETRY_MS) continue;
      round.askedAt = now;
      this.ask(round);
    }
    this.waiting = this.expire(this.waiting, now);
    for (const [number, round] of this.rounds) {
      const reads = this.expire(round.reads, now);
      if (reads.length === 0) this.rounds.delete(number);
      else if (reads.length < round.reads.length) round.reads.splice(0, round.reads.length, ...reads);
    }
    this.confirmed = this.confirmed.map(({ readIndex, reads }) => ({
      readIndex,
      reads: this.expire(reads, now),
    }));
  }

  private expire(reads: Read[], now: number): Read[] {
    if (!reads.some(({ deadline }) => deadline <= now)) return reads;
    const code = this.leadership.hasQuorumContact() ? 'DEADLINE_EXCEEDED' : 'NO_QUORUM';
    const rest: Read[] = [];
    for (const read of reads) {
      if (read.deadline > now) rest.push(read);
      else this.fail(read, code, 'the leadership could not be confirmed in time');
    }
    return rest;
  }

  private fail(read: Read, code: 'DEADLINE_EXCEEDED' | 'NO_QUORUM' | 'NOT_LEADER', message: string): void {
    const details = { partition: this.leadership.replica.partition };
    if (read.handle !== null)
      this.leadership.host.fail(read.handle, new RingkeepError(code, message, 'not_applied', details));
  }

  /** The leadership ends: nothing that waits may be answered. */
  end(): void {
    const rounds = [...this.rounds.values()].flatMap((round) => round.reads);
    const confirmed = this.confirmed.flatMap(({ reads }) => reads);
    for (const read of [...this.waiting, ...rounds, ...confirmed]) this.fail(read, 'NOT_LEADER', 'deposed');
    this.waiting = [];
    this.rounds.clear();
    this.confirmed = [];
  }
}
