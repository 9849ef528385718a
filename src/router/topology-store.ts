/**
 * The interface to where the topology lives, and its semantics as a pure table. Implementations:
 * `embedded-topology-store.ts` (one machine), the simulator's, and one on etcd may follow. It knows the shape
 * of an entry but none of the rules of a record: those are the controller's (`controller/record-rules.ts`).
 * INVARIANT: commits are in one order, each all or nothing, and each gives the store the next revision. An
 * entry's own revision is chosen by its writer and only grows; entries are never deleted, so equal revisions
 * mean equal writes.
 * INVARIANT: `ok` is durable. `unknown` may have taken effect, may still take effect, or never will: read it
 * back.
 */
import { assert, type RingkeepError } from '../common/errors.ts';
import type { StoreChange, StoreEntry, StoreKey } from './controller/types.ts';

/** All of a store at one revision. */
export interface StoreState {
  /** Random, made with the store: another id is another store, whatever its revision. */
  readonly storeId: string;
  /** Number of commits so far. */
  readonly revision: number;
  readonly entries: ReadonlyMap<StoreKey, StoreEntry>;
}

/** One commit: what it wrote, and the store's revision after it. */
export interface StoreCommit {
  readonly revision: number;
  readonly entries: readonly StoreEntry[];
}

/**
 * How a compare-and-swap ended. `current` has the entries of its keys that exist, in the order of the
 * changes.
 */
export type CasAnswer =
  | { readonly status: 'ok'; readonly revision: number }
  | { readonly status: 'conflict'; readonly current: readonly StoreEntry[] }
  | { readonly status: 'unknown'; readonly error: RingkeepError };

/** Told once, never inside the call that it was given to. */
export type TopologyCallback<T> = (error: RingkeepError | null, result?: T) => void;

/** A linearizable store of entries. Calls take effect in call order unless their outcome is unknown. */
export interface TopologyStore {
  /** Reads everything. */
  load(done: TopologyCallback<StoreState>): void;
  /** Reads the entries of `keys` that exist, at one revision, in the order of `keys`. */
  read(keys: readonly StoreKey[], done: TopologyCallback<readonly StoreEntry[]>): void;
  /**
   * Writes all entries of `changes` if every key is at its expected revision (0: absent), else none. Keys are
   * distinct. A new entry's revision is above the expected one; a partition's value carries the same revision
   * as its entry.
   */
  compareAndSwap(changes: readonly StoreChange[], done: (answer: CasAnswer) => void): void;
  /**
   * Tells every commit after this call, each once, in order; returns a function that ends it. To follow the
   * store: watch, load, and skip the commits whose revision the loaded state has already.
   */
  watch(listener: (commit: StoreCommit) => void): () => void;
  /** Finishes what was called before, then lets go of the storage. Later calls fail with SHUTTING_DOWN. */
  close(done: TopologyCallback<void>): void;
}

/** The semantics of a topology store, without durability and time. */
export class TopologyTable {
  readonly storeId: string;
  #revision: number;
  readonly #entries: Map<StoreKey, StoreEntry>;

  /** Creates a table that holds `state`, by copy. */
  constructor(state: StoreState) {
    this.storeId = state.storeId;
    this.#revision = state.revision;
    this.#entries = new Map(state.entries);
  }

  /** Returns everything, as a copy that later commits do not change. */
  state(): StoreState {
    return { storeId: this.storeId, revision: this.#revision, entries: new Map(this.#entries) };
  }

  /** See `TopologyStore.read`. */
  read(keys: readonly StoreKey[]): StoreEntry[] {
    return keys.map((key) => this.#entries.get(key)).filter((entry) => entry !== undefined);
  }

  /**
   * Decides one compare-and-swap and, if it holds, commits it. Throws AssertionError on malformed changes.
   */
  compareAndSwap(changes: readonly StoreChange[]): {
    readonly answer: Exclude<CasAnswer, { status: 'unknown' }>;
    readonly commit: StoreCommit | null;
  } {
    checkChanges(changes);
    const holds = changes.every(
      ({ expectedRevision, entry }) => (this.#entries.get(entry.key)?.revision ?? 0) === expectedRevision,
    );
    if (!holds) {
      const current = this.read(changes.map(({ entry }) => entry.key));
      return { answer: { status: 'conflict', current }, commit: null };
    }
    for (const { entry } of changes) this.#entries.set(entry.key, entry);
    this.#revision += 1;
    return {
      answer: { status: 'ok', revision: this.#revision },
      commit: { revision: this.#revision, entries: changes.map(({ entry }) => entry) },
    };
  }
}

/** Asserts that `changes` are well-formed: a caller that builds others has a bug. */
export function checkChanges(changes: readonly StoreChange[]): void {
  assert(changes.length > 0, 'a compare-and-swap changes something');
  const keys = new Set(changes.map(({ entry }) => entry.key));
  assert(keys.size === changes.length, 'a compare-and-swap names each key once');
  for (const { expectedRevision, entry } of changes) {
    assert(
      Number.isSafeInteger(expectedRevision) && expectedRevision >= 0,
      'an expected revision is an index',
    );
    assert(Number.isSafeInteger(entry.revision), 'a revision is a safe integer');
    assert(entry.revision > expectedRevision, `${entry.key}: a revision grows with every write`);
    assert(isEntry(entry), `${entry.key}: the value belongs to the key`);
  }
}

/** Returns whether the parts of an entry agree: a stored entry that does not is damaged. */
export function isEntry(entry: StoreEntry): boolean {
  if (entry.key === 'cluster') return 'clusterId' in entry.value;
  if ('partition' in entry.value) {
    return entry.key === `partition/${entry.value.partition}` && entry.value.revision === entry.revision;
  }
  return 'incarnation' in entry.value && entry.key === `node/${entry.value.id}`;
}
