/**
 * What a salted counter has come to: the sum of its sub-counters, which their leaders tell in rounds, as linearizable reads, and of the home's
 * own part, which is read last, while the set is still the same. A read comes here when it may be answered from the home's present state: a
 * quorum has confirmed this leader since it was called, if it is to be linearizable. What another leader has done since is newer than its call.
 * If all increments add the same, a sum is linearizable: it is between what the counter was at the call and what it is when the last part was
 * read, so at some moment in between the counter was just that. With other deltas it may never have been that: only weaker reads are told it.
 * INVARIANT: a read joins only a round that begins after it came; a sum is of one set.
 */
import { type ErrorCode, RingkeepError } from '../../common/errors.ts';
import { isInt64 } from '../../common/text.ts';
import type { Value } from '../../common/wire/messages.ts';
import { failedRead } from './answers.ts';
import type { CounterOrders, Errand } from './counter-orders.ts';
import { counterOf, countOf } from './execute.ts';
import type { StoredValue } from './layout.ts';
import type { Leadership } from './leadership.ts';
import type { SubSet } from './salt-sets.ts';

/** Who asks for a sum. Exactly one of the last three is called, once. */
export interface SumReader {
  /** On the core's clock, ms. */
  readonly deadline: number;
  readonly isWanted: () => boolean;
  readonly answer: (value: Value) => void;
  /** The counter is not salted any more, or anew: it is to be read again. */
  readonly again: () => void;
  readonly fail: (error: RingkeepError) => void;
}

/** A read of a sum waits for so long at the most, ms, until a partition has failed over; then it asks again: its place is for others. */
const WAIT_MS = 5_000;
/** Reads of sums that may wait, of all counters of a partition. */
const READERS_MAX = 1_024;

interface Waiting {
  readonly reader: SumReader;
  /** Until then it waits. */
  readonly until: number;
}

interface Round {
  readonly set: SubSet;
  readers: Waiting[];
  readonly errands: Errand[];
  sum: bigint;
  missing: number;
}

interface Summed {
  readonly key: Uint8Array;
  /** They came while a round was under way. */
  waiting: Waiting[];
  round: Round | null;
}

/** The sums of one leadership. */
export class CounterSums {
  private readonly leadership: Leadership;
  private readonly orders: CounterOrders;
  private readonly foundClosed: (key: Uint8Array, set: SubSet) => void;
  /** By user key (latin1). */
  private readonly summed = new Map<string, Summed>();
  /** Those that wait. */
  private readers = 0;

  /** `foundClosed` is told of sets of which a sub-counter is closed. */
  constructor(
    leadership: Leadership,
    orders: CounterOrders,
    foundClosed: (key: Uint8Array, set: SubSet) => void,
  ) {
    this.leadership = leadership;
    this.orders = orders;
    this.foundClosed = foundClosed;
  }

  /** Takes a read of a counter that has these sub-counters. `weak`: it need not be linearizable. */
  add(key: Uint8Array, set: SubSet, weak: boolean, reader: SumReader): void {
    if (!weak && set.counter.delta === 0n) {
      const message =
        'the sub-counters of this key take increments of any size, so that no sum of them is linearizable: read it at `session`, or unsalt it';
      return reader.fail(this.error('COUNTER_SALTED', message));
    }
    if (this.readers >= READERS_MAX)
      return reader.fail(
        this.error('OVERLOADED', 'too many reads of salted counters wait for their sums', 50),
      );
    const summed = this.of(key);
    this.readers++;
    const { now } = this.leadership.host;
    summed.waiting.push({ reader, until: Math.min(reader.deadline, now + WAIT_MS) });
    this.begin(summed);
  }

  /** Asks all sub-counters of a key once, so that one that is closed is found. */
  look(key: Uint8Array): void {
    this.begin(this.of(key), true);
  }

  private of(key: Uint8Array): Summed {
    const name = Buffer.from(key).toString('latin1');
    const known = this.summed.get(name);
    if (known !== undefined) return known;
    const summed: Summed = { key: Buffer.from(key), waiting: [], round: null };
    this.summed.set(name, summed);
    return summed;
  }

