/** What operations say about faults: by hand-made histories whose figures are known. */
import { describe, expect, it } from 'vitest';
import type { HistoryEvent } from '../common/history.ts';
import { gapsOf, longestIn, outside, phaseFigures, quantile, slicesOf, spread } from './figures.ts';

const MS = 1_000;

/** An operation from `call` for `forMs`, both in ms. */
function operation(call: number, forMs: number, more: Partial<HistoryEvent> = {}): HistoryEvent {
  return {
    client: 'c',
    keyspace: '',
    key: 'probe-0-1',
    op: 'put',
    call: call * MS,
    return: (call + forMs) * MS,
    output: { result: 'ok' },
    ...more,
  };
}

const FAILED = { output: { result: 'unknown', code: 'DEADLINE_EXCEEDED' } } as const;

describe('gaps', () => {
  const whole = { from: 0, to: 2_000 * MS };

  it('run from the last answer before to the first after, by partition', () => {
    const other = { key: 'probe-1-4' };
    const history = [
      ...[0, 100, 200, 1_500, 1_600, 1_900].map((at) => operation(at, 10)),
      // Another partition answers meanwhile, another key and a failure are no answers.
      ...Array.from({ length: 40 }, (_, at) => operation(at * 50, 5, other)),
      operation(700, 10, { key: 'idle-0-1' }),
      operation(800, 10, FAILED),
    ];
    const gaps = gapsOf(history, 'probe', whole, 250);
    expect(gaps).toEqual([
      { partition: 0, from: 210 * MS, to: 1_510 * MS },
      { partition: 0, from: 1_610 * MS, to: 1_910 * MS },
    ]);
    expect(longestIn(gaps, { from: 300 * MS, to: 400 * MS })).toBe(1_300);
    expect(longestIn(gaps, { from: 1_550 * MS, to: 1_605 * MS })).toBe(0);
    expect(longestIn(gaps, whole)).toBe(1_300);
  });

  it('do not count while nobody looked', () => {
    const gaps = [{ partition: 0, from: 100 * MS, to: 500 * MS }];
    const still = [
      { from: 50 * MS, to: 120 * MS },
      { from: 200 * MS, to: 350 * MS },
      { from: 600 * MS, to: 700 * MS },
    ];
    expect(longestIn(gaps, whole, still)).toBe(230);
    expect(longestIn(gaps, whole, [whole])).toBe(0);
  });

  it('reach to the ends of the run', () => {
    expect(gapsOf([operation(990, 10)], 'probe', whole, 50)).toEqual([
      { partition: 0, from: 0, to: 1_000 * MS },
      { partition: 0, from: 1_000 * MS, to: 2_000 * MS },
    ]);
  });
});

it('a partition that never answers is away all the time', () => {
  const whole = { from: 0, to: 2_000 * MS };
  expect(gapsOf([operation(500, 10, FAILED)], 'probe', whole, 50)).toEqual([{ partition: 0, ...whole }]);
});

describe('phases', () => {
  it('count what was called in them, and how it ended', () => {
    const history = [
      ...Array.from({ length: 98 }, (_, at) => operation(at, 2)),
      operation(98, 500),
      operation(99, 900, FAILED),
      operation(5_000, 9),
    ];
    const figures = phaseFigures(history, [{ from: 0, to: 100 * MS }]);
    expect(figures).toEqual({ operations: 100, availability: 0.99, p50Ms: 2, p99Ms: 500 });
    expect(phaseFigures(history, []).availability).toBeNaN();
  });

  it('leave out operations that have too little time', () => {
    const history = [operation(1, 2), operation(2, 9, { key: 'hasty-7', ...FAILED })];
    const figures = phaseFigures(history, [{ from: 0, to: 100 * MS }]);
    expect(figures).toMatchObject({ operations: 1, availability: 1 });
    const [slice] = slicesOf(history, { from: 0, to: 100 * MS }, 100);
    expect(slice).toMatchObject({ writesPerSecond: 10, failedPerSecond: 0 });
  });

  it('leave the calm between overlapping windows', () => {
    const windows = [
      { from: 50, to: 60 },
      { from: 10, to: 30 },
      { from: 20, to: 40 },
    ];
    expect(outside(windows, { from: 0, to: 100 })).toEqual([
      { from: 0, to: 10 },
      { from: 40, to: 50 },
      { from: 60, to: 100 },
    ]);
    expect(outside([{ from: 0, to: 100 }], { from: 0, to: 100 })).toEqual([]);
  });
});

describe('slices', () => {
  it('hold every operation that ended in the run once', () => {
    const history = [
      operation(100, 50),
      operation(100, 80, { op: 'get' }),
      operation(300, 300, FAILED),
      operation(900, 90),
      operation(990, 500),
    ];
    const slices = slicesOf(history, { from: 0, to: 1_000 * MS }, 500);
    expect(slices.map(({ at }) => at)).toEqual([0.25, 0.75]);
    expect(slices.map(({ readsPerSecond }) => readsPerSecond)).toEqual([2, 0]);
    expect(slices.map(({ writesPerSecond }) => writesPerSecond)).toEqual([2, 2]);
    expect(slices.map(({ failedPerSecond }) => failedPerSecond)).toEqual([0, 2]);
    expect(slices.map(({ p99Ms }) => p99Ms)).toEqual([80, 90]);
  });
});

describe('quantiles', () => {
  it('are values of the list, by nearest rank', () => {
    const hundred = Array.from({ length: 100 }, (_, at) => at + 1);
    expect([0, 0.5, 0.99, 1].map((part) => quantile(hundred, part))).toEqual([1, 50, 99, 100]);
    expect(spread([3, 1, 2])).toEqual({ p50: 2, p99: 3, max: 3 });
    expect(quantile([], 0.5)).toBeNaN();
  });
});
