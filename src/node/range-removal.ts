/**
 * Removes a range of a store in the background: a slice of rows after the other, with pauses, and then gives the space back part by
 * part, which tombstones alone would only take more of.
 * INVARIANT: others have the disk for three times as long as a part of it has taken.
 */
import { DiskError } from '../common/disk.ts';
import { type LevelDatabase, readFigures } from '../common/leveldb.ts';

/** How fast; see `LEVEL_STORE_DEFAULTS`. */
export interface RemovalOptions {
  readonly clearRowsMax: number;
  readonly clearPauseMs: number;
  readonly clearLevel0FilesMax: number;
  readonly reclaimRows: number;
}

/** What the store does for it. */
export interface RemovalHost {
  isClosing(): boolean;
  /** Deletes rows, behind all earlier writes. Rejects with DiskError. */
  remove(keys: readonly Uint8Array[]): Promise<void>;
}

/** What a store that is closed says. */
export function closedError(): DiskError {
  return new DiskError('EOTHER', 'the store is closed');
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** One range on its way out. */
export class RangeRemoval {
  readonly #database: LevelDatabase;
  readonly #options: RemovalOptions;
  readonly #host: RemovalHost;
  /** Ends of parts with about as many rows each. */
  readonly #ends: Uint8Array[] = [];
  #rows = 0;

  constructor(database: LevelDatabase, options: RemovalOptions, host: RemovalHost) {
    this.#database = database;
    this.#options = options;
    this.#host = host;
  }

  /** Resolves when the range is empty and its space is free. Rejects with DiskError, also when the store is closed meanwhile. */
  async run(from: Uint8Array, to: Uint8Array): Promise<void> {
    let cursor = from;
    for (;;) {
      await this.#turn();
      const last = await this.#slice(cursor, to);
      if (last === null) break;
      // On from behind the last one, so that the tombstones are not walked over again.
      cursor = new Uint8Array(last.length + 1);
      cursor.set(last);
      await pause(this.#options.clearPauseMs);
    }
    await this.#reclaim(from, to);
  }

  /** Waits while LevelDB has as much to do as it may. */
  async #turn(): Promise<void> {
    const { clearLevel0FilesMax, clearPauseMs } = this.#options;
    while (!this.#host.isClosing() && readFigures(this.#database).level0Files >= clearLevel0FilesMax)
      await pause(clearPauseMs);
    if (this.#host.isClosing()) throw closedError();
  }

  /** Removes some rows; returns the key of the last one, null: there are none. */
  async #slice(from: Uint8Array, to: Uint8Array): Promise<Uint8Array | null> {
    const { clearRowsMax, reclaimRows } = this.#options;
    const keys = await this.#database.keys({ gte: from, lt: to, limit: clearRowsMax }).all();
    const last = keys.at(-1);
    if (last === undefined) return null;
    await this.#host.remove(keys);
    this.#rows += keys.length;
    if (this.#rows >= reclaimRows * (this.#ends.length + 1)) this.#ends.push(last);
    return last;
  }

  /** What is less than a part, LevelDB gets to by itself. */
  async #reclaim(start: Uint8Array, end: Uint8Array): Promise<void> {
    if (this.#ends.length === 0) return;
    let from = start;
    for (const to of [...this.#ends, end]) {
      await this.#turn();
      const began = performance.now();
      await this.#database.compactRange(from, to);
      await pause(3 * (performance.now() - began));
      from = to;
    }
  }
}
