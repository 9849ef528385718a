import { describe, expect, it } from 'vitest';
import type { Request } from '../../common/wire/messages.ts';
import { encodeRecord, fingerprintOf, recordKey, repeat } from './once.ts';
import type { WriteResult } from './result.ts';

const put: Request = {
  ...{ id: 1, timeLeftMs: 5, keyspace: 'k', key: Buffer.from('a'), clientId: Buffer.alloc(0) },
  ...{ sequence: 1, lowWater: 1, sessionTime: 1, attempt: 1, ack: 'ACK_QUORUM', traceParent: '' },
  operation: 'put',
  put: { value: Buffer.from('v'), codec: 1, ttlMs: 0 },
};

describe('the fingerprint of a request', () => {
  it('is that of everything that was asked for, but not of how and when', () => {
    const same = { ...put, id: 9, timeLeftMs: 1, sequence: 7, attempt: 3, ack: 'ACK_ALL' } as const;
    expect(fingerprintOf(same)).toEqual(fingerprintOf(put));
    const others: Request[] = [
      { ...put, keyspace: 'l' },
      { ...put, key: Buffer.from('b') },
      { ...put, put: { ...put.put!, value: Buffer.from('w') } },
      { ...put, put: { ...put.put!, codec: 2 } },
      { ...put, put: { ...put.put!, ttlMs: 1 } },
      { ...put, condition: { kind: 'CONDITION_ABSENT', version: 0 } },
      { ...put, condition: { kind: 'CONDITION_VERSION', version: 1 } },
      { ...put, operation: 'delete', put: null, delete: {} },
      { ...put, operation: 'touch', put: null, touch: { ttlMs: 0 } },
      // A batch of one operation is told another kind of result.
      { ...put, operation: 'batch', put: null, batch: { items: [{ ...put, operation: 'put' }] } },
    ];
    const all = [put, ...others].map((request) => fingerprintOf(request).toString('hex'));
    expect(new Set(all).size).toBe(all.length);
  });

  it('keeps the bytes of neighbours apart', () => {
    const pair = (first: string, second: string): Request => ({
      ...put,
      operation: 'batch',
      put: null,
      batch: {
        items: [first, second].map((key) => ({ key: Buffer.from(key), operation: 'delete', delete: {} })),
      },
    });
    expect(fingerprintOf(pair('ab', 'c'))).not.toEqual(fingerprintOf(pair('a', 'bc')));
  });
});

describe('a record', () => {
  const result: WriteResult = { kind: 'applied', index: 7, epoch: 2, counter: 2n ** 62n };

  it('is found by the idempotency key, the keyspace and the hash tag, and by nothing else', () => {
    const record = (name: string, keyspace: string, key: string): string =>
      recordKey(Buffer.from(name), keyspace, Buffer.from(key)).toString('hex');
    expect(record('i', 'k', '{t}a')).toBe(record('i', 'k', 'b{t}'));
    const others = [
      ['j', 'k', '{t}'],
      ['i', 'l', '{t}'],
      ['i', 'k', '{u}'],
      ['ik', '', '{t}'],
      ['i', 'kt', ''],
    ] as const;
    const all = [
      record('i', 'k', '{t}'),
      ...others.map(([name, keyspace, key]) => record(name, keyspace, key)),
    ];
    expect(new Set(all).size).toBe(all.length);
  });

  it('tells the first result to the same request, and refuses another one', () => {
    const fingerprint = fingerprintOf(put);
    const record = encodeRecord(fingerprint, result);
    expect(repeat(record, fingerprint)).toEqual({ ...result, repeated: true });
    const items = [{ failed: true, version: 4, counter: null }];
    const failed = encodeRecord(fingerprint, { kind: 'condition', index: 8, version: 0, items });
    expect(repeat(failed, fingerprint)).toEqual({
      ...{ kind: 'condition', index: 8, version: 0, items },
      repeated: true,
    });
    const other = fingerprintOf({ ...put, key: Buffer.from('b') });
    expect(repeat(record, other)).toEqual({ kind: 'refused', code: 'IDEMPOTENCY_CONFLICT' });
  });
});
