/**
 * The node's `Store` on LevelDB. Owns the order of operations, what survives a crash, and the throttling of
 * `clear`. It knows nothing of keys and checks no checksums: `layout.ts` puts a CRC into every value.
 * INVARIANT: LevelDB's own log is never trusted. It is written without fsync, and after a power cut its
 * reader skips unreadable blocks and goes on behind them (db/log_reader.cc, kBadRecord): a hole, not a
 * prefix. So opening deletes it. What remains are the tables that the MANIFEST names; each is a whole
 * memtable, fsynced before it is named, in order: a prefix of the batches. The node's WAL replays the rest.
 * INVARIANT: so `sync` means "the memtable has become a table" (`#flush`). A write with `sync: true` would
 * not do, even with a trusted log: it fsyncs the current log file, never one that was switched away from
 * before.
 * INVARIANT: after the first failed write no later one is tried, so that no gap can arise. Reads go on.
 */
import { performance } from 'node:perf_hooks';
import type { Callback, Disk } from '../common/disk.ts';
import { DiskError } from '../common/disk.ts';
import { assert } from '../common/errors.ts';
import {
  type LevelDatabase,
  type LevelFigures,
  type LevelOptions,
  liveTables,
  openLevel,
  readFigures,
  toDiskError,
} from '../common/leveldb.ts';
import { closedError, RangeRemoval } from './range-removal.ts';
import { type BatchFigures, BatchTimes } from './storage-figures.ts';
import type { Store, StoreRow, StoreView, StoreWrite } from './store.ts';
import { checkTables } from './tables.ts';

/** Sizes that suit a node with some GiB of data on two cores. */
export const LEVEL_STORE_DEFAULTS = {
  cacheBytes: 64 * 1024 * 1024,
  /** A crash replays up to two of these from the WAL; a checkpoint (64 MiB of WAL) writes a few tables. */
  writeBufferBytes: 16 * 1024 * 1024,
  tableBytesMax: 8 * 1024 * 1024,
  openFilesMax: 512,
  /** Queued batches are merged into one up to this size. */
  mergeBytesMax: 1024 * 1024,
  /** Rows that one slice of `clear` deletes, and the pause after it: at most 100,000 rows a second. */
  clearRowsMax: 500,
  clearPauseMs: 5,
  /** Bytes of tables that are removed per second, at most. */
  clearBytesPerSecond: 64 * 1024 * 1024,
  /** Bytes of tables whose space is given back at a time, and the least that is worth it. */
  reclaimBytes: 8 * 1024 * 1024,
  reclaimBytesMin: 1024 * 1024,
  /** `clear` waits while level 0 holds this many files; LevelDB slows all writes at 8. */
  clearLevel0FilesMax: 6,
} as const;

type Numbers<T> = { readonly [name in keyof T]: number };

/** Where the store's files are, and its sizes (defaults: `LEVEL_STORE_DEFAULTS`). */
export interface LevelStoreOptions extends LevelOptions, Numbers<typeof LEVEL_STORE_DEFAULTS> {
  readonly disk: Pick<Disk, 'listSync' | 'openSync' | 'removeSync'>;
  /** Path of `directory` below the root of `disk`. */
  readonly path: string;
}

/** How loaded the store is, for shedding load before LevelDB stalls every writer, and what its batches took. */
export interface LevelStoreFigures extends LevelFigures, BatchFigures {
  /** Bytes of batches that wait or are being written. */
  readonly queuedBytes: number;
}

interface WriteJob {
  readonly batch: readonly StoreWrite[];
  readonly bytes: number;
  readonly done: Callback;
}

/** Called once every earlier write has finished and before any later one starts. */
type Barrier = () => void;

interface Read {
  readonly key: Uint8Array;
  readonly done: Callback<Uint8Array | undefined>;
}

interface Clearing {
  readonly from: Uint8Array;
  readonly to: Uint8Array;
}

/**
 * Above every key that `layout.ts` makes. A key up here would only make `sync` compact its tables as well.
 */
const BEYOND = new Uint8Array(64).fill(255);
/** Done jobs at the head of the queue before they are cut off. */
const QUEUE_TRIM = 4096;
/** Rows that one thread reads one after the other, at least, and how many threads take part. */
const READS_PER_THREAD_MIN = 8;
const READ_THREADS_MAX = 4;
const READ_CHUNK_ROWS = 1000;
const READ_CHUNK_BYTES_MAX = 256 * 1024;

