/**
 * The topology store inside a router, durable on this machine's disk: for clusters that live on one machine.
 * Owns its row format, group commit and what damage it can detect; the semantics are `TopologyTable`'s.
 * INVARIANT: every batch is written with `sync: true` before anybody hears of it, so no memtable switch
 * leaves an unsynced log behind: `level-store.ts` has to flush, this does not. (Relied on: fsync of a log
 * younger than the MANIFEST keeps the new file's name too, as on ext4, xfs and btrfs.)
 * INVARIANT: after a failed write no other is tried and nothing is answered from memory: LevelDB would go on
 * in a log that is torn in the middle, whose reader skips what follows the tear. It has to be opened again.
 * INVARIANT: that reader drops damaged blocks in silence, so the header sums up all rows: a lost or stale row
 * is found. Only the loss of the newest batches together cannot be told from a power cut before them.
 */
import { randomBytes } from 'node:crypto';
import { Packr } from 'msgpackr';
import { readU64, writeU64 } from '../common/bytes.ts';
import { crc32c } from '../common/crc32c.ts';
import type { DiskErrorCode } from '../common/disk.ts';
import { assert, type ErrorCode, RingkeepError } from '../common/errors.ts';
import { hashBytes } from '../common/hash.ts';
import { type LevelDatabase, openLevel, toDiskError } from '../common/leveldb.ts';
import type { StoreChange, StoreEntry, StoreKey } from './controller/types.ts';
import {
  type CasAnswer,
  checkChanges,
  isEntry,
  type StoreCommit,
  type StoreState,
  type TopologyCallback,
  type TopologyStore,
  TopologyTable,
} from './topology-store.ts';

const FORMAT = 1;
const ROW_HEAD_BYTES = 16;
const HEADER_KEY = 'store';
const ENTRY_PREFIX = 'entry/';
const SIZES = {
  cacheBytes: 1024 * 1024,
  writeBufferBytes: 4 * 1024 * 1024,
  tableBytesMax: 2 * 1024 * 1024,
  openFilesMax: 100,
};

interface Header {
  readonly storeId: string;
  readonly digest: string;
}

/** A waiting call: decided in its turn, told when its group is durable or has failed. */
interface Job {
  /** Returns the commit to be written, if any. */
  decide(): StoreCommit | null;
  settle(error: RingkeepError | null): void;
}

/** Told by the store. */
export interface EmbeddedTopologyStoreOptions {
  /**
   * A write has failed. The store answers no more; the process must exit, or close the store and open it
   * again.
   */
  readonly onFailed?: (error: RingkeepError) => void;
}

// Plain maps without private extensions. Numbers are safe integers: above 32 bits they travel as doubles.
const packr = new Packr({ useRecords: false, copyBuffers: true, int64AsType: 'number', moreTypes: false });

/**
 *   key    "store" (the header)  |  "entry/" then the StoreKey                     UTF-8
 *   value   0  u8   format version, 1
 *           1  3 B  zero
 *           4  u32  CRC-32C of the key, then bytes 0 to 3, then all from byte 8 on
 *           8  u64  revision: the entry's; in the header the store's
 *          16       msgpack of the value; in the header {storeId, digest}
 *   digest: sum modulo 2^64 of xxHash64(key, value) over all entry rows, as 16 hexadecimal digits
 */
function encodeRow(key: string, revision: number, value: unknown): Buffer {
  const packed = packr.pack(value);
  const row = Buffer.alloc(ROW_HEAD_BYTES + packed.length);
  row.writeUInt8(FORMAT, 0);
  writeU64(row, 8, revision);
  // Copied, since `packed` is a view on a slab that the next pack writes over.
  row.set(packed, ROW_HEAD_BYTES);
  row.writeUInt32LE(rowChecksum(key, row), 4);
  return row;
}

function rowChecksum(key: string, row: Buffer): number {
  return crc32c(row.subarray(8), crc32c(row.subarray(0, 4), crc32c(Buffer.from(key))));
}

function decodeRow(key: string, row: Buffer): { revision: number; value: unknown } {
  if (row.length < ROW_HEAD_BYTES || row.readUInt32LE(4) !== rowChecksum(key, row)) {
    throw damaged(`the row "${key}" fails its checksum`);
  }
  const version = row.readUInt8(0);
  if (version !== FORMAT) {
    throw new RingkeepError('FORMAT_TOO_NEW', `the topology store has format ${version}, known is ${FORMAT}`);
  }
  return { revision: readU64(row, 8), value: packr.unpack(row.subarray(ROW_HEAD_BYTES)) };
}

function rowHash(key: string, row: Buffer): bigint {
  return hashBytes(Buffer.concat([Buffer.from(key), row]));
}

function toHex(digest: bigint): string {
  return digest.toString(16).padStart(16, '0');
}

