import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  absoluteKey,
  DamagedRowError,
  decodeApplied,
  decodeValue,
  encodeApplied,
  encodeValue,
  openRow,
  relativeKey,
  sealRow,
  splitUserKey,
  storeKey,
  storeRange,
  TABLE_VALUES,
  userKey,
} from './layout.ts';

const key = fc.uint8Array({ minLength: 1, maxLength: 40 });
const keyspace = fc.string({ maxLength: 12, unit: 'binary' }).filter((name) => Buffer.byteLength(name) <= 64);

describe('user keys', () => {
  it('keep keyspace and key apart: sessions + 1 is not sessions1', () => {
    expect(userKey('sessions', Buffer.from('1'))).not.toEqual(userKey('', Buffer.from('sessions1')));
    fc.assert(
      fc.property(keyspace, key, keyspace, key, (spaceA, keyA, spaceB, keyB) => {
        const same = spaceA === spaceB && Buffer.from(keyA).equals(keyB);
        expect(Buffer.from(userKey(spaceA, keyA)).equals(userKey(spaceB, keyB))).toBe(same);
      }),
    );
  });

  it('can be split again', () => {
    fc.assert(
      fc.property(fc.constantFrom('', 'sessions', 'ключ'), key, (space, bytes) => {
        const split = splitUserKey(userKey(space, bytes));
        expect(split.keyspace).toBe(space);
        expect(Buffer.from(split.key).equals(bytes)).toBe(true);
      }),
    );
  });
});

describe('store keys', () => {
  it('lie in the range of their own copy and table only, in key order', () => {
    const small = fc.nat({ max: 5 });
    fc.assert(
      fc.property(small, small, key, small, small, (partition, generation, row, p, g) => {
        const stored = storeKey(partition, generation, TABLE_VALUES, row);
        const { from, to } = storeRange(p, g, TABLE_VALUES);
        const within = Buffer.compare(from, stored) <= 0 && Buffer.compare(stored, to) < 0;
        expect(within).toBe(p === partition && g === generation);
        expect(absoluteKey(partition, generation, relativeKey(stored))).toEqual(stored);
      }),
    );
  });
});

describe('stored rows', () => {
  const stored = {
    kind: 'value' as const,
    codec: 4,
    version: 77,
    epoch: 3,
    expiresAt: 0,
    value: Buffer.from('some bytes'),
  };
  const row = Buffer.from('row');

  it('come back as they were', () => {
    expect(decodeValue(row, encodeValue(row, stored))).toEqual(stored);
    expect(openRow(row, sealRow(row, Buffer.from('x')))).toEqual(Buffer.from('x'));
    const mark = { index: 5, epoch: 2, logTime: 1_700_000_000_000 };
    expect(decodeApplied(encodeApplied(mark))).toEqual(mark);
  });

  it('are never served with any single bit flipped, nor under another key', () => {
    const value = encodeValue(row, stored);
    const sealed = sealRow(row, Buffer.from('opaque'));
    for (let bit = 0; bit < value.byteLength * 8; bit++) {
      const flipped = Buffer.from(value);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => decodeValue(row, flipped), `bit ${bit}`).toThrow(DamagedRowError);
    }
    for (let bit = 0; bit < sealed.byteLength * 8; bit++) {
      const flipped = Buffer.from(sealed);
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      expect(() => openRow(row, flipped), `bit ${bit}`).toThrow(DamagedRowError);
    }
    expect(() => decodeValue(Buffer.from('other'), value)).toThrow(DamagedRowError);
    expect(() => openRow(Buffer.from('other'), sealed)).toThrow(DamagedRowError);
  });
});
