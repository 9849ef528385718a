/**
 * Deduplication on the client's side, one `PartitionSequences` per client and partition: which sequence
 * numbers are unfinished, and which log time proves to the leader that the session may be opened. Pure.
 * INVARIANT: a sequence belongs to one write for ever; all attempts of the write carry it.
 * INVARIANT: every sequence below `lowWater` has ended for its caller; `next - lowWater <=
 * SESSION_SEQUENCES_MAX`, so that the server's set of seen sequences is bounded.
 * INVARIANT: the session time of a write that may have been applied is never newer than the moment at which
 * its session can first have existed. So if that session has expired, the retry is refused, and is never
 * applied again (G4).
 * Source: DESIGN section 4, deduplication.
 */
import { NO_BYTES } from '../common/bytes.ts';
import { assert } from '../common/errors.ts';
import { SESSION_SEQUENCES_MAX } from '../common/limits.ts';

/** What a write remembers of its deduplication session between attempts. */
export interface SessionPin {
  /** Sequence, or 0 while it has none. */
  sequence: number;
  /** Log time in ms that all attempts carry, or 0 while no leader has told one. */
  sessionTime: number;
  /** Generation of the partition's log time when the first attempt was made. */
  sessionGeneration: number;
  /** Whether an attempt may have taken effect. */
  maybeApplied: boolean;
}

/** Sequences and log time of one partition. */
export class PartitionSequences {
  /** The session's client id, where it is not that of the connection; else empty. */
  readonly clientId: Uint8Array;
  #next = 1;
  #lowWater = 1;
  #unfinished = 0;
  /** Ended ones above the low-water mark. */
  readonly #ended = new Set<number>();
  /** Newest log time told, or 0. */
  #logTime = 0;
  /** First log time told since it was last unknown: no session of this generation is older. */
  #floor = 0;
  #generation = 1;

  constructor(clientId: Uint8Array = NO_BYTES) {
    this.clientId = clientId;
  }

  /** Smallest sequence that has not ended. */
  get lowWater(): number {
    return this.#lowWater;
  }

  /** Sequences given out and not ended, at most half of SESSION_SEQUENCES_MAX. */
  get unfinished(): number {
    return this.#unfinished;
  }

  /** Newest log time that a leader of this partition has told, in ms; 0 if none is known. */
  get logTime(): number {
    return this.#logTime;
  }

  /** Whether the window has room for another unfinished sequence. */
  get available(): boolean {
    const span = this.#next - this.#lowWater;
    return this.#unfinished < SESSION_SEQUENCES_MAX / 2 && span < SESSION_SEQUENCES_MAX;
  }

  /**
   * Gives out the next sequence, or 0 if the window is full: then the write waits until another one has
   * ended.
   */
  acquire(): number {
    if (!this.available) return 0;
    this.#unfinished += 1;
    this.#next += 1;
    return this.#next - 1;
  }

  /** Marks a sequence as ended: its caller has its answer and nobody will send it again. */
  end(sequence: number): void {
    assert(
      sequence >= this.#lowWater && sequence < this.#next,
      'a sequence ends once, after it was given out',
    );
    assert(!this.#ended.has(sequence), 'a sequence ends once');
    this.#unfinished -= 1;
    this.#ended.add(sequence);
    while (this.#ended.delete(this.#lowWater)) this.#lowWater += 1;
  }

  /** Notes a log time that a leader told, in ms; the newest is kept. */
  observe(logTime: number): void {
    if (logTime <= 0) return;
    if (this.#logTime === 0) this.#floor = logTime;
    if (logTime > this.#logTime) this.#logTime = logTime;
  }

  /**
   * Forgets the log time after a leader has refused `sessionTime` as too old, unless a newer one is known.
   */
  forget(sessionTime: number): void {
    if (this.#logTime === 0 || this.#logTime > sessionTime) return;
    this.#logTime = 0;
    this.#floor = 0;
    this.#generation += 1;
  }

  /**
   * Sets the session time of a write before an attempt. Returns false if no time is safe any more: the write
   * may have been applied in a session that has expired since, so that it ends as unknown.
   */
  pin(write: SessionPin): boolean {
    if (write.sessionTime !== 0) return true;
    if (!write.maybeApplied) {
      write.sessionTime = this.#logTime;
      write.sessionGeneration = this.#generation;
      return true;
    }
    // An earlier attempt without a time may have been applied, but only in a session opened with a time of
    // its own
    // generation, hence not before the floor.
    if (write.sessionGeneration !== this.#generation) return false;
    write.sessionTime = this.#floor;
    return true;
  }
}