function damaged(what: string): RingkeepError {
  return new RingkeepError('DAMAGED', `topology store: ${what}; restore it from a backup`);
}

const OPEN_CODES: Partial<Record<DiskErrorCode, ErrorCode>> = {
  ELOCKED: 'DIRECTORY_IN_USE',
  ENOSPC: 'DISK_FULL',
  EIO: 'DAMAGED',
};

function toOpenError(error: unknown): RingkeepError {
  if (error instanceof RingkeepError) return error;
  const disk = toDiskError(error, 'topology store');
  return new RingkeepError(OPEN_CODES[disk.code] ?? 'INTERNAL', disk.message, 'not_applied', { cause: disk });
}

function toWriteError(error: unknown, what: string): RingkeepError {
  const disk = toDiskError(error, `topology store: ${what}`);
  return new RingkeepError(disk.code === 'ENOSPC' ? 'DISK_FULL' : 'INTERNAL', disk.message, 'unknown', {
    cause: disk,
  });
}

/**
 * Opens or creates the store in `directory`. Rejects with a RingkeepError: DIRECTORY_IN_USE when another
 * process has it, DAMAGED when a row or LevelDB's own files fail their checks, FORMAT_TOO_NEW, DISK_FULL,
 * INTERNAL.
 */
export async function openEmbeddedTopologyStore(
  directory: string,
  options: EmbeddedTopologyStoreOptions = {},
): Promise<EmbeddedTopologyStore> {
  let database: LevelDatabase | null = null;
  try {
    database = await openLevel(directory, SIZES);
    const rows = await database.iterator().all();
    if (rows.length === 0) {
      const header = { storeId: randomBytes(8).toString('hex'), digest: toHex(0n) } satisfies Header;
      const row = encodeRow(HEADER_KEY, 0, header);
      await database.batch([{ type: 'put', key: Buffer.from(HEADER_KEY), value: row }], { sync: true });
      rows.push([Buffer.from(HEADER_KEY), row]);
    }
    return new EmbeddedTopologyStore(database, restore(rows), options);
  } catch (error) {
    // The first error counts; one of closing would only hide it.
    await database?.close().catch(() => undefined);
    throw toOpenError(error);
  }
}

interface Restored {
  readonly state: StoreState;
  readonly hashes: Map<StoreKey, bigint>;
}

/** Checks every row and the digest over them. */
function restore(rows: readonly (readonly [Uint8Array, Uint8Array])[]): Restored {
  const entries = new Map<StoreKey, StoreEntry>();
  const hashes = new Map<StoreKey, bigint>();
  let header: { revision: number; value: Header } | null = null;
  let digest = 0n;
  for (const [keyBytes, rowBytes] of rows) {
    const rowKey = Buffer.from(keyBytes).toString();
    const row = Buffer.from(rowBytes);
    const { revision, value } = decodeRow(rowKey, row);
    if (rowKey === HEADER_KEY) {
      header = { revision, value: value as Header };
      continue;
    }
    if (!rowKey.startsWith(ENTRY_PREFIX)) throw damaged(`unknown row "${rowKey}"`);
    const key = rowKey.slice(ENTRY_PREFIX.length) as StoreKey;
    // The checksum says that this is what `compareAndSwap` was given; `isEntry` that it was given that under
    // this key.
    const entry = { key, revision, value } as StoreEntry;
    if (!isEntry(entry)) throw damaged(`the row "${rowKey}" holds something else`);
    entries.set(key, entry);
    const hash = rowHash(rowKey, row);
    hashes.set(key, hash);
    digest = BigInt.asUintN(64, digest + hash);
  }
  if (header === null) throw damaged('the header is missing');
  if (header.value.digest !== toHex(digest)) throw damaged('rows are missing or out of date');
  return { state: { storeId: header.value.storeId, revision: header.revision, entries }, hashes };
}

/** See the head of this file; made by `openEmbeddedTopologyStore`. */
export class EmbeddedTopologyStore implements TopologyStore {
  readonly #database: LevelDatabase;
  readonly #options: EmbeddedTopologyStoreOptions;
  /** Ahead of the disk by the group in flight; what a job reads from it is told after that group. */
  readonly #table: TopologyTable;
  readonly #hashes: Map<StoreKey, bigint>;
  #digest = 0n;
  #waiting: Job[] = [];
  #busy = false;
  #failure: RingkeepError | null = null;
  #closing = false;
  readonly #listeners = new Set<(commit: StoreCommit) => void>();

