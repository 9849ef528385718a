/**
 * What the state machine knows of values without asking the store: decided writes that the store has not finished, and values
 * that were fetched for decisions that depend on them. It decides nothing.
 * INVARIANT: `overlay` holds exactly the decided writes that the store has not finished, so a value is looked for there first.
 * INVARIANT: a fetched value is the current one: it is forgotten when a write of its key has reached the store, and what was
 * being read when its key was written is not kept.
 */
import { NO_BYTES, toLatin1 } from '../../common/bytes.ts';
import type { DiskError } from '../../common/disk.ts';
import { assert } from '../../common/errors.ts';
import type { Need } from './execute.ts';
import type { StoredValue } from './layout.ts';

interface Written {
  readonly stored: StoredValue | null;
  readonly index: number;
}

interface Fetch {
  /** Its key was written meanwhile. */
  stale: boolean;
  /** The bytes of the value are wanted, too. */
  whole: boolean;
}

/** What the values are read with. */
export interface ValueSource {
  /** Reads a row of the store, ahead of what clients wait for. */
  read(key: Uint8Array, done: (error: DiskError | null, bytes: Uint8Array | undefined) => void): void;
  /** Returns the verified value; `damaged` after it has said so to whom it concerns. */
  decode(key: Uint8Array, bytes: Uint8Array | undefined): StoredValue | null | 'damaged';
  readFailed(error: DiskError): void;
  /** A value that was asked for is at hand. */
  arrived(): void;
}

/** The values of one copy of a partition that are at hand. */
export class KnownValues {
  private readonly source: ValueSource;
  /** Decided writes by user key (latin1) that the store has not finished. */
  private readonly overlay = new Map<string, Written>();
  /** Values fetched for undecided writes; without their bytes, unless these were wanted. Null: absent. */
  private readonly bases = new Map<string, StoredValue | null>();
  private readonly fetching = new Map<string, Fetch>();

  constructor(source: ValueSource) {
    this.source = source;
  }

  /** The decided write of a key that the store has not finished. */
  unfinished(key: Uint8Array): Written | undefined {
    return this.overlay.get(toLatin1(key));
  }

  /** Whether all that is needed is at hand; what is not is being fetched then. */
  areKnown(needs: readonly Need[]): boolean {
    let known = true;
    for (const { key, whole } of needs) if (!this.isKnown(key, whole)) known = false;
    return known;
  }

  private isKnown(key: Uint8Array, whole: boolean): boolean {
    const name = toLatin1(key);
    if (this.overlay.has(name)) return true;
    const base = this.bases.get(name);
    if (base !== undefined && (!whole || base === null || base.value !== NO_BYTES)) return true;
    this.fetch(name, key, whole);
    return false;
  }

  private fetch(name: string, key: Uint8Array, whole: boolean): void {
    const running = this.fetching.get(name);
    if (running !== undefined) {
      running.whole ||= whole;
      return;
    }
    const fetch: Fetch = { stale: false, whole };
    this.fetching.set(name, fetch);
    this.source.read(key, (error, bytes) => {
      this.fetching.delete(name);
      if (error !== null) return this.source.readFailed(error);
      if (!fetch.stale) {
        const value = this.source.decode(key, bytes);
        if (value === 'damaged') return;
        const keepsBytes = value === null || value.kind === 'counter' || fetch.whole;
        this.bases.set(name, keepsBytes ? value : { ...value, value: NO_BYTES });
      }
      this.source.arrived();
    });
  }

  /** The present value of a key that is known; its bytes only if they were asked for. */
  current(key: Uint8Array): StoredValue | null {
    const name = toLatin1(key);
    const written = this.overlay.get(name);
    if (written !== undefined) return written.stored;
    const base = this.bases.get(name);
    assert(base !== undefined, 'a write that depends on a value is decided with it known');
    return base;
  }

  /** Takes note of a decided write. */
  write(name: string, index: number, stored: StoredValue | null): void {
    this.overlay.set(name, { stored, index });
    const fetch = this.fetching.get(name);
    if (fetch !== undefined) fetch.stale = true;
  }

  /** The store has finished the writes of these keys (latin1), up to `index`. */
  finished(names: Iterable<string>, index: number): void {
    for (const name of names) {
      const written = this.overlay.get(name);
      if (written === undefined || written.index > index) continue;
      this.overlay.delete(name);
      this.bases.delete(name);
    }
  }

  /** Drops what was fetched for an entry that is decided. */
  release(needs: readonly Need[]): void {
    for (const { key } of needs) this.bases.delete(toLatin1(key));
  }

  /** Forgets what was fetched for entries that were truncated; what is still needed is fetched again. */
  forgetFetched(): void {
    this.bases.clear();
  }
}
