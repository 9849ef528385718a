import { describe, expect, it } from 'vitest';
import { EPOCH_STARTS_MAX } from '../../common/limits.ts';
import { EpochStarts } from './epoch-starts.ts';
import { DamagedRowError } from './layout.ts';

describe('EpochStarts', () => {
  it('tells the epoch of every decided entry, also after it was stored', () => {
    const starts = new EpochStarts();
    starts.add(1, 1);
    starts.add(5, 2);
    starts.add(9, 7);
    for (const same of [starts, EpochStarts.decode(starts.encode())]) {
      expect([1, 4, 5, 8, 9, 100].map((index) => same.epochAt(index))).toEqual([1, 1, 2, 2, 7, 7]);
      expect(same.epochAt(0)).toBeUndefined();
    }
  });

  it('keeps the last ones, and says when it does not know', () => {
    const starts = new EpochStarts();
    for (let epoch = 1; epoch <= EPOCH_STARTS_MAX + 1; epoch++) starts.add(10 * epoch, epoch);
    expect(starts.epochAt(19)).toBeUndefined();
    expect([starts.epochAt(20), starts.epochAt(29)]).toEqual([2, 2]);
    expect(starts.encode().byteLength).toBe(16 * EPOCH_STARTS_MAX);
  });

  it('takes no epoch that does not rise, and no bytes of another size', () => {
    const starts = new EpochStarts([{ index: 4, epoch: 2 }]);
    expect(() => starts.add(5, 2)).toThrow('in order');
    expect(() => starts.add(4, 3)).toThrow('in order');
    expect(() => EpochStarts.decode(Buffer.alloc(15))).toThrow(DamagedRowError);
  });
});
