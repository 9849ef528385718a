import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { commonGaps, GAP_MS_MIN, type Gap, GapRecorder, longestGapMs, outageOf } from './gaps.ts';

const END = 10_000;

function gapsOf(times: readonly number[], partition = 0): readonly Gap[] {
  const recorder = new GapRecorder(partition + 1, 0);
  for (const time of [...times].sort((a, b) => a - b)) recorder.success(partition, time);
  return recorder.end(END).filter((gap) => gap.partition === partition);
}

describe('commonGaps', () => {
  it('is exact: the gaps of several processes overlap where all of them had no success', () => {
    const times = fc.array(fc.integer({ min: 0, max: END }), { maxLength: 60 });
    fc.assert(
      fc.property(fc.array(times, { minLength: 1, maxLength: 4 }), (processes) => {
        const common = commonGaps(processes.map((list) => gapsOf(list))).get(0) ?? [];
        expect(common).toEqual(gapsOf(processes.flat()));
      }),
    );
  });
});

describe('longestGapMs', () => {
  it('counts the part of a gap that is in the run, of any partition', () => {
    const gap = (partition: number, from: number, to: number) =>
      [partition, [{ partition, from, to }]] as const;
    const gaps = new Map([gap(0, 100, 600), gap(1, 900, 2_000)]);
    expect(longestGapMs(gaps, { from: 400, to: 1_000 })).toBe(200);
    expect(longestGapMs(gaps, { from: 0, to: 1_000 })).toBe(500);
    expect(longestGapMs(gaps, { from: 700, to: 800 })).toBe(0);
    expect(longestGapMs(new Map(), { from: 0, to: 1_000 })).toBe(0);
  });
});

describe('outageOf', () => {
  const run = { from: 0, to: END };
  const steady = Array.from({ length: 500 }, (_, n) => n * 20);
  const without = (from: number, to: number) => steady.filter((time) => time <= from || time >= to);

  it('finds when the first and the last partition had a success again, and the longest gap', () => {
    const gaps = commonGaps([[...gapsOf(without(3_000, 3_400), 0), ...gapsOf(without(3_000, 4_000), 1)]]);
    const outage = outageOf(gaps, [0, 1], 3_005, run);
    expect(outage).toEqual({
      ...{ partitions: 2, firstSuccess: 3_400, allServed: 4_000, longestGapMs: 1_000 },
      longestGapPartition: 1,
    });
  });

  it('says so if a partition had none to the end, and leaves out what nobody used', () => {
    const gaps = commonGaps([[...gapsOf(without(3_000, END + 1), 0), ...gapsOf([], 1)]]);
    const outage = outageOf(gaps, [0, 1], 3_005, run);
    expect(outage).toMatchObject({
      partitions: 1,
      firstSuccess: null,
      allServed: null,
      longestGapMs: END - 3_000,
    });
  });

  it('is nothing where no gap is longer than what counts', () => {
    const gaps = commonGaps([gapsOf(without(3_000, 3_000 + GAP_MS_MIN - 10))]);
    expect(outageOf(gaps, [0], 3_000, run)).toMatchObject({
      firstSuccess: null,
      longestGapMs: 0,
      partitions: 1,
    });
  });
});