  constructor(database: LevelDatabase, restored: Restored, options: EmbeddedTopologyStoreOptions) {
    this.#database = database;
    this.#options = options;
    this.#table = new TopologyTable(restored.state);
    this.#hashes = restored.hashes;
    for (const hash of this.#hashes.values()) this.#digest = BigInt.asUintN(64, this.#digest + hash);
  }

  /** Random, made with the store. */
  get storeId(): string {
    return this.#table.storeId;
  }

  load(done: TopologyCallback<StoreState>): void {
    this.#enqueueRead(() => this.#table.state(), done);
  }

  read(keys: readonly StoreKey[], done: TopologyCallback<readonly StoreEntry[]>): void {
    this.#enqueueRead(() => this.#table.read(keys), done);
  }

  compareAndSwap(changes: readonly StoreChange[], done: (answer: CasAnswer) => void): void {
    checkChanges(changes);
    let answer: CasAnswer | null = null;
    this.#enqueue({
      decide: () => {
        const decided = this.#table.compareAndSwap(changes);
        answer = decided.answer;
        return decided.commit;
      },
      settle: (error) => {
        if (error !== null) done({ status: 'unknown', error });
        else if (answer !== null) done(answer);
      },
    });
  }

  watch(listener: (commit: StoreCommit) => void): () => void {
    // Each watch is its own, also when two of them share a function.
    const own = (commit: StoreCommit): void => listener(commit);
    this.#listeners.add(own);
    return () => this.#listeners.delete(own);
  }

  close(done: TopologyCallback<void>): void {
    assert(!this.#closing, 'a topology store is closed once');
    this.#enqueue({
      decide: () => null,
      settle: () => {
        this.#database.close().then(
          () => done(null),
          (error: unknown) => done(toWriteError(error, 'close')),
        );
      },
    });
    this.#closing = true;
  }

  #enqueueRead<T>(read: () => T, done: TopologyCallback<T>): void {
    let result: T | undefined;
    this.#enqueue({
      decide: () => {
        result = read();
        return null;
      },
      settle: (error) => {
        if (error === null) done(null, result);
        else
          done(
            new RingkeepError(error.code, 'the topology store cannot be read', 'not_applied', {
              cause: error,
            }),
          );
      },
    });
  }

  #enqueue(job: Job): void {
    if (this.#closing) {
      const error = new RingkeepError('SHUTTING_DOWN', 'the topology store is closed');
      queueMicrotask(() => job.settle(error));
      return;
    }
    this.#waiting.push(job);
    if (this.#busy) return;
    this.#busy = true;
    // At the end of the current event, so that all its calls share one fsync.
    queueMicrotask(() => this.#startGroup());
  }

  /** Decides everything that waits, in order, and writes the commits among it as one synced batch. */
  #startGroup(): void {
    const group = this.#waiting;
    this.#waiting = [];
    if (group.length === 0) {
      this.#busy = false;
      return;
    }
    if (this.#failure !== null) {
      this.#endGroup(group, [], this.#failure);
      return;
    }
    const commits = group.map((job) => job.decide());
    const batch = this.#encode(commits.filter((commit) => commit !== null));
    const written = batch.length === 0 ? Promise.resolve() : this.#database.batch(batch, { sync: true });
    void written.then(
      () => this.#endGroup(group, commits, null),
      (error: unknown) => {
        this.#failure = toWriteError(error, 'write');
        this.#endGroup(group, [], this.#failure);
        this.#options.onFailed?.(this.#failure);
      },
    );
  }

  #endGroup(
    group: readonly Job[],
    commits: readonly (StoreCommit | null)[],
    error: RingkeepError | null,
  ): void {
    queueMicrotask(() => this.#startGroup());
    for (const [at, job] of group.entries()) {
      const commit = commits[at] ?? null;
      if (commit !== null) for (const listener of [...this.#listeners]) listener(commit);
      job.settle(error);
    }
  }

  /**
   * Returns the rows that bring the disk to the state after `commits`: each key's newest row, and the header.
   */
  #encode(commits: readonly StoreCommit[]): { type: 'put'; key: Uint8Array; value: Uint8Array }[] {
    const last = commits.at(-1);
    if (last === undefined) return [];
    const newest = new Map<StoreKey, StoreEntry>();
    for (const { entries } of commits) for (const entry of entries) newest.set(entry.key, entry);
    const rows = [...newest.values()].map((entry) => {
      const rowKey = ENTRY_PREFIX + entry.key;
      const row = encodeRow(rowKey, entry.revision, entry.value);
      const hash = rowHash(rowKey, row);
      this.#digest = BigInt.asUintN(64, this.#digest - (this.#hashes.get(entry.key) ?? 0n) + hash);
      this.#hashes.set(entry.key, hash);
      return { type: 'put' as const, key: Buffer.from(rowKey), value: row };
    });
    const header = { storeId: this.storeId, digest: toHex(this.#digest) } satisfies Header;
    const row = encodeRow(HEADER_KEY, last.revision, header);
    return [...rows, { type: 'put', key: Buffer.from(HEADER_KEY), value: row }];
  }
}
