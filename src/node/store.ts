/**
 * The ordered byte store below the replicas: one per node. Two implementations: `level-store.ts` (LevelDB)
 * and the simulator's in-memory one; `test/contract/` holds them to this contract. It knows nothing of
 * partitions: keys and values are bytes, made by `layout.ts`. Buffers that are handed in must not change
 * before the callback.
 * INVARIANT: operations take effect in the order of the calls; a batch is atomic, also at a crash; after a
 * crash, be it of the process alone, the store holds a prefix of the batches that includes everything before
 * the last finished `sync`.
 * INVARIANT: after a failed write every later one fails too, until the store is opened again.
 */
import type { Callback } from '../common/disk.ts';

/** One write of a batch: `value` null deletes. */
export interface StoreWrite {
  readonly key: Uint8Array;
  readonly value: Uint8Array | null;
}

export interface StoreRow {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

/** An immutable view of the store as it was after all earlier calls of `write`. */
export interface StoreView {
  /**
   * Rows with `from <= key < to` in key order, until about `bytesMax` bytes (at least one row); `more` if
   * some remain.
   */
  read(
    from: Uint8Array,
    to: Uint8Array,
    bytesMax: number,
    done: Callback<{ rows: StoreRow[]; more: boolean }>,
  ): void;
  close(): void;
}

export interface Store {
  /** Applies one atomic batch. Not durable before a later `sync` finishes. */
  write(batch: readonly StoreWrite[], done: Callback): void;
  /** The value after all finished writes, or undefined. */
  get(key: Uint8Array, done: Callback<Uint8Array | undefined>): void;
  /** Blocking read for start-up. */
  getSync(key: Uint8Array): Uint8Array | undefined;
  getMany(keys: readonly Uint8Array[], done: Callback<(Uint8Array | undefined)[]>): void;
  /** Opens a view ordered after every earlier `write` call, finished or not. */
  openView(done: Callback<StoreView>): void;
  /**
   * Deletes rows with `from <= key < to` in the background, throttled; not atomic. Nothing writes there
   * meanwhile.
   */
  clear(from: Uint8Array, to: Uint8Array, done: Callback): void;
  /** Makes all finished writes durable. */
  sync(done: Callback): void;
  close(done: Callback): void;
}
