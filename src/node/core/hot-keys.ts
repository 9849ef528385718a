/**
 * What a node is asked for most, always on: rates of all its partitions, and of the keys with the most operations, which are sampled where there
 * are many. Old operations count less and less: half after `HALF_LIFE_MS`.
 * INVARIANT: memory is bounded: `HOT_KEYS_MAX` keys, `LOOKS_TOGETHER` looks, and two numbers for each partition that is asked for.
 * Cheap on purpose, since every operation passes here (docs/HOT-KEYS.md): what is looked at is put down, and counted with many others at a time, when
 * the processor has at hand what that takes.
 */

import { toLatin1 } from '../../common/bytes.ts';
import { HOT_KEYS_MAX } from '../../common/limits.ts';
import type { Request } from '../../common/wire/messages.ts';
import { splitUserKey, userKey } from './layout.ts';
import { TopKeys } from './top-keys.ts';

/** After so long, ms, an operation counts half; what is told are the rates of about the last half minute. */
export const HALF_LIFE_MS = 10_000;
/** With more operations than twice that per second, samples are looked at: that many, up to twice as many, per second. */
const LOOKS_PER_SECOND = 1_000;
/** How often it is looked how to sample, ms. */
const RATE_MS = 1_000;

/** Operations per second. */
export interface Rates {
  readonly reads: number;
  readonly writes: number;
}

export interface HotKey extends Rates {
  readonly keyspace: string;
  readonly key: Uint8Array;
  /** Requests among the reads that only the leader answers: linearizable ones, where those that came together are one. */
  readonly led: number;
  /** Operations per second that it may have had besides. */
  readonly error: number;
}

export interface HotPartition extends Rates {
  readonly partition: number;
}

/** What a node is asked for, per second. */
export interface HotReport extends Rates {
  /** Time that the rates are of, about, s. */
  readonly seconds: number;
  readonly keys: readonly HotKey[];
  readonly partitions: readonly HotPartition[];
}

interface Counts {
  reads: number;
  writes: number;
}

/** Operations on a key that were looked at and are not counted yet. */
interface Look extends Rates {
  /** User key (latin1). */
  readonly name: string;
  readonly led: number;
}

/** Looks that are counted together. */
const LOOKS_TOGETHER = 256;

/** Counts for one node. Times are monotonic ms. */
export class HotKeys {
  /** Gets that were answered by what was read for another one, since the start. */
  sharedReads = 0;
  private readonly sketch = new TopKeys(HOT_KEYS_MAX);
  private readonly partitions = new Map<number, Counts>();
  /** Time that the counts are of, ms; halved as they are. */
  private span = 0;
  private now = 0;
  private halvedAt = 0;
  private rateAt = 0;
  private sinceRate = 0;
  private sample = 1;
  /** Operations until the next one that is looked at. */
  private skip = 1;
  private state: number;
  private looks: Look[] = [];

  /** `seed` chooses which operations are looked at. */
  constructor(seed: number) {
    this.state = (seed ^ 0x2545f491) | 1;
  }

  /** Counts a request that is carried out here. */
  note(partition: number, request: Request): void {
    const { operation, keyspace, batch } = request;
    if (operation === 'scan' || operation === 'salt') return;
    if (operation === 'get') {
      // Gets that a router has made one are one request.
      const led = request.get?.level === 'READ_LINEARIZABLE' ? 1 : 0;
      this.count(partition, keyspace, request.key, 1 + (request.sharedReads ?? 0), 0, led);
    } else if (batch == null) this.count(partition, keyspace, request.key, 0, 1, 0);
    else for (const item of batch.items) this.count(partition, keyspace, item.key, 0, 1, 0);
  }

  private count(
    partition: number,
    keyspace: string,
    key: Uint8Array,
    reads: number,
    writes: number,
    led: number,
  ): void {
    let counts = this.partitions.get(partition);
    if (counts === undefined) {
      counts = { reads: 0, writes: 0 };
      this.partitions.set(partition, counts);
    }
    counts.reads += reads;
    counts.writes += writes;
    this.sinceRate += 1;
    this.skip -= 1;
    if (this.skip > 0) return;
    this.skip = this.draw();
    const weight = this.sample;
    const name = toLatin1(userKey(keyspace, key));
    this.looks.push({ name, reads: reads * weight, writes: writes * weight, led: led * weight });
    if (this.looks.length >= LOOKS_TOGETHER) this.counted();
  }

