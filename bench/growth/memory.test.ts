import { describe, expect, it } from 'vitest';
import type { ServerSample } from '../servers/sample.ts';
import { memoryOf, slopeOf } from './memory.ts';

const MEBIBYTE = 1024 * 1024;

function sample(server: string, second: number, mebibytes: number | null): ServerSample {
  const rssAnonBytes = mebibytes === null ? null : mebibytes * MEBIBYTE;
  return { server, second, cpuPercent: 50, rssBytes: 1e9, rssAnonBytes };
}

describe('slopeOf', () => {
  it('is that of the line through the points, whatever their order', () => {
    const points = [3, 0, 1, 2].map((x) => [x, 7 - 2 * x] as const);
    expect(slopeOf(points)).toBeCloseTo(-2);
  });

  it('weighs noise down', () => {
    const points = Array.from({ length: 100 }, (_, x) => [x, 5 * x + (x % 2 === 0 ? 3 : -3)] as const);
    expect(slopeOf(points)!).toBeCloseTo(5, 1);
  });

  it('is not known of too few points, or of one place', () => {
    expect(slopeOf([])).toBeNull();
    expect(slopeOf([[1, 1]])).toBeNull();
    expect(slopeOf([1, 2, 3].map((y) => [1, y] as const))).toBeNull();
  });
});

describe('memoryOf', () => {
  it('tells the maximum over all and the slope of the last half, per node and without the router', () => {
    const seconds = Array.from({ length: 20 }, (_, second) => second);
    const samples = seconds.flatMap((second) => [
      // Grows fast while caches fill, then 1 MiB a second.
      sample('n2', second, second < 10 ? 10 * second : 91 + second),
      sample('router', second, 999),
      sample('n1', second, second === 3 ? 500 : 100),
      sample('n3', second, null),
    ]);
    const [first, second, ...others] = memoryOf(samples);
    expect(others).toEqual([]);
    expect(first).toMatchObject({ node: 'n1', samples: 20, maxBytes: 500 * MEBIBYTE });
    expect(first!.slopeMiBPerMinute).toBeCloseTo(0);
    expect(second).toMatchObject({ node: 'n2', maxBytes: 110 * MEBIBYTE });
    expect(second!.slopeMiBPerMinute).toBeCloseTo(60);
    expect(second!.series[1]).toEqual([1, 10 * MEBIBYTE]);
  });
});
