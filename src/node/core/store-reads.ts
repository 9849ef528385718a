/**
 * How many values a node reads from its store at a time. A value may have megabytes, and its length is known only once
 * it is in memory: so it is the number of reads that bounds what they hold (G9), and what nobody waits for any more is
 * not read at all. Pure: it starts reads as store effects.
 * INVARIANT: at most `most` reads are with the store; the others start in the order in which they came,
 * urgent ones first.
 */
import { assert } from '../../common/errors.ts';
import type { StoreEffect } from './effects.ts';

/** One value to be read. */
export type StoreRead = Extract<StoreEffect, { kind: 'get' }>;

/** Places of started reads before they are freed. */
const TRIM = 4_096;

interface Queued {
  readonly read: StoreRead;
  readonly wanted: () => boolean;
}

/** First in, first out, without moving everything at each step. */
class Queue {
  private items: Queued[] = [];
  private head = 0;

  push(item: Queued): void {
    this.items.push(item);
  }

  shift(): Queued | undefined {
    const item = this.items[this.head];
    if (item === undefined) return undefined;
    this.head++;
    if (this.head === this.items.length || this.head >= TRIM) {
      this.items = this.items.slice(this.head);
      this.head = 0;
    }
    return item;
  }
}

/** Queue of reads in front of the store. */
export class StoreReads {
  private readonly most: number;
  private readonly start: (read: StoreRead) => void;
  private running = 0;
  private readonly urgent = new Queue();
  private readonly patient = new Queue();

  /** `start` hands a read to the store. */
  constructor(most: number, start: (read: StoreRead) => void) {
    assert(most >= 1, 'something is read');
    this.most = most;
    this.start = start;
  }

  /**
   * Reads a value for a client, now or later: as of the call or of a later state. If `wanted` says no when its turn has
   * come, it is dropped and its `done` is never called.
   */
  add(read: StoreRead, wanted: () => boolean): void {
    if (this.running < this.most) this.begin(read);
    else this.patient.push({ read, wanted });
  }

  /** Reads what the log cannot go on without, before everything that clients wait for. */
  addUrgent(read: StoreRead): void {
    if (this.running < this.most) this.begin(read);
    else this.urgent.push({ read, wanted: () => true });
  }

  private begin(read: StoreRead): void {
    this.running++;
    this.start({
      ...read,
      done: (error, value) => {
        this.running--;
        assert(this.running >= 0, 'a read ends once');
        this.next();
        read.done(error, value);
      },
    });
  }

  private next(): void {
    while (this.running < this.most) {
      const queued = this.urgent.shift() ?? this.patient.shift();
      if (queued === undefined) return;
      if (queued.wanted()) this.begin(queued.read);
    }
  }
}
