/**
 * The optimistic loop behind `update`: read, let the caller compute, write on the condition that nobody else has written
 * meanwhile, and again if somebody has. It holds no state and needs no lock.
 * INVARIANT: what was computed is written at most once: after a write with an unknown outcome nothing is computed anew, since
 * a second value would be built upon the first.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { RingkeepError } from '../common/errors.ts';
import type { Entry, Receipt } from './operation.ts';
import type { LivingOptions, PutOptions, ReadOptions } from './options.ts';

/** What an update came to. */
export interface UpdateResult<T> {
  /** What the key holds now, as far as this update knows: what was written, or what was read if nothing was. */
  readonly value: T | undefined;
  /** Of the write; null: the function returned `undefined`, so nothing was written. */
  readonly receipt: Receipt | null;
  /** Times the function was called. */
  readonly calls: number;
}

/** The operations that the loop is made of. */
export interface UpdateTarget<T> {
  getEntry(key: string | Uint8Array, options: ReadOptions): Promise<Entry<T> | undefined>;
  put(key: string | Uint8Array, value: T, options: PutOptions): Promise<Receipt>;
}

/** Longest pause before it is tried again, in ms. Half of it on average, so that many writers do not meet again. */
const PAUSE_MS_MAX = 100;

function pauseMs(calls: number): number {
  return Math.random() * Math.min(PAUSE_MS_MAX, 2 ** calls);
}

/** Runs the loop until a write has taken effect, the function wants none, or `deadline` (monotonic ms) has passed. */
export async function runUpdate<T>(
  target: UpdateTarget<T>,
  key: string | Uint8Array,
  compute: (current: T | undefined) => T | undefined | Promise<T | undefined>,
  options: LivingOptions,
  deadline: number,
): Promise<UpdateResult<T>> {
  const { ack, signal, session, ttlMs } = options;
  const left = (): ReadOptions => {
    const timeoutMs = Math.max(1, deadline - performance.now());
    const rest = {
      ...(signal === undefined ? {} : { signal }),
      ...(session === undefined ? {} : { session }),
    };
    return { timeoutMs, ...rest };
  };
  for (let calls = 1; ; calls++) {
    const entry = await target.getEntry(key, left());
    const value = await compute(entry?.value);
    if (value === undefined) return { value: entry?.value, receipt: null, calls };
    const condition = entry === undefined ? { ifAbsent: true } : { ifVersion: entry.version };
    const level = { ...(ack === undefined ? {} : { ack }), ...(ttlMs === undefined ? {} : { ttlMs }) };
    const receipt = await target.put(key, value, { ...left(), ...level, ...condition });
    if (receipt.applied) return { value, receipt, calls };
    const pause = pauseMs(calls);
    if (performance.now() + pause >= deadline) {
      const text = `others have written in each of the ${calls} times that it was tried`;
      throw new RingkeepError('DEADLINE_EXCEEDED', text, 'not_applied');
    }
    await wait(pause, signal);
  }
}

async function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch (cause) {
    throw new RingkeepError('CANCELLED', 'aborted by the caller', 'not_applied', { cause });
  }
}