  /** Returns the sketch with everything counted that was looked at. */
  private counted(): TopKeys {
    const { sketch } = this;
    for (const { name, reads, writes, led } of this.looks) sketch.add(name, reads, writes, led);
    this.looks = [];
    return sketch;
  }

  /** Returns 1 to 2 * sample - 1, each as probable as the others (xorshift32). */
  private draw(): number {
    if (this.sample === 1) return 1;
    let x = this.state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.state = x;
    return 1 + ((x >>> 0) % (2 * this.sample - 1));
  }

  /** Time has passed. */
  tick(now: number): void {
    if (this.now === 0) {
      this.halvedAt = now;
      this.rateAt = now;
    } else this.span += now - this.now;
    this.now = now;
    if (now - this.rateAt >= RATE_MS) {
      const perSecond = (this.sinceRate * 1_000) / (now - this.rateAt);
      this.sample = sampleAt(perSecond);
      this.rateAt = now;
      this.sinceRate = 0;
    }
    if (now - this.halvedAt < HALF_LIFE_MS) return;
    this.halvedAt = now;
    this.halve();
  }

  private halve(): void {
    this.span /= 2;
    this.counted().halve();
    for (const [partition, counts] of this.partitions) {
      counts.reads /= 2;
      counts.writes /= 2;
      if (counts.reads + counts.writes < 0.01) this.partitions.delete(partition);
    }
  }

  /** Shares of all operations that the hottest key and the hottest partition have, 0 to 1. */
  shares(): { hottestKeyShare: number; hottestPartitionShare: number } {
    let all = 0;
    let most = 0;
    for (const { reads, writes } of this.partitions.values()) {
      all += reads + writes;
      most = Math.max(most, reads + writes);
    }
    const share = (count: number): number => (all === 0 ? 0 : Math.min(1, count / all));
    return { hottestKeyShare: share(this.counted().most()), hottestPartitionShare: share(most) };
  }

  /** The requests per second that only the leader answers of the key that has the most of them. */
  mostLed(): number {
    return this.span === 0 ? 0 : (this.counted().mostLed() * 1_000) / this.span;
  }

  /** What is counted of one key, per second; nothing where it is not among those that are. */
  ratesOf(keyspace: string, key: Uint8Array): Rates & { readonly led: number } {
    const seconds = this.span / 1_000;
    const counted = this.counted().of(toLatin1(userKey(keyspace, key)));
    if (counted === null || seconds === 0) return { reads: 0, writes: 0, led: 0 };
    const { reads, writes, led } = counted;
    return { reads: reads / seconds, writes: writes / seconds, led: led / seconds };
  }

  /** Tells what is asked for most: at most `limit` keys and as many partitions, the most asked one first. */
  report(limit: number): HotReport {
    const seconds = this.span / 1_000;
    const rate = (count: number): number => (seconds === 0 ? 0 : count / seconds);
    const keys = this.counted()
      .top(limit)
      .map(({ key, reads, writes, led, error }): HotKey => {
        const named = splitUserKey(Buffer.from(key, 'latin1'));
        const rates = { reads: rate(reads), writes: rate(writes), led: rate(led) };
        return { ...named, ...rates, error: rate(error) };
      });
    const partitions = [...this.partitions].map(([partition, { reads, writes }]) => ({
      ...{ partition, reads: rate(reads), writes: rate(writes) },
    }));
    partitions.sort((a, b) => b.reads + b.writes - (a.reads + a.writes));
    const sum = (of: 'reads' | 'writes'): number => partitions.reduce((total, each) => total + each[of], 0);
    return {
      ...{ seconds, keys: keys.filter(({ reads, writes }) => reads + writes > 0) },
      ...{ partitions: partitions.slice(0, limit), reads: sum('reads'), writes: sum('writes') },
    };
  }
}

/** One of how many operations is looked at: a power of two. */
function sampleAt(perSecond: number): number {
  return Math.max(1, 2 ** Math.floor(Math.log2(Math.max(1, perSecond) / LOOKS_PER_SECOND)));
}
