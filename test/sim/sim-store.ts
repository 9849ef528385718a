/**
 * The `Store` of simulated nodes: sorted rows in memory, callbacks on virtual time, crashes that lose what
 * was not synced. It is as weak as the contract allows: operations finish after random times, reads may or
 * may not see writes that have not finished, and a crash keeps any prefix of the calls that includes the last
 * finished `sync`.
 * INVARIANT: deterministic. The same calls, `random` and `schedule` give the same results.
 * INVARIANT: rows of a view never change: whoever writes copies the rows first when a view shares them.
 */

import { type Callback, DiskError, type DiskErrorCode } from '../../src/common/disk.ts';
import { assert } from '../../src/common/errors.ts';
import type { Store, StoreRow, StoreView, StoreWrite } from '../../src/node/store.ts';

/** What the store needs from the simulator, and its speeds in virtual ms. */
export interface SimStoreOptions {
  /** Runs `fn` after `delayMs` of virtual time, never inside this call. */
  schedule(delayMs: number, fn: () => void): void;
  /** Returns a number in [0, 1). */
  random(): number;
  readonly readMs?: number;
  readonly writeMs?: number;
  readonly syncMs?: number;
  /** Rows that one slice of `clear` deletes. */
  readonly clearRowsMax?: number;
}

/**
 * Sorted rows. Keys are latin1 strings: their order is that of the bytes. Values are never changed in place.
 */
export class Rows {
  #keys: string[] = [];
  #values: Uint8Array[] = [];

  clone(): Rows {
    const copy = new Rows();
    copy.#keys = [...this.#keys];
    copy.#values = [...this.#values];
    return copy;
  }

  apply(batch: readonly StoreWrite[]): void {
    for (const { key, value } of batch) {
      const name = toName(key);
      const at = this.seek(name);
      const exists = this.#keys[at] === name;
      if (value === null) {
        if (exists) this.#splice(at, 1);
      } else if (exists) {
        this.#values[at] = value;
      } else {
        this.#keys.splice(at, 0, name);
        this.#values.splice(at, 0, value);
      }
    }
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const name = toName(key);
    const at = this.seek(name);
    return this.#keys[at] === name ? this.#values[at] : undefined;
  }

  /** Returns the position of the first key that is not below `name`. */
  seek(name: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#keys[middle]! < name) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  read(from: Uint8Array, to: Uint8Array, bytesMax: number): { rows: StoreRow[]; more: boolean } {
    const end = this.seek(toName(to));
    const rows: StoreRow[] = [];
    let bytes = 0;
    for (let at = this.seek(toName(from)); at < end; at += 1) {
      if (rows.length > 0 && bytes >= bytesMax) return { rows, more: true };
      const row = { key: Buffer.from(this.#keys[at]!, 'latin1'), value: Uint8Array.from(this.#values[at]!) };
      rows.push(row);
      bytes += row.key.length + row.value.length;
    }
    return { rows, more: false };
  }

  #splice(at: number, count: number): void {
    this.#keys.splice(at, count);
    this.#values.splice(at, count);
  }
}

function toName(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.length).toString('latin1');
}

/** A batch that was given to `write`; `finished` once its callback has been told. */
interface LoggedBatch {
  batch: readonly StoreWrite[];
  finished: boolean;
}

type Job = { readonly delayMs: number; run(): void };

/**
 * See the head of this file. One object is one disk: it outlives `crash` and `close`, and can then be used
 * again.
 */
export class SimStore implements Store {
  readonly #options: Required<SimStoreOptions>;
  #rows = new Rows();
  /** True while a view may hold `#rows`. */
  #shared = false;
  /** The rows as of the last finished sync, and every later call of `write`, in order. */
  #durable = new Rows();
  #log: LoggedBatch[] = [];
  /** Writes and barriers in call order; the first one is running. */
  #queue: Job[] = [];
  #life = 0;
  #closing = false;
  #closed = false;
  #failure: DiskErrorCode | null = null;
  /** By how much reads of single rows, and syncs, are slower, ms. */
  #slowMs = 0;
  readonly #clearing = new Set<{ from: Uint8Array; to: Uint8Array }>();

