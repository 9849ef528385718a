import { describe, expect, it } from 'vitest';
import { Hedging } from './hedging.ts';

describe('hedges', () => {
  it('wait for several times what answers usually take, within bounds', () => {
    const hedging = new Hedging();
    expect(hedging.afterMs).toBe(10);
    const answered = (ms: number): number => {
      for (let at = 0; at < 1_000; at++) hedging.answered(ms);
      return hedging.afterMs;
    };
    expect(answered(10)).toBeGreaterThan(36);
    expect(answered(10)).toBeLessThan(44);
    expect(answered(25)).toBe(60);
    // Far away: most answers are still to come after 60 ms.
    expect(answered(200)).toBeGreaterThan(270);
    expect(answered(200)).toBeLessThan(330);
    expect(answered(0.1)).toBe(10);
  });

  it('go by the median: some reads that wait for long do not put them off', () => {
    const hedging = new Hedging();
    for (let at = 0; at < 3_000; at++) hedging.answered(at % 10 < 3 ? 900 : 4);
    expect(hedging.afterMs).toBeLessThan(30);
  });

  it('are at most a burst and a tenth of the reads', () => {
    const hedging = new Hedging();
    let burst = 0;
    while (hedging.take()) burst += 1;
    expect(burst).toBe(512);
    let later = 0;
    for (let at = 0; at < 1_000; at++) {
      hedging.earn();
      if (hedging.take()) later += 1;
    }
    expect(later).toBeGreaterThan(90);
    expect(later).toBeLessThanOrEqual(100);
  });
});
