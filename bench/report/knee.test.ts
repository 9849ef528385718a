import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findKnee, isWithin, nextRate, type SweepPlan, type SweepPoint } from './knee.ts';
import { spreadOf } from './spread.ts';

const PLAN: SweepPlan = {
  ...{ rates: [], from: 1_000, factor: 2, refinements: 2 },
  ...{ achievedMin: 0.95, p99MsMax: 50 },
};

/** A cluster that achieves up to `capacity` and whose p99 passes the limit at `slowFrom`. */
function sweep(plan: SweepPlan, capacity: number, slowFrom = Number.POSITIVE_INFINITY): SweepPoint[] {
  const points: SweepPoint[] = [];
  for (let rate = nextRate(points, plan); rate !== null; rate = nextRate(points, plan)) {
    points.push({
      rate,
      offered: rate,
      achieved: Math.min(rate, capacity),
      p99Ms: rate < slowFrom ? 10 : 80,
    });
  }
  return points;
}

describe('a sweep', () => {
  it('raises the rate until the cluster falls behind, then looks between', () => {
    const points = sweep(PLAN, 5_000);
    expect(points.map(({ rate }) => rate)).toEqual([1_000, 2_000, 4_000, 8_000, 5_657, 4_757]);
    expect(findKnee(points, PLAN)).toMatchObject({ rate: 4_757, achieved: 4_757 });
  });

  it('stops as well where p99 is beyond its limit', () => {
    const points = sweep({ ...PLAN, refinements: 0 }, 1e9, 3_000);
    expect(points.map(({ rate }) => rate)).toEqual([1_000, 2_000, 4_000]);
    expect(findKnee(points, PLAN)?.rate).toBe(2_000);
  });

  it('measures a rate by what chance has made of it', () => {
    expect(isWithin({ rate: 20, offered: 15, achieved: 15, p99Ms: 1 }, PLAN)).toBe(true);
    expect(isWithin({ rate: 20, offered: 25, achieved: 20, p99Ms: 1 }, PLAN)).toBe(false);
  });

  it('goes over given rates in their order', () => {
    expect(sweep({ ...PLAN, rates: [100, 300], refinements: 2 }, 1e9).map(({ rate }) => rate)).toEqual([
      100, 300,
    ]);
  });

  it('has no knee if the first rate is beyond the limits, and ends there', () => {
    const points = sweep(PLAN, 10);
    expect(points).toHaveLength(1);
    expect(findKnee(points, PLAN)).toBeNull();
  });

  it('ends, with a knee that is within the limits and below all that are not', () => {
    const capacity = fc.double({ min: 500, max: 1e6, noNaN: true });
    fc.assert(
      fc.property(capacity, fc.integer({ min: 0, max: 6 }), (limit, refinements) => {
        const points = sweep({ ...PLAN, refinements }, limit);
        const knee = findKnee(points, PLAN);
        if (knee === null) {
          expect(limit).toBeLessThan(1_000);
          return;
        }
        expect(isWithin(knee, PLAN)).toBe(true);
        for (const point of points) if (!isWithin(point, PLAN)) expect(point.rate).toBeGreaterThan(knee.rate);
      }),
    );
  });

  it('is not misled by a rate that fared well above one that did not', () => {
    const points = [
      { rate: 1_000, offered: 1_000, achieved: 1_000, p99Ms: 10 },
      { rate: 2_000, offered: 2_000, achieved: 1_200, p99Ms: 10 },
      { rate: 3_000, offered: 3_000, achieved: 3_000, p99Ms: 10 },
    ];
    expect(findKnee(points, PLAN)?.rate).toBe(1_000);
  });
});

describe('spreadOf', () => {
  it('has the median of an odd and of an even number of runs', () => {
    expect(spreadOf([3, 1, 2])).toEqual({ median: 2, min: 1, max: 3 });
    expect(spreadOf([4, 1])).toEqual({ median: 2.5, min: 1, max: 4 });
    expect(spreadOf([7])).toEqual({ median: 7, min: 7, max: 7 });
  });
});