/**
 * Opens or creates the store in `directory`; the process must hold the lock of the data directory already.
 * What it then holds is a prefix of all batches ever written that includes everything before the last
 * finished `sync` or `close`, also after SIGKILL: what only LevelDB's log holds is dropped. Reads the index and
 * the filter of every table once. Rejects with a DiskError: ELOCKED, EIO when damaged, ENOSPC, EOTHER.
 */
export async function openLevelStore(
  directory: string,
  options: Pick<LevelStoreOptions, 'disk' | 'path'> & Partial<LevelStoreOptions>,
): Promise<LevelStore> {
  const settings: LevelStoreOptions = { ...LEVEL_STORE_DEFAULTS, ...options };
  const { disk, path } = settings;
  for (const name of listLogs(settings).values()) disk.removeSync(`${path}/${name}`);
  const database = await openLevel(directory, settings);
  try {
    const tables = liveTables(database);
    const start = performance.now();
    await checkTables(disk, path, tables);
    return new LevelStore(database, settings, { tables: tables.length, ms: performance.now() - start });
  } catch (error) {
    await database.close();
    throw error;
  }
}

/** Returns LevelDB's log files by their numbers, which only grow while a database is open. */
function listLogs(options: Pick<LevelStoreOptions, 'disk' | 'path'>): Map<number, string> {
  const logs = new Map<number, string>();
  for (const name of options.disk.listSync(options.path)) {
    if (/^\d+\.log$/.test(name)) logs.set(Number.parseInt(name, 10), name);
  }
  return logs;
}

/** The tables whose index and filter were read at the start, and how long that took. */
export interface TableCheck {
  readonly tables: number;
  readonly ms: number;
}

/**
 * See `openLevelStore`. Buffers given to `write` must not change before its callback. Callbacks never run
 * inside a call.
 */
export class LevelStore implements Store {
  readonly #database: LevelDatabase;
  readonly #options: LevelStoreOptions;
  /** Waiting writes and barriers in call order; `#first` is the next one to start. */
  #queue: (WriteJob | Barrier)[] = [];
  #first = 0;
  #queuedBytes = 0;
  readonly #batchTimes = new BatchTimes();
  #writing = false;
  #pumping = false;
  #failure: DiskError | null = null;
  #closing = false;
  #flushing = false;
  #flushWaiting: Callback[] = [];
  readonly #clearing = new Set<Clearing>();
  /** Ends with the removals so far: one at a time, so that the bounds of one are those of all. */
  #removals: Promise<void> = Promise.resolve();
  /** Asked for in this event. */
  #reads: Read[] = [];

  /** What was read when it was opened. */
  readonly checked: TableCheck;

  /** Takes over an open database; called by `openLevelStore`. */
  constructor(database: LevelDatabase, options: LevelStoreOptions, checked: TableCheck) {
    this.#database = database;
    this.#options = options;
    this.checked = checked;
  }

  write(batch: readonly StoreWrite[], done: Callback): void {
    for (const { from, to } of this.#clearing) {
      for (const { key } of batch)
        assert(!within(key, from, to), 'nothing writes into a range being cleared');
    }
    this.#enqueueWrite(batch, done);
  }

  get(key: Uint8Array, done: Callback<Uint8Array | undefined>): void {
    this.#reads.push({ key, done });
    if (this.#reads.length > 1) return;
    queueMicrotask(() => {
      const reads = this.#reads;
      this.#reads = [];
      // Several threads, since a cold row waits for the disk; few, since waking one costs more than a cached row.
      const size = Math.max(READS_PER_THREAD_MIN, Math.ceil(reads.length / READ_THREADS_MAX));
      for (let at = 0; at < reads.length; at += size) this.#getAll(reads.slice(at, at + size));
    });
  }

  #getAll(reads: readonly Read[]): void {
    const single = ({ key, done }: Read): void => settle(this.#database.get(key), 'get', done);
    if (reads.length === 1) return single(reads[0]!);
    settle(this.#database.getMany(reads.map(({ key }) => key)), 'get', (error, values) => {
      // It does not tell which of the rows could not be read.
      if (error !== null) for (const read of reads) single(read);
      else for (const [at, { done }] of reads.entries()) done(null, values![at]);
    });
  }

  getSync(key: Uint8Array): Uint8Array | undefined {
    try {
      return this.#database.getSync(key);
    } catch (error) {
      throw toDiskError(error, 'getSync');
    }
  }

