/**
 * How much of a server's work each connection may have in progress at a time, so that one that floods makes itself wait
 * and not the others: every answer takes about as long as what is in progress in front of it, anywhere in the cluster.
 * So a connection that has more open than is usual beside it (*heavy*) may have in progress what is typical, or its part of
 * a quarter of what all those have that are not heavy; where all want much, much is typical. What is longer than that part it
 * pays for with a pause, as if it had been done piece by piece. One that takes more than its credit has one thing at a time.
 * Alone, a connection is not limited, and clients that ask for little do not wait here. Pure; times are monotonic ms.
 * INVARIANT: a connection with nothing in progress may start something once its pause is over: nobody starves.
 * INVARIANT: work counts for one to two periods only. What takes longer waits for something else (a failover) than for
 * its turn, and must not keep its connection from everything else.
 */
import { assert } from '../errors.ts';

/** Units that heavy connections together have in progress at least, and that make nobody heavy. */
const HEAVY_UNITS = 8;
/** Units that a connection which has more open than its credit has in progress beside others. */
const OVERDRAWN_UNITS = 1;
/** Pauses end after this at the latest: what has waited for a failover must not be paid for tenfold. */
const PAUSE_MS_MAX = 2_000;
/** Bytes that cost about as much as one more request. */
const BYTES_PER_UNIT = 16 * 1024;

/** The work of a request with this many bytes of key and value, or of an answer, from 1. */
export function unitsOf(bytes: number): number {
  return 1 + Math.floor(bytes / BYTES_PER_UNIT);
}

/** Work that was started. */
export interface Ticket {
  readonly units: number;
  readonly startedAt: number;
  readonly generation: number;
  /** Units that its connection might have in progress then. */
  readonly limit: number;
}

/** The value that half of the weight does not exceed; 0 of nothing. Sorts in place. */
function weightedMedian(entries: { readonly value: number; readonly weight: number }[]): number {
  entries.sort((a, b) => a.value - b.value);
  let rest = entries.reduce((sum, { weight }) => sum + weight, 0) / 2;
  for (const { value, weight } of entries) {
    rest -= weight;
    if (rest <= 0) return value;
  }
  return 0;
}

/** What the connections of one server share. */
export class FairShares {
  generation = 0;
  /** Active connections: they have something open, or had within the last two periods. */
  readonly #active = new Set<Share>();
  readonly #byConnection = new Map<string, { readonly share: Share; streams: number }>();
  /** Units per weight: what the typical connection has open, and what a heavy one may have in progress. */
  #typical = 0;
  #heavyPart = HEAVY_UNITS;

  /**
   * Returns the share of a connection for one more stream of it; `leave` when that ends. One that carries many clients has
   * a higher weight; one that is not `limited` only counts for the others.
   */
  join(connection: string, weight: number, limited: boolean): Share {
    const name = `${connection} ${weight} ${limited}`;
    const known = this.#byConnection.get(name);
    if (known !== undefined) {
      known.streams += 1;
      return known.share;
    }
    const share = new Share(this, name, weight, limited);
    this.#byConnection.set(name, { share, streams: 1 });
    return share;
  }

  /** A stream of the connection has ended, with all that it had open. */
  leave(share: Share): void {
    const known = this.#byConnection.get(share.name);
    assert(known?.share === share, 'a stream leaves the share that it has joined');
    known.streams -= 1;
    if (known.streams > 0) return;
    this.#byConnection.delete(share.name);
    this.#active.delete(share);
  }

