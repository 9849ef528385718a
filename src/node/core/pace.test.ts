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
    const { pace } = run(5_000, 0, 9);
    expect(pace.limit).toBe(20);
    pace.look(9_000, 100_000, []);
    expect(pace.limit).toBe(Number.POSITIVE_INFINITY);
    expect(pace.take(9_000)).toBe(true);
  });

  it('are free once it has taken nothing for ten seconds, until it takes something again', () => {
    const { pace } = run(5_000, 0, 11);
    expect(pace.limit).toBe(Number.POSITIVE_INFINITY);
    pace.look(60_000, 200_000, [{ id: 'l', match: 0 }]);
    pace.look(61_000, 205_000, [{ id: 'l', match: 0 }]);
    expect(pace.limit).toBe(Number.POSITIVE_INFINITY);
    pace.look(62_000, 210_000, [{ id: 'l', match: 500 }]);
    pace.look(63_000, 215_000, [{ id: 'l', match: 1_500 }]);
    expect(pace.limit).toBe(800);
  });
});

describe('while the WAL is kept for a snapshot, writers', () => {
  const MOST = 100_000_000;

  /** Entries of 1,000 bytes at `offered` a second, and `others` bytes of other partitions; the snapshot takes `seconds`. */
  function hold(offered: number, others: number, seconds: number) {
    const pace = new Pace();
    let last = 0;
    let grown = 0;
    let open = 0;
    let freely = 0;
    for (let now = 0; now < seconds * 1_000; now += 10) {
      open = Math.min(1_000, open + offered / 100);
      for (; open >= 1 && pace.take(now); open -= 1) {
        last += 1;
        grown += 1_000;
      }
      grown += others / 100;
      pace.lookAtHold(now, last, { grown, most: MOST });
      if (!pace.isSlowed) freely = grown;
    }
    return { grown, freely, pace };
  }

  it('are left alone up to half of what may be kept', () => {
    expect(hold(1_000, 0, 49).pace.isSlowed).toBe(false);
    expect(hold(1_000, 0, 600).freely).toBeGreaterThan(MOST / 2);
  });

  it('are slowed down near that, so that it is never too much', () => {
    for (const seconds of [60, 120, 200]) {
      const { grown, pace } = hold(10_000, 0, seconds);
      expect(pace.isSlowed).toBe(true);
      expect(grown).toBeLessThan(MOST);
    }
    expect(hold(2_000, 300_000, 120).grown).toBeLessThan(MOST);
  });

  it('are free again when it is over', () => {
    const { pace } = hold(10_000, 0, 60);
    pace.lookAtHold(60_000, 0, null);
    expect(pace.isSlowed).toBe(false);
  });
});
