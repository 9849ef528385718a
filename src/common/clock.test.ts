import { afterEach, describe, expect, it, vi } from 'vitest';
import { every, systemClock } from './clock.ts';

afterEach(() => {
  vi.useRealTimers();
});

describe('the clock of the process', () => {
  it('runs something once, unless that is prevented', () => {
    vi.useFakeTimers();
    const ran: string[] = [];
    systemClock.after(10, () => ran.push('first'));
    const prevent = systemClock.after(10, () => ran.push('second'));
    prevent();
    vi.advanceTimersByTime(100);
    expect(ran).toEqual(['first']);
  });

  it('runs something again and again until it is told to stop, also from within', () => {
    vi.useFakeTimers();
    let times = 0;
    const stop = every(systemClock, 20, () => {
      times += 1;
      if (times === 5) stop();
    });
    vi.advanceTimersByTime(60);
    expect(times).toBe(3);
    vi.advanceTimersByTime(1_000);
    expect(times).toBe(5);
    expect(vi.getTimerCount()).toBe(0);
  });
});
