/**
 * Removes a range of a store in the background, part by part: the rows of a part, slice by slice with pauses, and then its space is given
 * back, which tombstones alone would only take more of. Parts are cut by what the tables hold of them, so that it makes no difference
 * how many rows that is, nor whether an earlier process has removed them already and ended before the space was given back.
 * INVARIANT: others have the disk for three times as long as a part of it has taken.
 * What an open view still shows keeps its space: it comes back by LevelDB's own compactions, or after the next start.
 */
import { DiskError } from '../common/disk.ts';
import { type LevelDatabase, readFigures } from '../common/leveldb.ts';

/** How fast; see `LEVEL_STORE_DEFAULTS`. */
export interface RemovalOptions {
  readonly clearRowsMax: number;
  readonly clearPauseMs: number;
  readonly clearLevel0FilesMax: number;
  readonly clearBytesPerSecond: number;
  readonly reclaimBytes: number;
  readonly reclaimBytesMin: number;
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

/** Halvings after which a part may be longer: what its keys have in common takes eight for each byte. */
const CUT_STEPS_MAX = 1_000;

/** One range on its way out. */
export class RangeRemoval {
  readonly #database: LevelDatabase;
  readonly #options: RemovalOptions;
  readonly #host: RemovalHost;
  /** Where what is removed and not given back yet begins, and how much of it there was, bytes. */
  #owedFrom: Uint8Array = new Uint8Array(0);
  #owedBytes = 0;

  constructor(database: LevelDatabase, options: RemovalOptions, host: RemovalHost) {
    this.#database = database;
    this.#options = options;
    this.#host = host;
  }

  /** Resolves when the range is empty and its space is free. Rejects with DiskError, also when the store is closed meanwhile. */
  async run(from: Uint8Array, to: Uint8Array): Promise<void> {
    this.#owedFrom = from;
    for (let cursor = from; Buffer.compare(cursor, to) < 0; ) {
      await this.#turn();
      const began = performance.now();
      const end = await this.#endOfPart(cursor, to);
      // Asked for before its rows are gone.
      const bytes = await this.#database.approximateSize(cursor, end);
      await this.#removeRows(cursor, end);
      await this.#reclaim(end, bytes, end === to);
      const due = (bytes * 1_000) / this.#options.clearBytesPerSecond;
      await pause(Math.max(0, due - (performance.now() - began)));
      cursor = end;
    }
  }

  /** Where a part ends that begins here: the tables hold about `reclaimBytes` of it, or less up to the end of the range. */
  async #endOfPart(from: Uint8Array, to: Uint8Array): Promise<Uint8Array> {
    const { reclaimBytes } = this.#options;
    if ((await this.#database.approximateSize(from, to)) <= reclaimBytes) return to;
    let low = from;
    let high = to;
    for (let step = 0; step < CUT_STEPS_MAX; step++) {
      const middle = middleOf(low, high);
      if (middle === null) break;
      const bytes = await this.#database.approximateSize(from, middle);
      if (bytes > reclaimBytes) high = middle;
      else if (bytes >= reclaimBytes / 4) return middle;
      else low = middle;
    }
    return high;
  }

  async #removeRows(from: Uint8Array, to: Uint8Array): Promise<void> {
    let cursor = from;
    for (;;) {
      await this.#turn();
      const last = await this.#slice(cursor, to);
      if (last === null) return;
      // On from behind the last one, so that the tombstones are not walked over again.
      cursor = new Uint8Array(last.length + 1);
      cursor.set(last);
      await pause(this.#options.clearPauseMs);
    }
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
    const keys = await this.#database.keys({ gte: from, lt: to, limit: this.#options.clearRowsMax }).all();
    const last = keys.at(-1);
    if (last === undefined) return null;
    await this.#host.remove(keys);
    return last;
  }

  /** Gives back what was removed up to `to`, once that is worth it. What is less, LevelDB gets to by itself. */
  async #reclaim(to: Uint8Array, bytes: number, isLast: boolean): Promise<void> {
    const { reclaimBytes, reclaimBytesMin } = this.#options;
    this.#owedBytes += bytes;
    if (this.#owedBytes < (isLast ? reclaimBytesMin : reclaimBytes / 4)) return;
    await this.#turn();
    const began = performance.now();
    await this.#database.compactRange(this.#owedFrom, to);
    this.#owedFrom = to;
    this.#owedBytes = 0;
    await pause(3 * (performance.now() - began));
  }
}

/** Returns a key between two, about in the middle of all there could be; null: there is none that is not much longer. */
export function middleOf(from: Uint8Array, to: Uint8Array): Uint8Array | null {
  let common = 0;
  while (common < from.length && common < to.length && from[common] === to[common]) common++;
  const longest = Math.max(from.length, to.length) - common;
  // One byte more where they are neighbours otherwise.
  return between(from, to, common, longest) ?? between(from, to, common, longest + 1);
}

/** The same of keys that are equal up to `common`, at the precision of so many bytes behind that. */
function between(from: Uint8Array, to: Uint8Array, common: number, length: number): Uint8Array | null {
  if (length === 0) return null;
  const numberAt = (key: Uint8Array): bigint => {
    const bytes = Buffer.alloc(length);
    bytes.set(key.subarray(common));
    return BigInt(`0x${bytes.toString('hex')}`);
  };
  const middle = (numberAt(from) + numberAt(to)) / 2n;
  const tail = Buffer.from(middle.toString(16).padStart(2 * length, '0'), 'hex');
  const key = Buffer.concat([from.subarray(0, common), tail]);
  return Buffer.compare(from, key) < 0 && Buffer.compare(key, to) < 0 ? key : null;
}
