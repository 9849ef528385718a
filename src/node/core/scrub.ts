/**
 * The slow scrub (DESIGN.md section 6): a log entry names an index; every replica that decides it hashes its rows as of
 * exactly that index, verifying every checksum on the way, and tells the leader; the leader compares. It finds what
 * nobody reads: cold values that have rotted, and replicas that have diverged.
 * INVARIANT: a replica is called damaged by its peers only against equal hashes of a quorum of voters; without one, the
 * disagreement is reported and nothing else happens.
 */
import { NO_BYTES } from '../../common/bytes.ts';
import { hashBytes } from '../../common/hash.ts';
import type { StoreRow, StoreView } from '../store.ts';
import {
  DamagedRowError,
  relativeKey,
  storeRange,
  TABLE_EPOCHS,
  TABLE_EXPIRIES,
  TABLE_RESULTS,
  TABLE_VALUES,
  verifyRow,
} from './layout.ts';
import type { Leadership } from './leadership.ts';
import type { Replica } from './replica.ts';

/** One chunk per tick: 3 MiB/s of a partition at the usual tick. */
const CHUNK_BYTES = 64 * 1024;

/** Hashes the values, results, expiries and starts of epochs of one replica at one index, a chunk per tick. */
export class Scrubber {
  readonly index: number;
  private readonly replica: Replica;
  private readonly done: (hash: string) => void;
  /** What is left to read; the first one at present. */
  private ranges: { readonly from: Uint8Array; readonly to: Uint8Array }[];
  private view: StoreView | null = null;
  private reading = false;
  private closed = false;
  private hash: Uint8Array = NO_BYTES;

  /** Call while the entry at `index` is the last decided one: the view is opened behind it. */
  constructor(replica: Replica, index: number, done: (hash: string) => void) {
    this.replica = replica;
    this.index = index;
    this.done = done;
    const { partition, machine } = replica;
    const { from } = storeRange(partition, machine.generation, TABLE_VALUES);
    const { to } = storeRange(partition, machine.generation, TABLE_RESULTS);
    const rest = [TABLE_EXPIRIES, TABLE_EPOCHS].map((table) =>
      storeRange(partition, machine.generation, table),
    );
    this.ranges = [{ from, to }, ...rest];
    machine.openView(false, (error, _mark, view) => {
      if (error !== null || view === undefined) return;
      if (this.closed) replica.host.store({ kind: 'closeView', view });
      else this.view = view;
    });
  }

  /** Goes on with the next chunk. */
  tick(): void {
    const { view } = this;
    const [range] = this.ranges;
    if (view === null || range === undefined || this.reading || this.closed) return;
    this.reading = true;
    this.replica.host.store({
      kind: 'readView',
      view,
      ...range,
      bytesMax: CHUNK_BYTES,
      done: (error, page) => {
        this.reading = false;
        if (this.closed) return;
        if (error !== null) return this.replica.readFailed('a scrub', error);
        if (page !== undefined) this.take(page.rows, page.more);
      },
    });
  }

  private take(rows: readonly StoreRow[], more: boolean): void {
    try {
      for (const { key, value } of rows) this.add(relativeKey(key), value);
    } catch (error) {
      if (!(error instanceof DamagedRowError)) throw error;
      return this.replica.markDamaged(`found in a scrub: ${error.message}`);
    }
    const last = rows[rows.length - 1];
    const [range, ...rest] = this.ranges;
    if (more && last !== undefined && range !== undefined) {
      this.ranges = [{ from: Buffer.concat([last.key, Buffer.of(0)]), to: range.to }, ...rest];
      return;
    }
    this.ranges = rest;
    if (rest.length > 0) return;
    this.close();
    this.done(Buffer.from(this.hash).toString('hex'));
  }

  /** Chained row by row: the pages that a store makes differ between replicas. */
  private add(relative: Uint8Array, value: Uint8Array): void {
    verifyRow(relative, value);
    const next = Buffer.alloc(8);
    next.writeBigUInt64BE(hashBytes(Buffer.concat([this.hash, relative, value])));
    this.hash = next;
  }

  /** Stops and frees the view. Idempotent. */
  close(): void {
    this.closed = true;
    if (this.view !== null) this.replica.host.store({ kind: 'closeView', view: this.view });
    this.view = null;
  }
}

/** The leader's part: proposes a scrub now and then, collects the hashes and judges them. */
export class ScrubRound {
  private readonly leadership: Leadership;
  private nextAt: number;
  private index = 0;
  private readonly hashes = new Map<string, string>();
  private judged = true;

  constructor(leadership: Leadership) {
    this.leadership = leadership;
    const { now, options } = leadership.host;
    // Spread from the start, so that the partitions of a node never scrub in step.
    this.nextAt = now + options.random() * options.scrubIntervalMs;
  }

  tick(): void {
    const { host, serving, pauseTarget, writes } = this.leadership;
    if (!serving || pauseTarget !== '' || host.diskFull || host.now < this.nextAt) return;
    this.nextAt = host.now + host.options.scrubIntervalMs;
    this.hashes.clear();
    this.judged = false;
    this.index = writes.append('quorum', null, { kind: 'scrub' });
  }

  /** Takes a replica's hash at an index. */
  answer(from: string, index: number, hash: string): void {
    if (index !== this.index || this.judged) return;
    if (!this.leadership.voters.some((voter) => voter.id === from)) return;
    this.hashes.set(from, hash);
    if (this.hashes.size === this.leadership.voters.length) this.judge();
  }

  private judge(): void {
    const { leadership, index } = this;
    const { replica, host } = leadership;
    this.judged = true;
    const counts = new Map<string, number>();
    for (const hash of this.hashes.values()) counts.set(hash, (counts.get(hash) ?? 0) + 1);
    const { partition } = replica;
    if (counts.size === 1) return host.event({ level: 'info', event: 'scrub_agreed', partition, index });
    host.event({ level: 'error', event: 'scrub_differs', partition, index, kinds: counts.size });
    const right = [...counts].find(([, count]) => count >= leadership.quorum)?.[0];
    if (right === undefined) return;
    for (const voter of leadership.voters) {
      if (this.hashes.get(voter.id) === right || voter.id === replica.meta.replica) continue;
      leadership.send(voter, { body: 'scrub', scrub: { index, hash: right, damaged: true } });
    }
    if (leadership.selfVotes && this.hashes.get(replica.meta.replica) !== right) {
      replica.markDamaged(`its rows at ${index} differ from those of a quorum`);
    }
  }
}
