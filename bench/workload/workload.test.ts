import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PRESETS, readParameters } from './parameters.ts';
import { keyName, Records } from './records.ts';
import { expectedRecords, type Kind, type Planned, Sequence } from './workload.ts';
import { fnvHash } from './zipfian.ts';

function planned(): Planned {
  return { kind: 'READ', record: 0, scanLength: 0 };
}

function sequence(properties: Readonly<Record<string, string>>, seed = 1): Sequence {
  const { workload } = readParameters({ recordcount: '100', ...properties });
  return new Sequence(workload, { part: 0, parts: 1, seed, expected: expectedRecords(workload, 1_000) });
}

describe('keyName', () => {
  it('is that of YCSB', () => {
    expect(keyName(0, 'hashed', 1)).toBe('user6284781860667377211');
    fc.assert(
      fc.property(fc.maxSafeNat(), (number) => {
        const { high, low } = fnvHash(number);
        expect(keyName(number, 'hashed', 1)).toBe(`user${(BigInt(high) << 32n) + BigInt(low)}`);
      }),
    );
    expect(keyName(7, 'ordered', 1)).toBe('user7');
    expect(keyName(7, 'ordered', 5)).toBe('user00007');
  });
});

describe('Records', () => {
  it('gives every process records of its own behind those that all have', () => {
    const shared = { recordCount: 10, insertOrder: 'ordered', zeroPadding: 1, parts: 3 } as const;
    const keys = [0, 1, 2].flatMap((part) => {
      const records = new Records({ ...shared, part });
      return [0, 1].map(() => records.key(records.beginInsert()));
    });
    expect(keys.sort()).toEqual(['user10', 'user11', 'user12', 'user13', 'user14', 'user15']);
  });

  it('counts a record once its insert and all before it have ended', () => {
    const records = new Records({ recordCount: 5, insertOrder: 'hashed', zeroPadding: 1, part: 0, parts: 1 });
    const [first, second] = [records.beginInsert(), records.beginInsert()];
    records.endInsert(second);
    expect(records.count).toBe(5);
    records.endInsert(first);
    expect(records.count).toBe(7);
  });
});

describe('Sequence', () => {
  it('mixes the kinds of operations by their proportions', () => {
    const kinds = new Map<Kind, number>();
    const operations = sequence({ ...PRESETS.b, ...{ insertproportion: '0.5', readproportion: '0.45' } });
    const next = planned();
    for (let n = 0; n < 20_000; n += 1) {
      operations.next(next);
      if (next.kind === 'INSERT') operations.records.endInsert(next.record);
      kinds.set(next.kind, (kinds.get(next.kind) ?? 0) + 1 / 20_000);
    }
    expect(kinds.get('INSERT')).toBeCloseTo(0.5, 1);
    expect(kinds.get('READ')).toBeCloseTo(0.45, 1);
    expect(kinds.get('UPDATE')).toBeCloseTo(0.05, 1);
  });

  it('is the same for the same seed', () => {
    const take = (seed: number) => {
      const operations = sequence(PRESETS.e!, seed);
      return Array.from({ length: 50 }, () => {
        const next = planned();
        operations.next(next);
        return `${next.kind} ${next.record} ${next.scanLength} ${operations.value('k').length}`;
      });
    };
    expect(take(1)).toEqual(take(1));
    expect(take(1)).not.toEqual(take(2));
  });

  it('makes values of the length that is asked for, which do not compress', () => {
    const value = sequence({ fieldcount: '3', fieldlength: '50' }).value('k');
    expect(value).toHaveLength(150);
    expect(new Set(value).size).toBeGreaterThan(50);
    const operations = sequence({ fieldcount: '2', fieldlength: '50', fieldlengthdistribution: 'uniform' });
    const lengths = Array.from({ length: 500 }, () => operations.value('k').length);
    expect(Math.min(...lengths)).toBeLessThan(20);
    expect(Math.max(...lengths)).toBeGreaterThan(80);
    expect(sequence({ fieldlength: '0' }).value('k')).toHaveLength(0);
  });

  it('has one value per key with dataintegrity, whatever the seed and the part, and knows it again', () => {
    const checked = { dataintegrity: 'true', fieldlength: '10' };
    const [one, other] = [sequence(checked, 1), sequence(checked, 99)];
    const keys = Array.from({ length: 1_000 }, (_, record) => one.records.key(record));
    for (const key of keys) {
      expect(one.value(key)).toHaveLength(100);
      expect(other.isValueOf(key, one.value(key))).toBe(true);
      expect(other.isValueOf(`${key}0`, one.value(key))).toBe(false);
    }
    const value = one.value('k');
    expect(one.isValueOf('k', undefined)).toBe(false);
    expect(one.isValueOf('k', value.subarray(1))).toBe(false);
    expect(
      one.isValueOf(
        'k',
        Uint8Array.from(value, (byte, at) => (at === 99 ? byte ^ 1 : byte)),
      ),
    ).toBe(false);
  });
});
