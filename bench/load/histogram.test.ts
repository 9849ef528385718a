import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  addEncoded,
  createHistogram,
  curveOf,
  encodeHistogram,
  latencyOf,
  mergeHistograms,
  percentileFile,
  recordMs,
} from './histogram.ts';

function histogramOf(values: readonly number[]) {
  const histogram = createHistogram();
  for (const value of values) recordMs(histogram, value);
  return histogram;
}

describe('histograms', () => {
  it('merge to what one histogram of all values would be, also through their text', () => {
    const latencies = fc.array(fc.double({ min: 0, max: 60_000, noNaN: true }), { maxLength: 200 });
    fc.assert(
      fc.property(fc.array(latencies, { maxLength: 4 }), (parts) => {
        const whole = histogramOf(parts.flat());
        const merged = mergeHistograms(parts.map(histogramOf));
        const sent = createHistogram();
        for (const part of parts) addEncoded(sent, encodeHistogram(histogramOf(part)));
        expect(latencyOf(merged)).toEqual(latencyOf(whole));
        expect(latencyOf(sent)).toEqual(latencyOf(whole));
      }),
      { numRuns: 30 },
    );
  });

  it('keep three digits of a latency, from a microsecond to an hour', () => {
    const { p50, max, count } = latencyOf(histogramOf([0, 0.0004, 1.234, 5_000_000, 5_000_000]));
    expect(count).toBe(5);
    expect(p50).toBeCloseTo(1.234, 2);
    expect(max / 3_600_000).toBeCloseTo(1, 2);
    expect(latencyOf(createHistogram())).toMatchObject({ count: 0, mean: 0, p99: 0, max: 0 });
  });

  it('have a curve that rises, and a file that the plotter reads', () => {
    const histogram = histogramOf(Array.from({ length: 1_000 }, (_, n) => n / 10));
    const curve = curveOf(histogram);
    expect(curve[0]![0]).toBe(0);
    expect(curve.at(-1)![0]).toBeGreaterThan(99.8);
    for (const [at, [, ms]] of curve.entries()) expect(ms).toBeGreaterThanOrEqual(curve[at - 1]?.[1] ?? 0);
    const file = percentileFile(histogram);
    expect(file).toMatch(/^ +Value +Percentile TotalCount 1\/\(1-Percentile\)\n/);
    expect(file).toContain('Total count    =         1000');
    expect(file).toMatch(/ 1\.0+ +1000/);
  });
});
