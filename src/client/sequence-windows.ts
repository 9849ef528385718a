/**
 * The deduplication sequences of all partitions of one client, and the writes that wait because their
 * partition's window is full. Gives sequences out and takes them back; sends nothing.
 * Writes that wait for every voter have a session of their own, under another client id: one of them can wait as
 * long as a voter is away, and would hold back the low water, and with it everything behind, of the others. Of a write at
 * the default level, only its answer tells which one that is, so it goes by the last answer in its keyspace.
 * INVARIANT: a write holds a sequence from its admission to its end, through all attempts.
 */
import { NO_BYTES } from '../common/bytes.ts';
import type { Operation, Receipt } from './operation.ts';
import { PartitionSequences } from './sequences.ts';

interface Window {
  readonly sequences: PartitionSequences;
  /** Of those in `waiting` from `head` on, how many have ended. */
  ended: number;
  /** Writes without a sequence, oldest first, from `head` on; those that ended meanwhile are skipped. */
  waiting: Operation[];
  head: number;
}

/** Ended places of a queue that are kept before it is copied. */
const COMPACT_AT = 1_024;

/** Sequences per partition, and per session where there are two. */
export class SequenceWindows {
  readonly #windows = new Map<number, Window>();
  readonly #wholeClientId: Uint8Array;
  /** Keyspaces whose default was `all` when last heard of. */
  readonly #wholeKeyspaces = new Set<string>();

  /** `wholeClientId`: 16 random bytes, the client id of writes that wait for every voter. */
  constructor(wholeClientId: Uint8Array) {
    this.#wholeClientId = wholeClientId;
  }

  /** Places that writes without a sequence take, over all partitions. */
  get waiting(): number {
    let count = 0;
    for (const { waiting, head } of this.#windows.values()) count += waiting.length - head;
    return count;
  }

  /**
   * Sees to it that a write has a sequence. Returns false if it has to wait; `next` hands it out in its turn.
   */
  admit(operation: Operation): boolean {
    if (operation.sequence !== 0) return true;
    if (operation.sequences === null) operation.isWhole = this.#isWhole(operation);
    const window = this.#of(operation);
    operation.sequences = window.sequences;
    operation.sequence = window.sequences.acquire();
    if (operation.sequence !== 0) return true;
    operation.state = 'window';
    window.waiting.push(operation);
    return false;
  }

  /** Takes the sequence of an ended write back; returns whether others wait for one. */
  release(operation: Operation): boolean {
    if (operation.sequences === null) return false;
    const window = this.#of(operation);
    if (operation.sequence === 0) {
      window.ended += 1;
      if (window.ended >= COMPACT_AT && window.ended > (window.waiting.length - window.head) / 2) {
        window.waiting = window.waiting.slice(window.head).filter(({ state }) => state === 'window');
        window.head = 0;
        window.ended = 0;
      }
      return false;
    }
    operation.sequences.end(operation.sequence);
    return window.head < window.waiting.length;
  }

  /**
   * Returns the next write that waits for what this one has had, to be admitted now, or null while none waits or the
   * window is full.
   */
  next(ended: Operation): Operation | null {
    const window = this.#of(ended);
    while (window.head < window.waiting.length && window.sequences.available) {
      const operation = window.waiting[window.head]!;
      window.head += 1;
      if (operation.state === 'window') return operation;
      window.ended -= 1;
    }
    if (window.head === window.waiting.length || window.head >= COMPACT_AT) {
      window.waiting = window.waiting.slice(window.head);
      window.head = 0;
    }
    return null;
  }

  /**
   * Takes a write's sequence and session time away, for fresh ones: its leader has refused the session as too
   * old.
   */
  renew(operation: Operation): void {
    operation.sequences!.end(operation.sequence);
    operation.sequences!.forget(operation.sessionTime);
    operation.sequence = 0;
    operation.sessionTime = 0;
    operation.attempt = 0;
  }

  /** Takes note of the level that an answer tells: what later writes at the default level will most likely wait for. */
  told({ spec }: Operation, durability: Receipt['durability']): void {
    if (spec.ack !== 'ACK_DEFAULT') return;
    if (durability === 'all') this.#wholeKeyspaces.add(spec.keyspace);
    else this.#wholeKeyspaces.delete(spec.keyspace);
  }

  #isWhole({ spec }: Operation): boolean {
    return spec.ack === 'ACK_ALL' || (spec.ack === 'ACK_DEFAULT' && this.#wholeKeyspaces.has(spec.keyspace));
  }

  #of({ partition, isWhole: whole }: Operation): Window {
    const name = partition * 2 + (whole ? 1 : 0);
    let window = this.#windows.get(name);
    if (window === undefined) {
      const sequences = new PartitionSequences(whole ? this.#wholeClientId : NO_BYTES);
      window = { sequences, waiting: [], head: 0, ended: 0 };
      this.#windows.set(name, window);
    }
    return window;
  }
}