  constructor(options: SimStoreOptions) {
    this.#options = { readMs: 0.2, writeMs: 0.5, syncMs: 5, clearRowsMax: 100, ...options };
  }

  write(batch: readonly StoreWrite[], done: Callback): void {
    for (const { from, to } of this.#clearing) {
      const clash = batch.some(({ key }) => Buffer.compare(key, from) >= 0 && Buffer.compare(key, to) < 0);
      assert(!clash, 'nothing writes into a range being cleared');
    }
    this.#write(batch, done);
  }

  get(key: Uint8Array, done: Callback<Uint8Array | undefined>): void {
    this.#readLater((rows) => done(null, copyOf(rows.get(key))), done);
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    if (this.#closed) throw closedError();
    return copyOf(this.#rows.get(key));
  }

  getMany(keys: readonly Uint8Array[], done: Callback<(Uint8Array | undefined)[]>): void {
    const wanted = [...keys];
    this.#readLater(
      (rows) =>
        done(
          null,
          wanted.map((key) => copyOf(rows.get(key))),
        ),
      done,
    );
  }

  openView(done: Callback<StoreView>): void {
    this.#enqueue(this.#delay(this.#options.readMs), () => {
      if (this.#closed) {
        done(closedError());
        return;
      }
      this.#shared = true;
      done(null, this.#viewOf(this.#rows));
    });
  }

  clear(from: Uint8Array, to: Uint8Array, done: Callback): void {
    const range = { from, to };
    this.#clearing.add(range);
    const finish = (error: DiskError | null): void => {
      this.#clearing.delete(range);
      done(error);
    };
    const slice = (): void => {
      const { rows } = this.#rows.read(from, to, Number.POSITIVE_INFINITY);
      if (this.#closed || rows.length === 0) {
        finish(this.#closed ? closedError() : null);
        return;
      }
      const batch = rows.slice(0, this.#options.clearRowsMax).map(({ key }) => ({ key, value: null }));
      this.#write(batch, (error) => {
        if (error !== null) finish(error);
        else this.#later(this.#delay(this.#options.writeMs), slice);
      });
    };
    this.#enqueue(this.#delay(this.#options.readMs), slice);
  }

  sync(done: Callback): void {
    const covered = this.#log.filter(({ finished }) => finished);
    const last = covered.at(-1);
    this.#later(this.#delay(this.#options.syncMs + this.#slowMs), () => {
      if (this.#failure !== null) {
        done(new DiskError(this.#failure, 'injected'));
        return;
      }
      // A sync that started later may have finished first and covered these.
      const end = last === undefined ? 0 : this.#log.indexOf(last) + 1;
      for (const { batch } of this.#log.splice(0, end)) this.#durable.apply(batch);
      done(null);
    });
  }

  close(done: Callback): void {
    assert(!this.#closing, 'a store is closed once');
    this.#closing = true;
    this.#enqueue(0, () => {
      this.#closed = true;
      this.sync(done);
    });
  }

