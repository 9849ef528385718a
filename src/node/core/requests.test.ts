/** What a node refuses before anything else, whatever client has sent it. */
import { describe, expect, it } from 'vitest';
import {
  BATCH_BYTES_MAX,
  BATCH_DEPENDING_MAX,
  BATCH_OPERATIONS_MAX,
  IDEMPOTENCY_KEY_BYTES_MAX,
} from '../../common/limits.ts';
import type { BatchItem, Request } from '../../common/wire/messages.ts';
import { checkRequest, requestBytes } from './requests.ts';

const VALUE_MAX = 1024 * 1024;

function batch(items: BatchItem[], fields: Partial<Request> = {}): Request {
  return {
    ...{ id: 1, timeLeftMs: 5, keyspace: '', key: Buffer.from('{t}'), clientId: Buffer.alloc(16, 1) },
    ...{ sequence: 1, lowWater: 1, sessionTime: 1, attempt: 1, ack: 'ACK_QUORUM', traceParent: '' },
    operation: 'batch',
    batch: { items },
    ...fields,
  };
}

const codeOf = (request: Request): string | undefined => checkRequest(request, VALUE_MAX)?.code;
const keyAt = (at: number): Buffer => Buffer.from(`{t}${String(at).padStart(4, '0')}`);
const remove = (at: number): BatchItem => ({ key: keyAt(at), operation: 'delete', delete: {} });
const put = (at: number, bytes: number): BatchItem => ({
  key: keyAt(at),
  operation: 'put',
  put: { value: Buffer.alloc(bytes), codec: 1, ttlMs: 0 },
});
const count = (at: number): BatchItem => ({
  key: keyAt(at),
  operation: 'increment',
  increment: { delta: 1, ttlMs: 0 },
});
const many = (length: number, make: (at: number) => BatchItem): BatchItem[] =>
  Array.from({ length }, (_, at) => make(at));
const absent = { kind: 'CONDITION_ABSENT', version: 0 } as const;

describe('a batch', () => {
  it('has at most so many operations, and so many that depend on values', () => {
    expect(codeOf(batch(many(BATCH_OPERATIONS_MAX, remove)))).toBeUndefined();
    expect(codeOf(batch(many(BATCH_OPERATIONS_MAX + 1, remove)))).toBe('BATCH_TOO_LARGE');
    expect(codeOf(batch(many(BATCH_DEPENDING_MAX, count)))).toBeUndefined();
    expect(codeOf(batch(many(BATCH_DEPENDING_MAX + 1, count)))).toBe('BATCH_TOO_LARGE');
    const checks = many(BATCH_DEPENDING_MAX + 1, (at) => ({
      key: keyAt(at),
      operation: 'check',
      check: {},
      condition: absent,
    }));
    expect(codeOf(batch(checks))).toBe('BATCH_TOO_LARGE');
  });

  it('has at most so many bytes of keys and values', () => {
    const rest = BATCH_BYTES_MAX / 8 - keyAt(0).byteLength;
    expect(codeOf(batch(many(8, (at) => put(at, rest))))).toBeUndefined();
    expect(codeOf(batch(many(8, (at) => put(at, at === 7 ? rest + 1 : rest))))).toBe('BATCH_TOO_LARGE');
    expect(codeOf(batch([put(0, VALUE_MAX + 1)]))).toBe('VALUE_TOO_LARGE');
    expect(codeOf(batch([{ ...remove(0), key: Buffer.alloc(0) }]))).toBe('KEY_TOO_LARGE');
  });

  it('names no key twice: both would be judged by what was there before', () => {
    expect(codeOf(batch([count(1), count(1)]))).toBe('INVALID_ARGUMENT');
    expect(codeOf(batch([count(1), count(2)]))).toBeUndefined();
  });

  it('has keys of one hash tag, that of the key it is sent by', () => {
    expect(codeOf(batch([remove(1), { ...remove(2), key: Buffer.from('{u}') }]))).toBe('CROSS_PARTITION');
    expect(codeOf(batch([remove(1)], { key: Buffer.from('other') }))).toBe('CROSS_PARTITION');
  });

  it('is made of operations that make sense', () => {
    const check: BatchItem = { key: keyAt(1), operation: 'check', check: {}, condition: absent };
    expect(codeOf(batch([check]))).toBeUndefined();
    const bad: BatchItem[] = [
      { ...check, condition: null },
      { ...check, condition: { kind: 'CONDITION_NONE', version: 0 } },
      { ...check, condition: { kind: 'CONDITION_VERSION', version: 0 } },
      { ...count(1), condition: absent },
      { ...count(1), increment: null },
      { ...put(1, 1), put: null },
      { key: keyAt(1) } as unknown as BatchItem,
    ];
    for (const item of bad) expect(codeOf(batch([item])), JSON.stringify(item)).toBe('INVALID_ARGUMENT');
    expect(codeOf(batch([]))).toBe('INVALID_ARGUMENT');
    expect(codeOf(batch([remove(1)], { batch: null }))).toBe('INVALID_ARGUMENT');
    expect(codeOf(batch([remove(1)], { condition: absent }))).toBe('INVALID_ARGUMENT');
  });

  it('is charged for all that it holds', () => {
    expect(requestBytes(batch([put(0, 1_000), put(1, 2_000)]), VALUE_MAX)).toBeGreaterThan(3_000);
    expect(requestBytes(batch(many(1_024, remove)), VALUE_MAX)).toBeGreaterThan(300_000);
  });
});

it('an idempotency key has at most so many bytes', () => {
  const asked = (length: number): Request => batch([remove(1)], { idempotencyKey: Buffer.alloc(length, 1) });
  expect(codeOf(asked(IDEMPOTENCY_KEY_BYTES_MAX))).toBeUndefined();
  expect(codeOf(asked(IDEMPOTENCY_KEY_BYTES_MAX + 1))).toBe('INVALID_ARGUMENT');
});