  /** A period is over. */
  tick(now: number): void {
    this.generation += 1;
    for (const share of this.#active) {
      share.closePeriod(now);
      if (share.idle) this.#active.delete(share);
    }
    const shares = [...this.#active];
    this.#typical = weightedMedian(shares.map(({ demand, weight }) => ({ value: demand / weight, weight })));
    let lightUnits = 0;
    let heavyWeight = 0;
    for (const share of shares) {
      if (this.isHeavy(share)) heavyWeight += share.weight;
      else lightUnits += share.demand;
    }
    const part = Math.max(HEAVY_UNITS, lightUnits / 4) / Math.max(1, heavyWeight);
    this.#heavyPart = Math.max(this.#typical, part);
  }

  /** Whether it has more open than is usual. */
  isHeavy({ demand, weight }: Share): boolean {
    return demand > weight * this.#usual;
  }

  get #usual(): number {
    return Math.max(2 * this.#typical, HEAVY_UNITS);
  }

  /** Units that a connection may have in progress beside others. */
  limitOf(share: Share): number {
    if (share.overdrawn) return OVERDRAWN_UNITS;
    return share.weight * (this.isHeavy(share) ? this.#heavyPart : Math.max(this.#usual, this.#heavyPart));
  }

  /** Whether no other connection is active. */
  isAlone(share: Share): boolean {
    return this.#active.size === (this.#active.has(share) ? 1 : 0);
  }

  /** The connection has something open. */
  activate(share: Share): void {
    this.#active.add(share);
  }
}

/** One connection's part. Made by `FairShares.join`. */
export class Share {
  readonly name: string;
  readonly weight: number;
  /** It has taken more than the credit that it was told: no client of ours, or a broken one. */
  overdrawn = false;
  /** Units that it had open on average in the last period, or in the one before if that is more. */
  demand = 0;
  readonly #shares: FairShares;
  readonly #limited: boolean;
  /** Units of everything unanswered, its integral over this period, and the average of the one before. */
  #open = 0;
  #openMs = 0;
  #openAt = 0;
  #periodAt = 0;
  #average = 0;
  #generation = 0;
  /** Units in progress that were started in this generation and in the one before. */
  #fresh = 0;
  #older = 0;
  #pausedUntil = Number.NEGATIVE_INFINITY;

  constructor(shares: FairShares, name: string, weight: number, limited: boolean) {
    this.#shares = shares;
    this.name = name;
    this.weight = weight;
    this.#limited = limited;
  }

  /** Nothing is open, nor has been within the last two periods. */
  get idle(): boolean {
    return this.#open === 0 && this.demand === 0;
  }

  /** Whether it may start something more now. */
  mayStart(now: number): boolean {
    if (!this.#limited || this.#shares.isAlone(this)) return true;
    if (now < this.#pausedUntil) return false;
    this.#age();
    const counted = this.#fresh + this.#older;
    return counted === 0 || counted < this.#shares.limitOf(this);
  }

  /** A request has come; it is started, or waits. */
  enter(units: number, now: number): void {
    this.#change(units, now);
    this.#shares.activate(this);
  }

  /** A request that has entered has been started. */
  start(units: number, now: number): Ticket {
    this.#age();
    const limited = this.#limited && !this.#shares.isAlone(this);
    const limit = limited ? this.#shares.limitOf(this) : Number.POSITIVE_INFINITY;
    this.#fresh += units;
    return { units, startedAt: now, generation: this.#generation, limit };
  }

  /** A request that was started has ended, with an answer of `answerUnits`: how long a read is shows only now. */
  end({ units, startedAt, generation, limit }: Ticket, answerUnits: number, now: number): void {
    this.#age();
    if (generation === this.#generation) this.#fresh -= units;
    else if (generation === this.#generation - 1) this.#older -= units;
    assert(this.#fresh >= 0 && this.#older >= 0, 'work ends once');
    const beyond = Math.max(units, answerUnits) / limit - 1;
    if (beyond > 0) {
      const until = Math.max(this.#pausedUntil, now) + beyond * (now - startedAt);
      this.#pausedUntil = Math.min(until, now + PAUSE_MS_MAX);
    }
    this.withdraw(units, now);
  }

  /** A request that has entered has ended without a start. */
  withdraw(units: number, now: number): void {
    this.#change(-units, now);
    assert(this.#open >= 0, 'what ends has entered');
  }

  /** Closes a period: `demand` is as of now. */
  closePeriod(now: number): void {
    this.#change(0, now);
    const average = this.#openMs / Math.max(1, now - this.#periodAt);
    this.demand = Math.max(average, this.#average);
    this.#average = average;
    this.#openMs = 0;
    this.#periodAt = now;
  }

  #change(units: number, now: number): void {
    // Idle since long before this period: it begins with what comes.
    if (this.demand === 0 && this.#open === 0 && this.#openMs === 0) this.#periodAt = now;
    else this.#openMs += this.#open * (now - this.#openAt);
    this.#openAt = now;
    this.#open += units;
  }

  #age(): void {
    const passed = this.#shares.generation - this.#generation;
    if (passed === 0) return;
    this.#generation = this.#shares.generation;
    this.#older = passed === 1 ? this.#fresh : 0;
    this.#fresh = 0;
  }
}
