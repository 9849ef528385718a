/**
 * The keys that are asked for most, in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi, "Efficient computation of frequent and
 * top-k elements in data streams", ICDT 2005). A key that is not among the counted ones takes the place of the one with the least count,
 * and inherits that count as its error.
 * INVARIANT: of `n` operations since the start (halvings included), no key with more than n / capacity is left out.
 * INVARIANT: what is told of a key is at most what there was, and at most `error` less.
 * The heap is lazy: a hit only counts; the order is put right when the least one is looked for. So hits are cheap, and many misses in a row
 * meet a heap that is in order.
 */
import { assert } from '../../common/errors.ts';

/** A key and what was counted of it; halved as the sketch is. */
export interface KeyCount {
  readonly key: string;
  readonly reads: number;
  readonly writes: number;
  /** Requests among them that only the leader answers by reading. */
  readonly led: number;
  /** What it may have had before it was counted. */
  readonly error: number;
}

/** The sketch. */
export class TopKeys {
  private readonly slots = new Map<string, number>();
  private readonly keys: string[] = [];
  private readonly reads: Float64Array;
  private readonly writes: Float64Array;
  private readonly led: Float64Array;
  private readonly errors: Float64Array;
  /** Slots, a heap by `ranks`. */
  private readonly heap: Int32Array;
  /** What the heap believes of each slot: the sum of its counts, or less. */
  private readonly ranks: Float64Array;

  /** `capacity`: keys that are counted, 1 or more. */
  constructor(capacity: number) {
    assert(capacity >= 1, 'keys are counted');
    this.reads = new Float64Array(capacity);
    this.writes = new Float64Array(capacity);
    this.led = new Float64Array(capacity);
    this.errors = new Float64Array(capacity);
    this.heap = new Int32Array(capacity);
    this.ranks = new Float64Array(capacity);
  }

  /** Counts operations on a key. */
  add(key: string, reads: number, writes: number, led = 0): void {
    const slot = this.slots.get(key) ?? this.admit(key);
    this.reads[slot]! += reads;
    this.writes[slot]! += writes;
    this.led[slot]! += led;
  }

  /** Time passes: everything counts half from now on. */
  halve(): void {
    for (const counts of [this.reads, this.writes, this.led, this.errors, this.ranks])
      for (let slot = 0; slot < this.keys.length; slot += 1) counts[slot]! /= 2;
  }

  /** Returns the keys with the most operations that have certainly been there, at most `limit` of them, the first one first. */
  top(limit: number): KeyCount[] {
    const sums = this.keys.map((_, slot) => this.reads[slot]! + this.writes[slot]!);
    const slots = [...sums.keys()].sort((one, other) => sums[other]! - sums[one]!);
    return slots.slice(0, limit).map((slot) => this.countOf(slot));
  }

  /** Returns what was counted of a key; null: it is not among those that are. */
  of(key: string): KeyCount | null {
    const slot = this.slots.get(key);
    if (slot === undefined) return null;
    return this.countOf(slot);
  }

  /** Returns the operations of the key with the most. */
  most(): number {
    let most = 0;
    for (let slot = 0; slot < this.keys.length; slot += 1)
      most = Math.max(most, this.reads[slot]! + this.writes[slot]!);
    return most;
  }

  /** Returns the requests of the key with the most that only the leader answers. */
  mostLed(): number {
    let most = 0;
    for (let slot = 0; slot < this.keys.length; slot += 1) most = Math.max(most, this.led[slot]!);
    return most;
  }

  private countOf(slot: number): KeyCount {
    return {
      ...{ key: this.keys[slot]!, reads: this.reads[slot]!, writes: this.writes[slot]! },
      ...{ led: this.led[slot]!, error: this.errors[slot]! },
    };
  }

  private admit(key: string): number {
    const { keys, heap, slots } = this;
    if (keys.length < heap.length) {
      const slot = keys.length;
      keys.push(key);
      slots.set(key, slot);
      heap[slot] = slot;
      // It has nothing yet.
      this.raise(slot);
      return slot;
    }
    const slot = this.least();
    slots.delete(keys[slot]!);
    slots.set(key, slot);
    keys[slot] = key;
    this.errors[slot] = this.ranks[slot]!;
    this.reads[slot] = 0;
    this.writes[slot] = 0;
    this.led[slot] = 0;
    return slot;
  }

  private sumOf(slot: number): number {
    return this.reads[slot]! + this.writes[slot]! + this.errors[slot]!;
  }

  /** Returns the slot with the least sum. */
  private least(): number {
    for (;;) {
      const slot = this.heap[0]!;
      const sum = this.sumOf(slot);
      if (this.ranks[slot] === sum) return slot;
      this.ranks[slot] = sum;
      this.sink(0);
    }
  }

  private sink(from: number): void {
    const { heap, ranks } = this;
    const size = this.keys.length;
    const slot = heap[from]!;
    const rank = ranks[slot]!;
    let at = from;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= size) break;
      if (child + 1 < size && ranks[heap[child + 1]!]! < ranks[heap[child]!]!) child += 1;
      if (ranks[heap[child]!]! >= rank) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = slot;
  }

  private raise(from: number): void {
    const { heap, ranks } = this;
    const slot = heap[from]!;
    let at = from;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (ranks[heap[parent]!]! <= ranks[slot]!) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = slot;
  }
}