  /**
   * Loses power: no callback of an earlier call comes any more, views are gone, unsynced batches survive as a
   * prefix.
   */
  crash(): void {
    const survivors = Math.floor(this.#options.random() * (this.#log.length + 1));
    for (const { batch } of this.#log.slice(0, survivors)) this.#durable.apply(batch);
    this.#restart();
  }

  /** Returns what a copy of its directory holds for sure: what is synced. */
  contents(): Rows {
    return this.#durable.clone();
  }

  /** Replaces everything by what `contents` has returned, after `crash`. */
  putBack(rows: Rows): void {
    this.#durable = rows.clone();
    this.#restart();
  }

  /** Makes a closed store usable again, as a restarted process finds it. */
  reopen(): void {
    assert(this.#closed, 'only a closed store is reopened');
    for (const { batch } of this.#log) this.#durable.apply(batch);
    this.#restart();
  }

  /**
   * Flips one random bit of the stored value of `key`, for good. Returns false when it is absent or empty.
   */
  flipBit(key: Uint8Array): boolean {
    const value = this.#rows.get(key);
    if (value === undefined || value.length === 0) return false;
    const damaged = Uint8Array.from(value);
    const bit = Math.floor(this.#options.random() * damaged.length * 8);
    damaged[bit >>> 3]! ^= 1 << (bit & 7);
    const isKey = (write: StoreWrite): boolean => Buffer.compare(write.key, key) === 0;
    this.#own().apply([{ key, value: damaged }]);
    // And wherever a crash could find it again.
    if (this.#durable.get(key) !== undefined) this.#durable.apply([{ key, value: damaged }]);
    const logged = this.#log.findLast(({ batch, finished }) => finished && batch.some(isKey));
    if (logged !== undefined) {
      logged.batch = logged.batch.map((write) => (isKey(write) ? { key: write.key, value: damaged } : write));
    }
    return true;
  }

  /** Fails every later write and sync with `code`, changing nothing, until the store is restarted. */
  failWith(code: DiskErrorCode): void {
    this.#failure = code;
  }

  /** Makes later reads of single rows and syncs slower, by `ms` in the mean, until told otherwise. */
  slowDown(ms: number): void {
    this.#slowMs = ms;
  }

  #write(batch: readonly StoreWrite[], done: Callback): void {
    const logged: LoggedBatch = {
      batch: batch.map(({ key, value }) => ({
        key: Uint8Array.from(key),
        value: value === null ? null : Uint8Array.from(value),
      })),
      finished: false,
    };
    if (this.#closing) {
      this.#later(0, () => done(closedError()));
      return;
    }
    this.#log.push(logged);
    this.#enqueue(this.#delay(this.#options.writeMs), () => {
      if (this.#failure !== null) {
        this.#log.splice(this.#log.indexOf(logged), 1);
        done(new DiskError(this.#failure, 'injected'));
        return;
      }
      this.#own().apply(logged.batch);
      logged.finished = true;
      done(null);
    });
  }

  /** Returns the current rows for changing them. */
  #own(): Rows {
    if (this.#shared) {
      this.#rows = this.#rows.clone();
      this.#shared = false;
    }
    return this.#rows;
  }

  #viewOf(rows: Rows): StoreView {
    const life = this.#life;
    let open = true;
    return {
      read: (from, to, bytesMax, done) => {
        assert(life === this.#life, 'a view is not used after a crash');
        this.#later(this.#delay(this.#options.readMs), () => {
          if (!open || this.#closed) done(new DiskError('EOTHER', 'the view is closed'));
          else done(null, rows.read(from, to, bytesMax));
        });
      },
      close: () => {
        open = false;
      },
    };
  }

  /** Reads at the call or at the callback: both see every write that had finished at the call. */
  #readLater(read: (rows: Rows) => void, failed: (error: DiskError) => void): void {
    const early = this.#options.random() < 0.5;
    const rows = this.#rows;
    if (early) this.#shared = true;
    this.#later(this.#delay(this.#options.readMs + this.#slowMs), () => {
      if (this.#closed) failed(closedError());
      else read(early ? rows : this.#rows);
    });
  }

  /** Queues a job that takes `delayMs`; jobs run one at a time, in call order. */
  #enqueue(delayMs: number, run: () => void): void {
    this.#queue.push({ delayMs, run });
    if (this.#queue.length === 1) this.#runNext();
  }

  #runNext(): void {
    const job = this.#queue[0];
    if (job === undefined) return;
    this.#later(job.delayMs, () => {
      this.#queue.shift();
      this.#runNext();
      job.run();
    });
  }

  #later(delayMs: number, fn: () => void): void {
    const life = this.#life;
    this.#options.schedule(delayMs, () => {
      if (life === this.#life) fn();
    });
  }

  #delay(meanMs: number): number {
    return meanMs * 2 * this.#options.random();
  }

  #restart(): void {
    this.#life += 1;
    this.#rows = this.#durable.clone();
    this.#shared = false;
    this.#log = [];
    this.#queue = [];
    this.#clearing.clear();
    this.#closing = false;
    this.#closed = false;
    this.#failure = null;
  }
}

function closedError(): DiskError {
  return new DiskError('EOTHER', 'the store is closed');
}

function copyOf(value: Uint8Array | undefined): Uint8Array | undefined {
  return value === undefined ? undefined : Uint8Array.from(value);
}