  private begin(summed: Summed, always = false): void {
    if (summed.round !== null || (summed.waiting.length === 0 && !always)) return;
    const readers = summed.waiting;
    summed.waiting = [];
    const set = this.leadership.replica.machine.salts.subSetOf(summed.key);
    if (set === null) {
      this.readers -= readers.length;
      for (const { reader } of readers) reader.again();
      return;
    }
    const round: Round = { set, readers, errands: [], sum: 0n, missing: set.partitions.length };
    summed.round = round;
    for (const partition of set.partitions) {
      const errand = this.orders.order(
        'COUNTER_LOOK',
        summed.key,
        set.counter,
        partition,
        ({ closed, value }) => {
          round.sum += value;
          round.missing--;
          if (closed) this.foundClosed(summed.key, set);
          if (round.missing === 0) this.readHome(summed, round);
        },
      );
      round.errands.push(errand);
    }
  }

  /** The home's own part is read last. */
  private readHome(summed: Summed, round: Round): void {
    const { replica } = this.leadership;
    const isWanted = (): boolean => replica.leadership === this.leadership;
    replica.machine.read(summed.key, isWanted, (error, stored) => {
      if (summed.round !== round) return;
      summed.round = null;
      const failure = error === null ? null : failedRead(replica.partition, error);
      this.readers -= round.readers.length;
      for (const { reader } of round.readers) this.tell(reader, summed.key, round, stored, failure);
      this.begin(summed);
    });
  }

  private tell(
    reader: SumReader,
    key: Uint8Array,
    { set, sum }: Round,
    stored: StoredValue | null,
    failure: RingkeepError | null,
  ): void {
    const { machine, gets } = this.leadership.replica;
    if (failure !== null) return reader.fail(failure);
    // What was read belongs to this set only if that is in effect still.
    if (machine.salts.subSetOf(key)?.counter.id !== set.counter.id) return reader.again();
    const total = sum + countOf(stored);
    if (stored === null || !isInt64(total))
      return reader.fail(
        this.error('COUNTER_OVERFLOW', 'the sum of the sub-counters does not fit into 64 bits'),
      );
    // It is of no single write.
    reader.answer(
      gets.valueOf({ ...stored, ...counterOf(total), version: 0, epoch: 0 }, machine.decidedIndex),
    );
  }

  /** Ends what is past its deadline. */
  tick(): void {
    if (this.summed.size === 0) return;
    for (const [name, summed] of this.summed) {
      const { round } = summed;
      summed.waiting = summed.waiting.filter((waiting) => this.isWanted(waiting, null));
      if (round !== null) {
        const wanted = round.readers.filter((waiting) => this.isWanted(waiting, round));
        const isGivenUp = wanted.length === 0 && round.readers.length > 0;
        round.readers = wanted;
        if (isGivenUp) this.giveUp(summed, round);
      }
      this.begin(summed);
      if (summed.round === null && summed.waiting.length === 0) this.summed.delete(name);
    }
  }

  private giveUp(summed: Summed, round: Round): void {
    for (const errand of round.errands) this.orders.callOff(errand);
    summed.round = null;
  }

  /** Whether somebody still waits; tells who has waited for too long. */
  private isWanted({ reader, until }: Waiting, round: Round | null): boolean {
    const { now } = this.leadership.host;
    if (reader.isWanted() && until > now) return true;
    this.readers--;
    if (!reader.isWanted()) return false;
    const where = round === null ? '' : ` of partitions ${round.set.partitions.join(', ')}`;
    const message = `the leaders${where}, which have sub-counters of the key, have not all told them in time`;
    if (reader.deadline <= now) reader.fail(this.error('DEADLINE_EXCEEDED', message));
    else reader.fail(this.error('UNAVAILABLE', message, 250));
    return false;
  }

  private error(code: ErrorCode, message: string, retryAfterMs = 0): RingkeepError {
    const { partition } = this.leadership.replica;
    return new RingkeepError(code, message, 'not_applied', { partition, retryAfterMs });
  }

  /** The leadership ends: nothing that waits may be answered. */
  end(): void {
    for (const { waiting, round } of this.summed.values())
      for (const { reader } of [...waiting, ...(round?.readers ?? [])])
        if (reader.isWanted()) reader.fail(this.error('NOT_LEADER', 'deposed'));
    this.summed.clear();
    this.readers = 0;
  }
}
