/**
 * Which keys a node salts by itself, of those that it leads: keys that are read so much that other nodes should answer some of it. And which
 * of those it unsalts: keys that have cooled, or are written so often that their copies are hardly ever there. Salts that were asked for by
 * hand stay; all of them are spread anew where copies have come together on one node, as leaders have moved.
 * INVARIANT: a key is salted above the bound and unsalted below a quarter of it, and for a while before either, so that it does not flap.
 */
import { partitionOf } from '../../common/hash.ts';
import { SALT_COPIES_MAX } from '../../common/limits.ts';
import type { PartitionRecord } from '../../common/topology.ts';
import type { HotKeys, Rates } from './hot-keys.ts';
import { splitUserKey, userKey } from './layout.ts';
import type { Leadership } from './leadership.ts';

/** How often it is looked, ms. */
const LOOK_MS = 1_000;
/** Keys that are looked at: no more can have a fifth of all operations. */
const KEYS = 8;
/** Of a node's operations a hot key has at least this part. */
const SHARE_MIN = 0.2;
/** A hot key is written at most once in so many reads; one that is written more often than once in `COOL_READS` is unsalted. */
const HOT_READS = 20;
const COOL_READS = 10;
/** ... and so often in a second at most, however much it is read: copies come back once it is quiet for a while. */
const HOT_WRITES = 5;
const COOL_WRITES = 10;
/** A key that has cooled is read less than that part of the bound. */
const COOL_PART = 0.25;
/** For so long a key is hot before it is salted, and cool before it is unsalted, ms. */
const HOT_MS = 3_000;
const COOL_MS = 30_000;
/** Weight of the newest second in what is known of the reads of copies. */
const NEWEST = 0.3;

/** What it works with. */
export interface PolicyHost {
  readonly options: { readonly nodeId: string; readonly saltReadsPerSecond: number };
  readonly hot: HotKeys;
  readonly partitionCount: number;
  leadershipOf(partition: number): Leadership | null;
  leaderships(): Iterable<Leadership>;
  recordOf(partition: number): PartitionRecord | undefined;
}

interface Known {
  /** When it became as it is, hot, cool or badly spread, ms. */
  since: number;
  copyReads: number;
}

/** The policy of one node. */
export class SaltPolicy {
  private readonly host: PolicyHost;
  private lookAt = 0;
  /** Keys that may be salted soon, and keys that are salted: by user key (latin1). */
  private hot = new Map<string, number>();
  private salted = new Map<string, Known>();

  constructor(host: PolicyHost) {
    this.host = host;
  }

  tick(now: number): void {
    if (now < this.lookAt) return;
    this.lookAt = now + LOOK_MS;
    this.follow(now);
    if (this.host.options.saltReadsPerSecond > 0) this.find(now);
  }

  /** Looks for keys that have become hot. */
  private find(now: number): void {
    const { host } = this;
    // Mostly there is none: then nothing is put in order.
    if (host.hot.mostLed() < host.options.saltReadsPerSecond) return this.hot.clear();
    const report = host.hot.report(KEYS);
    const least = SHARE_MIN * (report.reads + report.writes);
    const before = this.hot;
    this.hot = new Map();
    for (const { keyspace, key, reads, writes, led } of report.keys) {
      const partition = partitionOf(key, host.partitionCount);
      const leadership = host.leadershipOf(partition);
      const name = userKey(keyspace, key);
      if (leadership === null || leadership.salts.setOf(name) !== null) continue;
      const isHot = led >= host.options.saltReadsPerSecond && reads + writes >= least;
      if (!isHot || writes * HOT_READS > led || writes > HOT_WRITES) continue;
      const text = Buffer.from(name).toString('latin1');
      const since = before.get(text) ?? now;
      if (now - since >= HOT_MS) leadership.salts.adapt(name, this.copiesFor(led));
      else this.hot.set(text, since);
    }
  }

  /** So many that none of them is asked more often than the bound. */
  private copiesFor(reads: number): number {
    return Math.min(SALT_COPIES_MAX, Math.ceil(reads / this.host.options.saltReadsPerSecond));
  }

  /** Looks after the keys that are salted. */
  private follow(now: number): void {
    const before = this.salted;
    this.salted = new Map();
    for (const leadership of this.host.leaderships()) {
      for (const { key, partitions, automatic, copyReads } of leadership.salts.takeReads()) {
        const text = Buffer.from(key).toString('latin1');
        const known = before.get(text) ?? { since: now, copyReads };
        known.copyReads += NEWEST * (copyReads - known.copyReads);
        this.salted.set(text, known);
        const { keyspace, key: own } = splitUserKey(key);
        const rates = this.host.hot.ratesOf(keyspace, own);
        const isCool = automatic && this.isCool(rates, known.copyReads);
        const isCrowded = this.isCrowded(partitions);
        if (!isCool && !isCrowded) known.since = now;
        else if (now - known.since >= COOL_MS) {
          known.since = now;
          leadership.salts.adapt(key, isCool ? 0 : partitions.length);
        }
      }
    }
  }

  private isCool({ led, writes }: { readonly led: number } & Rates, copyReads: number): boolean {
    const all = led + copyReads;
    const isRead = all >= COOL_PART * this.host.options.saltReadsPerSecond;
    return !isRead || writes * COOL_READS > all || writes > COOL_WRITES;
  }

  /** Whether two of the copies, or one and the key itself, are on one node, although another node leads something. */
  private isCrowded(partitions: readonly number[]): boolean {
    const nodes = partitions.map((partition) => this.host.recordOf(partition)?.leader?.node ?? '');
    return new Set([this.host.options.nodeId, ...nodes]).size < nodes.length + 1;
  }
}
