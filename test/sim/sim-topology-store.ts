/**
 * The topology store of simulated clusters: `TopologyTable` on virtual time, with the troubles that a remote
 * store has. A compare-and-swap takes effect at some time after the call, is answered later still, and may be
 * answered `unknown` whether it has taken effect, never will, or will only after the answer.
 * INVARIANT: deterministic, and as weak as `TopologyStore` allows; never weaker, save through `restore`.
 */
import { assert, RingkeepError } from '../../src/common/errors.ts';
import type { StoreChange, StoreEntry, StoreKey } from '../../src/router/controller/types.ts';
import {
  type CasAnswer,
  checkChanges,
  type StoreCommit,
  type StoreState,
  type TopologyCallback,
  type TopologyStore,
  TopologyTable,
} from '../../src/router/topology-store.ts';

/** What becomes of one compare-and-swap. All but `normal` are answered `unknown`. */
export type Fate = 'normal' | 'lost' | 'applied' | 'applied-late';

/** What the store needs from the simulator, and how it is to behave. */
export interface SimTopologyStoreOptions {
  /** Runs `fn` after `delayMs` of virtual time, never inside this call. */
  schedule(delayMs: number, fn: () => void): void;
  /** Returns a number in [0, 1). */
  random(): number;
  readonly storeId?: string;
  /** Mean time of each of the two ways, in virtual ms. */
  readonly delayMs?: number;
  /** Decides at the call; without it every one is `normal`. */
  fate?(changes: readonly StoreChange[]): Fate;
  /** Told at the moment of every commit, before anybody else: for invariants. */
  committed?(commit: StoreCommit): void;
}

const UNAVAILABLE = 'the topology store cannot be reached';

/** How much later than usual a late write takes effect. */
const LATE_FACTOR = 20;

/** See the head of this file. Several controllers share one object. */
export class SimTopologyStore implements TopologyStore {
  /**
   * While true, calls that have not taken effect fail: reads with UNAVAILABLE, writes unapplied and
   * `unknown`.
   */
  unavailable = false;
  readonly #options: SimTopologyStoreOptions;
  readonly #delayMs: number;
  #table: TopologyTable;
  #life = 0;
  #closed = false;
  /**
   * Effects of calls in call order: an earlier call never takes effect after a later one, save when `applied-
   * late`.
   */
  readonly #effects: (() => void)[] = [];
  readonly #watches = new Set<(commit: StoreCommit) => void>();

  constructor(options: SimTopologyStoreOptions) {
    this.#options = options;
    this.#delayMs = options.delayMs ?? 2;
    const storeId = options.storeId ?? 'sim-store';
    this.#table = new TopologyTable({ storeId, revision: 0, entries: new Map() });
  }

  load(done: TopologyCallback<StoreState>): void {
    this.#read(() => this.#table.state(), done);
  }

  read(keys: readonly StoreKey[], done: TopologyCallback<readonly StoreEntry[]>): void {
    this.#read(() => this.#table.read(keys), done);
  }

  compareAndSwap(changes: readonly StoreChange[], done: (answer: CasAnswer) => void): void {
    checkChanges(changes);
    // Copied as by encoding, so that nobody can change an entry of the store through what was handed in.
    const own = structuredClone(changes);
    const fate = this.#options.fate?.(changes) ?? 'normal';
    const answer = (value: CasAnswer): void => this.#later(this.#delay(), () => done(value));
    this.#inOrder(() => {
      if (this.#closed) {
        answer(unknown('SHUTTING_DOWN', 'the topology store is closed'));
      } else if (this.unavailable || fate === 'lost') {
        answer(unknown('UNAVAILABLE', UNAVAILABLE));
      } else if (fate === 'applied-late') {
        this.#later(LATE_FACTOR * this.#delay(), () => this.#apply(own));
        answer(unknown('DEADLINE_EXCEEDED', 'no answer in time'));
      } else {
        const outcome = this.#apply(own);
        answer(fate === 'normal' ? outcome : unknown('DEADLINE_EXCEEDED', 'no answer in time'));
      }
    });
  }

  watch(listener: (commit: StoreCommit) => void): () => void {
    let waiting: StoreCommit[] = [];
    const own = (commit: StoreCommit): void => {
      waiting.push(commit);
      // One event per commit, each taking the oldest: random delays cannot change the order.
      this.#later(this.#delay(), () => {
        const next = waiting.shift();
        if (next !== undefined) listener(next);
      });
    };
    this.#watches.add(own);
    return () => {
      this.#watches.delete(own);
      waiting = [];
    };
  }

  close(done: TopologyCallback<void>): void {
    assert(!this.#closed, 'a topology store is closed once');
    // In its turn, so that calls before this one still take effect.
    this.#inOrder(() => {
      this.#closed = true;
      this.#later(this.#delay(), () => done(null));
    });
  }

  /** Returns what the store holds now: for invariants and as a backup. */
  state(): StoreState {
    return this.#table.state();
  }

  /**
   * Puts an older state back, as an operator does from a backup: calls under way are never answered, watches
   * end.
   */
  restore(backup: StoreState): void {
    this.#life += 1;
    this.#table = new TopologyTable(backup);
    this.#effects.length = 0;
    this.#watches.clear();
    this.#closed = false;
  }

  #read<T>(read: () => T, done: TopologyCallback<T>): void {
    this.#inOrder(() => {
      if (this.#closed || this.unavailable) {
        const [code, text] = this.#closed
          ? (['SHUTTING_DOWN', 'the topology store is closed'] as const)
          : (['UNAVAILABLE', UNAVAILABLE] as const);
        this.#later(this.#delay(), () => done(new RingkeepError(code, text)));
        return;
      }
      const result = read();
      this.#later(this.#delay(), () => done(null, result));
    });
  }

  #apply(changes: readonly StoreChange[]): CasAnswer {
    const { answer, commit } = this.#table.compareAndSwap(changes);
    if (commit !== null) {
      this.#options.committed?.(commit);
      for (const watch of this.#watches) watch(commit);
    }
    return answer;
  }

  #inOrder(effect: () => void): void {
    this.#effects.push(effect);
    this.#later(this.#delay(), () => this.#effects.shift()?.());
  }

  #later(delayMs: number, fn: () => void): void {
    const life = this.#life;
    this.#options.schedule(delayMs, () => {
      if (life === this.#life) fn();
    });
  }

  #delay(): number {
    return this.#delayMs * 2 * this.#options.random();
  }
}

function unknown(code: 'UNAVAILABLE' | 'DEADLINE_EXCEEDED' | 'SHUTTING_DOWN', text: string): CasAnswer {
  return { status: 'unknown', error: new RingkeepError(code, text, 'unknown') };
}
