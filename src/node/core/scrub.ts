/**
 * The replica's part of the scrub (DESIGN.md section 6): a log entry names an index; every replica that decides it hashes
 * its rows as of exactly that index, verifying every checksum on the way, and tells the leader; the leader compares
 * (scrub-round.ts). It finds what nobody reads: cold values that have rotted, and replicas that have diverged. How fast
 * it reads is for the node to say (scrub-book.ts).
 * INVARIANT: a replica that meets a damaged row is damaged, whatever the others say; its leader is told before.
 */
import { NO_BYTES } from '../../common/bytes.ts';
import type { DiskError } from '../../common/disk.ts';
import { hashBytes } from '../../common/hash.ts';
import { SCRUB_NEWS_MS } from '../../common/limits.ts';
import type { Scrub } from '../../common/wire/messages.ts';
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
import type { Replica } from './replica.ts';
import type { ScrubReader } from './scrub-book.ts';

/** What a scrub tells its replica. */
export interface ScrubberEvents {
  /** All rows are fine. */
  done(hash: string): void;
  /** A row is not what was written. */
  damaged(reason: string): void;
  failed(error: DiskError): void;
}

/** Hashes the values, results, expiries and starts of epochs of one replica at one index, a chunk at a time. */
export class Scrubber implements ScrubReader {
  readonly index: number;
  rows = 0;
  bytes = 0;
  private readonly replica: Replica;
  private readonly events: ScrubberEvents;
  /** What is left to read; the first one at present. */
  private ranges: { readonly from: Uint8Array; readonly to: Uint8Array }[];
  private view: StoreView | null = null;
  private reading = false;
  private closed = false;
  private hash: Uint8Array = NO_BYTES;
  /** What it may read next; 0: nothing yet. */
  private granted = 0;

  /** Call while the entry at `index` is the last decided one: the view is opened behind it. */
  constructor(replica: Replica, index: number, events: ScrubberEvents) {
    this.replica = replica;
    this.index = index;
    this.events = events;
    const { partition, machine } = replica;
    const { from } = storeRange(partition, machine.generation, TABLE_VALUES);
    const { to } = storeRange(partition, machine.generation, TABLE_RESULTS);
    const rest = [TABLE_EXPIRIES, TABLE_EPOCHS].map((table) =>
      storeRange(partition, machine.generation, table),
    );
    this.ranges = [{ from, to }, ...rest];
    replica.host.scrubs.enter(this);
    machine.openView(false, (error, _mark, view) => {
      if (error !== null || view === undefined) return;
      if (this.closed) replica.host.store({ kind: 'closeView', view });
      else this.view = view;
    });
  }

  get ready(): boolean {
    return this.view !== null && !this.reading && this.granted === 0 && this.ranges.length > 0;
  }

  get under(): boolean {
    return !this.closed;
  }

  grant(bytes: number): void {
    this.granted = bytes;
  }

  /** Goes on with the next chunk. */
  tick(): void {
    const { view, granted } = this;
    const [range] = this.ranges;
    if (view === null || range === undefined || this.reading || this.closed || granted === 0) return;
    this.reading = true;
    this.granted = 0;
    this.replica.host.store({
      kind: 'readView',
      view,
      ...range,
      bytesMax: granted,
      done: (error, page) => {
        this.reading = false;
        this.account(granted, page?.rows ?? []);
        if (this.closed) return;
        if (error !== null) return this.events.failed(error);
        if (page !== undefined) this.take(page.rows, page.more);
      },
    });
  }

  /** What was granted is an estimate: a page may be shorter, and one of a single long row is longer. */
  private account(granted: number, rows: readonly StoreRow[]): void {
    let bytes = 0;
    for (const { key, value } of rows) bytes += key.byteLength + value.byteLength;
    this.rows += rows.length;
    this.bytes += bytes;
    this.replica.host.scrubs.read(granted, bytes);
  }

  private take(rows: readonly StoreRow[], more: boolean): void {
    try {
      for (const { key, value } of rows) this.add(relativeKey(key), value);
    } catch (error) {
      if (!(error instanceof DamagedRowError)) throw error;
      return this.events.damaged(error.message);
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
    this.events.done(Buffer.from(this.hash).toString('hex'));
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
    if (this.closed) return;
    this.closed = true;
    const { host } = this.replica;
    host.scrubs.leave(this, this.granted);
    if (this.view !== null) host.store({ kind: 'closeView', view: this.view });
    this.view = null;
  }
}

/** The scrubs of one replica: at most one at a time, the newest. */
export class ReplicaScrubs {
  private readonly replica: Replica;
  private scrubber: Scrubber | null = null;
  private newsAt = 0;

  constructor(replica: Replica) {
    this.replica = replica;
  }

  /** The entry at `index` was just decided. */
  start(index: number): void {
    const { host } = this.replica;
    this.close();
    this.newsAt = host.now + SCRUB_NEWS_MS;
    this.scrubber = new Scrubber(this.replica, index, {
      done: (hash) => this.tell({ index, hash }),
      damaged: (reason) => this.replica.markDamaged(`found in a scrub: ${reason}`),
      failed: (error) => this.replica.readFailed('a scrub', error),
    });
  }

  tick(): void {
    const { scrubber } = this;
    const { host } = this.replica;
    if (scrubber === null) return;
    if (scrubber.under && host.now >= this.newsAt) {
      this.newsAt = host.now + SCRUB_NEWS_MS;
      this.tell({ underWay: scrubber.index });
    }
    scrubber.tick();
  }

  /** The replica is about to stop counting, whoever has found the damage: the scrub need not wait for its hash. */
  metDamage(): void {
    if (this.scrubber?.under === true) this.tell({ index: this.scrubber.index, damaged: true });
    this.close();
  }

  private tell(news: Partial<Scrub>): void {
    const { replica } = this;
    const { meta, leadership, host, partition, currentLeader } = replica;
    const { rows = 0, bytes = 0 } = this.scrubber ?? {};
    const scrub = { index: 0, hash: '', damaged: false, underWay: 0, rows, bytes, ...news };
    if (leadership !== null) return leadership.scrubs.answer(meta.replica, scrub);
    if (currentLeader === null || !replica.promiseDurable) return;
    host.send(partition, meta.promiseEpoch, meta.replica, currentLeader, { body: 'scrub', scrub });
  }

  /** Takes a follower's news as leader, and the leader's verdict as follower. */
  onMessage(from: string, epoch: number, scrub: Scrub): void {
    const { meta, leadership, currentLeader } = this.replica;
    if (epoch !== meta.promiseEpoch) return;
    if (leadership !== null) return leadership.scrubs.answer(from, scrub);
    if (!scrub.damaged || from !== currentLeader?.id || this.scrubber?.index !== scrub.index) return;
    this.replica.markDamaged(`its rows at ${scrub.index} differ from those of a quorum`);
  }

  close(): void {
    this.scrubber?.close();
  }
}
