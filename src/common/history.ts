/**
 * What a history holds: one event per operation, with what its caller asked and was told. The client records events, the
 * checker judges them, and a file has one per line (docs/HISTORIES.md). Types only; `toJson` (text.ts) writes an event.
 * INVARIANT: every write that may ever have been sent is in the history; reads may be missing.
 */
import type { ErrorCode, Outcome } from './errors.ts';

/** What a write was conditional on. Exactly one field is set. */
export interface HistoryCondition {
  readonly ifAbsent?: true;
  readonly ifExists?: true;
  /** The key holds a value of this version. */
  readonly ifVersion?: number;
}

/** What an operation came to. */
export interface HistoryOutput {
  /** `ok`: it succeeded, which includes a condition that did not hold; else the outcome of its error. */
  readonly result: 'ok' | Outcome;
  /** Of the error. */
  readonly code?: ErrorCode;
  /** False: the condition did not hold, so nothing was written. Writes with a condition only. */
  readonly applied?: boolean;
  /** Version written, or of the value read; if `applied` is false, of the value that was there, 0 for none. */
  readonly version?: number;
  /** What a read returned (none if `found` is false), or a counter after its increment. */
  readonly value?: unknown;
  /** Reads only. */
  readonly found?: boolean;
  /** Writes only: what it was acknowledged at. */
  readonly durability?: 'leader' | 'quorum' | 'all';
}

/**
 * Kinds of operations in a history. `touch` gives what is there another time to live. `expire` is nobody's call: what the
 * checker makes of a time to live, the end of a value (`input`, or any if there is none) at some time after `call`, or never.
 */
export type HistoryOperation = 'get' | 'put' | 'delete' | 'increment' | 'touch' | 'expire';

/** One operation of a history. Times in microseconds of one monotonic clock for the whole history. */
export interface HistoryEvent {
  /** Who called; hexadecimal client id in recordings of the SDK. */
  readonly client: string;
  /** Empty: the default keyspace. */
  readonly keyspace: string;
  /** UTF-8 text of the key; hexadecimal after `0x` if it is not UTF-8 or begins so. */
  readonly key: string;
  readonly op: HistoryOperation;
  /** The value of a put as a reader would get it, or the delta of an increment. */
  readonly input?: unknown;
  /** Increments without a result (`add`), whose counter may be salted: versions of such a key mean nothing. */
  readonly spread?: true;
  readonly condition?: HistoryCondition;
  /** Writes: the time to live that they gave, ms. None: the value stays. */
  readonly ttlMs?: number;
  /** Acknowledgement level that was asked for; writes only, none if the default counted. */
  readonly ack?: 'leader' | 'quorum' | 'all';
  /** Read level; none is `linearizable`. */
  readonly level?: 'linearizable' | 'quorum' | 'session' | 'stale';
  readonly call: number;
  /** Null: it had not ended when the recording did. */
  readonly return: number | null;
  /** Null exactly if `return` is. */
  readonly output: HistoryOutput | null;
}
