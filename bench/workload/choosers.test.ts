import { describe, expect, it } from 'vitest';
import { createRandom } from '#src/common/random.ts';
import { type ChooserOptions, createChooser, createLengths, DISTRIBUTIONS } from './choosers.ts';

const DRAWS = 50_000;

function options(
  distribution: ChooserOptions['distribution'],
  more: Partial<ChooserOptions> = {},
): ChooserOptions {
  return {
    ...{ distribution, expected: 1_000, hotspotDataFraction: 0.2, hotspotRequestFraction: 0.8 },
    ...{ hotKeyFraction: 1, ...more },
  };
}

function draw(given: ChooserOptions, count: number, draws = DRAWS): number[] {
  const choose = createChooser(given, createRandom(5));
  return Array.from({ length: draws }, () => choose(count));
}

describe('createChooser', () => {
  it('chooses only what is there, while more is expected', () => {
    for (const distribution of DISTRIBUTIONS) {
      for (const count of [1, 2, 700]) {
        const records = draw(options(distribution), count, 200);
        expect(records.every((record) => Number.isInteger(record) && record >= 0 && record < count)).toBe(
          true,
        );
      }
    }
  });

  it('is uniform', () => {
    const counts = new Array<number>(10).fill(0);
    for (const record of draw(options('uniform'), 10)) counts[record]! += 1;
    for (const count of counts) expect(Math.abs(count / (DRAWS / 10) - 1)).toBeLessThan(0.1);
  });

  it('follows inserts: the newest record is the most popular one', () => {
    const choose = createChooser(options('latest'), createRandom(5));
    for (const count of [100, 101, 5_000]) {
      const counts = new Map<number, number>();
      for (let n = 0; n < 5_000; n += 1) {
        const record = choose(count);
        counts.set(record, (counts.get(record) ?? 0) + 1);
      }
      const [most] = [...counts].sort((a, b) => b[1] - a[1]);
      expect(most![0]).toBe(count - 1);
    }
  });

  it('gives the hot part of the records its share of the requests', () => {
    const hot = draw(options('hotspot'), 1_000).filter((record) => record < 200).length / DRAWS;
    expect(hot).toBeCloseTo(0.8, 1);
    const one = draw(options('hotkey'), 1_000, 100);
    expect(new Set(one)).toEqual(new Set([0]));
    const half = draw(options('hotkey', { hotKeyFraction: 0.5 }), 1_000).filter((record) => record === 0);
    expect(half.length / DRAWS).toBeCloseTo(0.5, 1);
  });

  it('goes round in order', () => {
    expect(draw(options('sequential'), 3, 7)).toEqual([0, 1, 2, 0, 1, 2, 0]);
  });
});

describe('createLengths', () => {
  it('stays within its bounds', () => {
    const random = createRandom(2);
    expect(createLengths('constant', 1, 100, random)()).toBe(100);
    const uniform = Array.from({ length: 5_000 }, createLengths('uniform', 1, 100, random));
    expect([Math.min(...uniform), Math.max(...uniform)]).toEqual([1, 100]);
    const zipfian = Array.from({ length: 5_000 }, createLengths('zipfian', 10, 100, random));
    expect(Math.min(...zipfian)).toBe(10);
    expect(zipfian.filter((length) => length === 10).length).toBeGreaterThan(500);
  });
});
