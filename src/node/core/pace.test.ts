import { describe, expect, it } from 'vitest';
import { Pace } from './pace.ts';

/** A leader under `offered` writes per second and a learner that takes `taken`; returns lag and written, after `seconds`. */
function run(offered: number, taken: number, seconds: number, lag = 20_000) {
  const pace = new Pace();
  let last = lag;
  let match = 0;
  let written = 0;
  let open = 0;
  for (let now = 0; now < seconds * 1_000; now += 10) {
    open += offered / 100;
    for (; open >= 1 && pace.take(now); open -= 1) {
      last += 1;
      written += 1;
    }
    match = Math.min(last, match + taken / 100);
    pace.look(now, last, [{ id: 'l', match: Math.floor(match) }]);
    open = Math.min(open, 1_000);
  }
  return { lag: last - match, perSecond: written / seconds, pace };
}

describe('writers', () => {
  it('are left alone while the learner comes near by itself', () => {
    const { pace, perSecond, lag } = run(1_000, 10_000, 10);
    expect(pace.limit).toBe(Number.POSITIVE_INFINITY);
    expect(perSecond).toBeGreaterThan(990);
    expect(lag).toBeLessThan(256);
  });

  it('are slowed down when it would never come near, until it has', () => {
    const slowed = run(5_000, 2_000, 30);
    // It catches up by a fifth of its rate: 20,000 entries and what came before the pace took hold.
    expect(slowed.perSecond).toBeLessThan(2_000);
    expect(slowed.lag).toBeLessThan(21_500);
    const near = run(5_000, 2_000, 120);
    expect(near.lag).toBeLessThan(4_000);
  });

  it('go on a little though it takes nothing, and are free once it is not heard of', () => {
    const { pace, perSecond } = run(5_000, 0, 20);
    expect(perSecond).toBeGreaterThan(20);
    expect(pace.limit).toBe(20);
    pace.look(20_000, 100_000, []);
    expect(pace.limit).toBe(Number.POSITIVE_INFINITY);
    expect(pace.take(20_000)).toBe(true);
  });
});
