import { describe, expect, it } from 'vitest';
import { createRandom } from '#src/common/random.ts';
import { type ArrivalKind, createArrivals } from './arrivals.ts';

function take(kind: ArrivalKind, count: number, part = 0, parts = 1): number[] {
  const arrivals = createArrivals({ kind, rate: 1_000, from: 500, part, parts }, createRandom(9 + part));
  return Array.from({ length: count }, () => arrivals.take());
}

describe('createArrivals', () => {
  it('keeps a fixed pace without drift, the processes taking turns', () => {
    expect(take('fixed', 3)).toEqual([500, 501, 502]);
    expect(take('fixed', 1_000_001).at(-1)).toBe(1_000_500);
    const both = [...take('fixed', 3, 0, 2), ...take('fixed', 3, 1, 2)].sort((a, b) => a - b);
    expect(both).toEqual([500, 501, 502, 503, 504, 505]);
  });

  it('has gaps of a Poisson process: exponential, with equal mean and deviation', () => {
    const times = take('poisson', 100_001);
    const gaps = times.slice(1).map((time, at) => time - times[at]!);
    const mean = gaps.reduce((sum, gap) => sum + gap, 0) / gaps.length;
    const variance = gaps.reduce((sum, gap) => sum + (gap - mean) ** 2, 0) / gaps.length;
    expect(mean).toBeCloseTo(1, 1);
    expect(Math.abs(variance - 1)).toBeLessThan(0.05);
    // Exponential, not just of that variance: a gap is longer than its mean in 1/e of the cases.
    expect(gaps.filter((gap) => gap > 1).length / gaps.length).toBeCloseTo(1 / Math.E, 2);
    expect(gaps.every((gap) => gap >= 0)).toBe(true);
  });

  it('shows the next arrival without taking it', () => {
    const arrivals = createArrivals({ kind: 'fixed', rate: 10, from: 0, part: 0, parts: 1 }, createRandom(1));
    expect([arrivals.next, arrivals.next, arrivals.take(), arrivals.next]).toEqual([0, 0, 0, 100]);
  });
});