  getMany(keys: readonly Uint8Array[], done: Callback<(Uint8Array | undefined)[]>): void {
    settle(this.#database.getMany([...keys]), 'getMany', done);
  }

  openView(done: Callback<StoreView>): void {
    this.#enqueue(() => {
      if (this.#closing) done(closedError());
      // The snapshot is taken here and now, while no write is in flight.
      else done(null, new LevelView(this.#database, this.#database.snapshot()));
    });
  }

  clear(from: Uint8Array, to: Uint8Array, done: Callback): void {
    const range = { from, to };
    this.#clearing.add(range);
    this.#enqueue(() => {
      const removal = this.#removals.then(() => this.#clear(range));
      this.#removals = removal.catch(() => undefined);
      settle(removal, 'clear', (error) => {
        this.#clearing.delete(range);
        done(error);
      });
    });
  }

  sync(done: Callback): void {
    this.#flushWaiting.push(done);
    queueMicrotask(() => this.#startFlush());
  }

  close(done: Callback): void {
    assert(!this.#closing, 'a store is closed once');
    this.#closing = true;
    // Behind all writes. The flush saves the next start the replay of the memtable; it fails after a failed
    // write.
    this.#enqueue(() =>
      this.sync((flushError) => {
        settle(this.#database.close(), 'close', (error) => done(error ?? flushError));
      }),
    );
  }

  /** Reads how loaded the store is. Cheap; not for every operation. */
  stats(): LevelStoreFigures {
    const { figures } = this.#batchTimes;
    return { ...readFigures(this.#database), ...figures, queuedBytes: this.#queuedBytes };
  }

  /** Ranges that are being removed, or are to be. */
  get clearing(): number {
    return this.#clearing.size;
  }

  /** Returns how much of a range the tables hold, about; what is in the memtable is left out. Rejects with DiskError. */
  async sizeOf(from: Uint8Array, to: Uint8Array): Promise<number> {
    if (this.#closing) throw closedError();
    return this.#database.approximateSize(from, to);
  }

  #enqueueWrite(batch: readonly StoreWrite[], done: Callback): void {
    if (this.#closing) {
      queueMicrotask(() => done(closedError()));
      return;
    }
    let bytes = 0;
    for (const { key, value } of batch) bytes += key.length + (value === null ? 0 : value.length);
    this.#queuedBytes += bytes;
    this.#enqueue({ batch, bytes, done });
  }

  #enqueue(job: WriteJob | Barrier): void {
    this.#queue.push(job);
    if (this.#writing || this.#pumping) return;
    this.#pumping = true;
    // At the end of the current event, so that all its batches become one.
    queueMicrotask(() => {
      this.#pumping = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (!this.#writing) {
      const job = this.#queue[this.#first];
      if (job === undefined) {
        this.#queue = [];
        this.#first = 0;
        return;
      }
      if (this.#first >= QUEUE_TRIM) {
        // Under steady load it is never empty.
        this.#queue.splice(0, this.#first);
        this.#first = 0;
      }
      if (typeof job === 'function') {
        this.#first += 1;
        job();
      } else {
        this.#startWrite();
      }
    }
  }

  /** Writes the batches at the head of the queue, up to the next barrier, as one. */
  #startWrite(): void {
    const group: WriteJob[] = [];
    let bytes = 0;
    for (; this.#first < this.#queue.length; this.#first += 1) {
      const job = this.#queue[this.#first];
      if (job === undefined || typeof job === 'function') break;
      if (group.length > 0 && bytes + job.bytes > this.#options.mergeBytesMax) break;
      group.push(job);
      bytes += job.bytes;
    }
    this.#writing = true;
    const startedAt = performance.now();
    const written = this.#failure === null ? this.#writeGroup(group) : Promise.reject(this.#failure);
    settle(written, 'write', (error) => {
      if (error === null) this.#batchTimes.add(bytes, performance.now() - startedAt);
      this.#failure ??= error;
      this.#writing = false;
      this.#queuedBytes -= bytes;
      this.#pump();
      for (const job of group) job.done(error);
    });
  }

  /**
   * Writes the batches as one, not synced. A chained batch takes a row for a third less of the processor than an array of
   * operations does.
   */
  async #writeGroup(group: readonly WriteJob[]): Promise<void> {
    const chained = this.#database.batch();
    for (const { batch } of group) {
      for (const { key, value } of batch) {
        if (value === null) chained.del(key);
        else chained.put(key, value);
      }
    }
    await chained.write();
  }

  #clear(range: Clearing): Promise<void> {
    return new RangeRemoval(this.#database, this.#options, {
      isClosing: () => this.#closing,
      remove: (keys) =>
        new Promise((resolve, reject) => {
          this.#enqueueWrite(
            keys.map((key) => ({ key, value: null })),
            (error) => (error === null ? resolve() : reject(error)),
          );
        }),
    }).run(range.from, range.to);
  }

  /**
   * One flush at a time. It covers what had finished at its start, so calls that come meanwhile wait for the
   * next.
   */
  #startFlush(): void {
    if (this.#flushing || this.#flushWaiting.length === 0) return;
    this.#flushing = true;
    const waiting = this.#flushWaiting;
    this.#flushWaiting = [];
    settle(this.#flush(), 'sync', (error) => {
      this.#flushing = false;
      this.#startFlush();
      for (const done of waiting) done(error);
    });
  }

