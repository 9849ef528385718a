import { describe, expect, it } from 'vitest';
import { Meter } from './move-orders.ts';

describe('the meter of copies', () => {
  it('tells the rate of the last seconds, and asks once a second at most', () => {
    const meter = new Meter();
    let asked = 0;
    const at = (now: number, value: number): void =>
      meter.look(now, () => {
        asked += 1;
        return value;
      });
    expect(meter.rate).toBe(0);
    at(0, 0);
    at(10, 1);
    expect(asked).toBe(1);
    expect(meter.rate).toBe(0);
    for (let second = 1; second <= 20; second += 1) at(second * 1_000, second * 500);
    expect(asked).toBe(21);
    expect(meter.rate).toBe(500);
    // It stands still: after ten seconds nothing is left of what was.
    for (let second = 21; second <= 25; second += 1) at(second * 1_000, 10_000);
    expect(meter.rate).toBe(250);
    for (let second = 26; second <= 31; second += 1) at(second * 1_000, 10_000);
    expect(meter.rate).toBe(0);
  });

  it('begins anew with another plan', () => {
    const meter = new Meter();
    for (const [now, value] of [
      [0, 1_000],
      [1_000, 2_000],
      [2_000, 0],
      [3_000, 100],
    ] as const)
      meter.look(now, () => value);
    expect(meter.rate).toBe(100);
  });
});
