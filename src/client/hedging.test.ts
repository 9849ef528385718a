import { describe, expect, it } from 'vitest';
import { Hedging } from './hedging.ts';

describe('hedges', () => {
  it('wait for several times what answers usually take, within bounds', () => {
    const hedging = new Hedging();
    expect(hedging.afterMs).toBe(10);
    for (let at = 0; at < 1_000; at++) hedging.answered(20);
    expect(hedging.afterMs).toBeCloseTo(80, 0);
    for (let at = 0; at < 1_000; at++) hedging.answered(5_000);
    expect(hedging.afterMs).toBe(100);
    for (let at = 0; at < 5_000; at++) hedging.answered(0.1);
    expect(hedging.afterMs).toBe(10);
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