  /**
   * Makes every finished write durable. `compactRange` starts with TEST_CompactMemTable (db/db_impl.cc): it
   * queues behind the writers, waits until an older memtable is flushed, switches to a new log and memtable,
   * and waits until the switched one is a table (fsynced in BuildTable) which the MANIFEST (LogAndApply:
   * fsynced, its directory too) names together with the new log's number. Beyond all keys there is no table
   * left to compact. But it returns nothing: neither a failed flush nor a log that could not be created. So
   * look at the outcome. A finished write is in a log that exists now, or in a table; a log is deleted only
   * after the MANIFEST that makes it obsolete is fsynced (CompactMemTable, then DeleteObsoleteFiles). If all
   * logs of now are gone, all is durable.
   * The empty write that asks for the switch can be swallowed: a writer in front of it takes it into its own group
   * (BuildBatchGroup skips its missing batch, but counts it as done), and nothing is switched. Then once more, with
   * our writes held back, so that there is no writer in front.
   */
  async #flush(): Promise<void> {
    if (this.#failure !== null) throw this.#failure;
    if ((await this.#compactLogs()).length === 0) return;
    const kept = await this.#alone(() => this.#compactLogs());
    if (kept.length > 0) {
      throw new DiskError('EIO', `the memtable was not flushed (log ${kept.join(', ')} is still needed)`);
    }
  }

  /** Asks for a flush; returns the logs of before that are still there. */
  async #compactLogs(): Promise<number[]> {
    const before = listLogs(this.#options);
    await this.#database.compactRange(BEYOND, BEYOND);
    const after = listLogs(this.#options);
    if (after.size === 0) throw new DiskError('EIO', 'the store has no log any more');
    return [...before.keys()].filter((number) => after.has(number));
  }

  /** Runs `task` behind all earlier writes and before any later one. */
  #alone<T>(task: () => Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#enqueue(() => {
        this.#writing = true;
        task()
          .then(resolve, reject)
          .finally(() => {
            this.#writing = false;
            this.#pump();
          });
      });
    });
  }
}

/** A LevelDB snapshot. */
class LevelView implements StoreView {
  readonly #database: LevelDatabase;
  readonly #snapshot: ReturnType<LevelDatabase['snapshot']>;

  constructor(database: LevelDatabase, snapshot: ReturnType<LevelDatabase['snapshot']>) {
    this.#database = database;
    this.#snapshot = snapshot;
  }

  read(
    from: Uint8Array,
    to: Uint8Array,
    bytesMax: number,
    done: Callback<{ rows: StoreRow[]; more: boolean }>,
  ): void {
    settle(this.#read(from, to, bytesMax), 'read', done);
  }

  close(): void {
    // Waits for reads that are under way; closing cannot fail (a list node is unlinked).
    void this.#snapshot.close();
  }

  async #read(
    from: Uint8Array,
    to: Uint8Array,
    bytesMax: number,
  ): Promise<{ rows: StoreRow[]; more: boolean }> {
    const iterator = this.#database.iterator({
      gte: from,
      lt: to,
      snapshot: this.#snapshot,
      highWaterMarkBytes: Math.max(4096, Math.min(bytesMax, READ_CHUNK_BYTES_MAX)),
    });
    try {
      const rows: StoreRow[] = [];
      let bytes = 0;
      for (;;) {
        const chunk = await iterator.nextv(READ_CHUNK_ROWS);
        if (chunk.length === 0) return { rows, more: false };
        for (const [key, value] of chunk) {
          if (rows.length > 0 && bytes >= bytesMax) return { rows, more: true };
          rows.push({ key, value });
          bytes += key.length + value.length;
        }
      }
    } finally {
      await iterator.close();
    }
  }
}

function within(key: Uint8Array, from: Uint8Array, to: Uint8Array): boolean {
  return Buffer.compare(key, from) >= 0 && Buffer.compare(key, to) < 0;
}

/**
 * Hands a promise's end to a callback. What the callback throws is a bug and ends the process as an unhandled
 * rejection.
 */
function settle<T>(promise: Promise<T>, what: string, done: Callback<T>): void {
  void promise.then(
    (result) => done(null, result),
    (error: unknown) => done(toDiskError(error, what)),
  );
}
