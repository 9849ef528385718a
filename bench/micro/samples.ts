/** What the steps are measured with: values of 100 bytes, in batches as they occur under load. */
import type { Request } from '#src/common/wire/messages.ts';

/** Operations of a batch. */
export const BATCH = 64;
export const VALUE = Buffer.alloc(100, 'v');
/** Log time of sessions, ms. */
export const SESSION_TIME = 1_000_000;

const CLIENT = Buffer.alloc(16, 7);

/** Returns the key of record `number`. */
export function keyOf(number: number): Buffer {
  return Buffer.from(`user${String(number).padStart(12, '0')}`);
}

/** Returns a put as a client sends it. */
export function putRequest(sequence: number): Request {
  return {
    id: sequence,
    timeLeftMs: 10_000,
    keyspace: 'bench',
    key: keyOf(sequence % 100_000),
    clientId: CLIENT,
    sequence,
    lowWater: Math.max(1, sequence - BATCH),
    sessionTime: SESSION_TIME,
    attempt: 1,
    ack: 'ACK_QUORUM',
    traceParent: '',
    operation: 'put',
    put: { value: VALUE, codec: 1, ttlMs: 0 },
  };
}

/** Returns BATCH of something, by their numbers. */
export function batchOf<T>(make: (number: number) => T): T[] {
  return Array.from({ length: BATCH }, (_, number) => make(number + 1));
}
