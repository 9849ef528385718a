/** What the operations of one keyspace have in common, and small types of their results. */
import { assert, RingkeepError } from '../common/errors.ts';
import type { CodecName } from './codec.ts';
import type { Engine } from './engine.ts';
import type { Receipt } from './operation.ts';
import type { Ack } from './options.ts';
import type { Session } from './session.ts';

/** A key as its caller writes it; text is UTF-8. */
export type Key = string | Uint8Array;

/** What became of one entry of `putMany`. */
export type PutResult =
  | { readonly key: Key; readonly ok: true; readonly receipt: Receipt }
  | { readonly key: Key; readonly ok: false; readonly error: RingkeepError };

/** What the operations of one keyspace share. */
export interface KeyspaceContext {
  readonly engine: Engine;
  /** Empty: the default keyspace. */
  readonly name: string;
  readonly codec: CodecName;
  /** Null: the cluster's default. */
  readonly ack: Ack | null;
  readonly requestTimeoutMs: number;
  /** What takes note of every answer, unless a call names another one. */
  readonly session: Session;
}

/** Turns what a check threw into a rejection, so that callers have one way to hear of errors. */
export function refused(error: unknown): Promise<never> {
  assert(error instanceof RingkeepError, `checking arguments threw ${String(error)}`);
  return Promise.reject(error);
}
