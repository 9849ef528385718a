import { describe, expect, it } from 'vitest';
import { putBody, rangeBody } from './etcd-requests.ts';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe('putBody', () => {
  it('is a frame of gRPC around a PutRequest of key and value', () => {
    // 0a 01 "k": field 1; 12 02 "vw": field 2.
    expect(hex(putBody(Buffer.from('k'), Buffer.from('vw')))).toBe('00000000070a016b12027677');
  });

  it('writes lengths of 128 and more as varints of several bytes', () => {
    const body = putBody(Buffer.from('k'), Buffer.alloc(300, 0x76));
    expect(hex(body.subarray(0, 11))).toBe('00000001320a016b12ac02');
    expect(body).toHaveLength(5 + 3 + 3 + 300);
    const edge = putBody(Buffer.from('k'), Buffer.alloc(128));
    expect(hex(edge.subarray(8, 11))).toBe('128001');
    expect(hex(putBody(Buffer.from('k'), Buffer.alloc(127)).subarray(8, 10))).toBe('127f');
  });
});

describe('rangeBody', () => {
  it('names the key only, so that the read is linearizable', () => {
    expect(hex(rangeBody(Buffer.from('key')))).toBe('00000000050a036b6579');
  });
});
