import { describe, expect, it } from 'vitest';
import { FollowerClock, Freshness } from './freshness.ts';

describe('the freshness of a follower', () => {
  it('is not known before it has decided what its leader has told a time of', () => {
    const fresh = new Freshness();
    expect(fresh.ageMs(0, 100)).toBe(Number.POSITIVE_INFINITY);
    fresh.told(5, 90);
    expect(fresh.ageMs(4, 100)).toBe(Number.POSITIVE_INFINITY);
    expect(fresh.ageMs(5, 100)).toBe(10);
    fresh.told(7, 150);
    expect(fresh.ageMs(6, 200)).toBe(110);
    expect(fresh.ageMs(7, 200)).toBe(50);
  });

  it('does not go back for a message that was overtaken', () => {
    const fresh = new Freshness();
    fresh.told(5, 90);
    fresh.told(4, 80);
    expect(fresh.ageMs(4, 100)).toBe(Number.POSITIVE_INFINITY);
    expect(fresh.ageMs(5, 100)).toBe(10);
    fresh.told(5, 70);
    expect(fresh.ageMs(9, 100)).toBe(10);
  });

  it('never is newer than it was told for what is decided, however much it was told', () => {
    const fresh = new Freshness();
    for (let index = 1; index <= 500; index++) fresh.told(index, 1_000 + index);
    for (const decided of [0, 10, 63, 64, 200, 499]) {
      const age = fresh.ageMs(decided, 2_000);
      expect(2_000 - age, `at ${decided}`).toBeLessThanOrEqual(1_000 + decided);
    }
    expect(fresh.ageMs(500, 2_000)).toBe(500);
  });
});

describe('what a leader knows of a follower’s clock', () => {
  it('is echoed only if it came before the quorum was asked', () => {
    const clock = new FollowerClock();
    expect(clock.echoFor(1_000)).toEqual({ echo: 0, echoBoot: 0 });
    clock.answered(10, 500, 3);
    clock.answered(20, 510, 3);
    expect(clock.echoFor(10)).toEqual({ echo: 0, echoBoot: 3 });
    expect(clock.echoFor(11)).toEqual({ echo: 500, echoBoot: 3 });
    expect(clock.echoFor(20)).toEqual({ echo: 500, echoBoot: 3 });
    expect(clock.echoFor(30)).toEqual({ echo: 510, echoBoot: 3 });
  });

  it('is forgotten when the follower has started again', () => {
    const clock = new FollowerClock();
    clock.answered(10, 500_000, 3);
    expect(clock.echoFor(11).echo).toBe(500_000);
    clock.answered(20, 7, 4);
    expect(clock.echoFor(20)).toEqual({ echo: 0, echoBoot: 4 });
    expect(clock.echoFor(21)).toEqual({ echo: 7, echoBoot: 4 });
  });

  it('takes an older clock rather than keeping all of them', () => {
    const clock = new FollowerClock();
    for (let at = 0; at < 100; at++) clock.answered(at, 1_000 + at, 1);
    const { echo } = clock.echoFor(90);
    expect(echo).toBeLessThan(1_090);
    expect(echo).toBeGreaterThanOrEqual(1_080);
  });
});
