/**
 * Latency histograms: HdrHistogram with three significant digits, from 1 µs to an hour, recorded in ms and kept in µs. The
 * one place that knows the library.
 * Source: hdrhistogram.org; its file format is that of the percentile plotter there.
 */
import {
  build,
  decodeFromCompressedBase64,
  encodeIntoCompressedBase64,
  type Histogram as HdrHistogram,
} from 'hdr-histogram-js';

export type Histogram = HdrHistogram;

const MICROSECONDS = 1_000;
const LONGEST_MICROSECONDS = 3_600_000_000;
/** Points of a curve while the distance to 100 % halves. */
const TICKS_PER_HALF = 5;

/** Percentiles and mean in ms; all of them 0 if nothing was recorded. */
export interface Latency {
  readonly count: number;
  readonly mean: number;
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly p9999: number;
  readonly max: number;
}

/** Creates an empty histogram. */
export function createHistogram(): Histogram {
  return build({
    bitBucketSize: 32,
    autoResize: false,
    lowestDiscernibleValue: 1,
    highestTrackableValue: LONGEST_MICROSECONDS,
    numberOfSignificantValueDigits: 3,
    useWebAssembly: false,
  });
}

/** Records a latency in ms; what is beyond an hour counts as an hour. */
export function recordMs(histogram: Histogram, ms: number): void {
  const microseconds = Math.round(ms * MICROSECONDS);
  histogram.recordValue(microseconds < 1 ? 1 : Math.min(microseconds, LONGEST_MICROSECONDS));
}

/** Returns a histogram as text. */
export function encodeHistogram(histogram: Histogram): string {
  return encodeIntoCompressedBase64(histogram);
}

/** Adds what `encodeHistogram` has made of another one. */
export function addEncoded(histogram: Histogram, encoded: string): void {
  histogram.add(decodeFromCompressedBase64(encoded, 32, false));
}

/** Returns a new histogram of all that the given ones hold. */
export function mergeHistograms(histograms: readonly Histogram[]): Histogram {
  const merged = createHistogram();
  for (const histogram of histograms) merged.add(histogram);
  return merged;
}

/** Returns a percentile in ms. */
export function percentileMs(histogram: Histogram, percentile: number): number {
  return histogram.totalCount === 0 ? 0 : histogram.getValueAtPercentile(percentile) / MICROSECONDS;
}

/** Returns the usual percentiles. */
export function latencyOf(histogram: Histogram): Latency {
  const at = (percentile: number) => percentileMs(histogram, percentile);
  return {
    count: histogram.totalCount,
    mean: histogram.totalCount === 0 ? 0 : Math.round(histogram.mean) / MICROSECONDS,
    ...{ p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), p9999: at(99.99), max: at(100) },
  };
}

/** Returns points of the percentile curve, [percentile, ms], as far as the number of values supports them. */
export function curveOf(histogram: Histogram): readonly (readonly [number, number])[] {
  const points: [number, number][] = [];
  const halves = Math.log2(Math.max(1, histogram.totalCount));
  for (let tick = 0; tick <= halves * TICKS_PER_HALF && histogram.totalCount > 0; tick += 1) {
    const percentile = 100 * (1 - 2 ** (-tick / TICKS_PER_HALF));
    points.push([percentile, percentileMs(histogram, percentile)]);
  }
  return points;
}

/** Returns the percentile distribution in ms, as HdrHistogram's plotter reads it. */
export function percentileFile(histogram: Histogram): string {
  return histogram.outputPercentileDistribution(TICKS_PER_HALF, MICROSECONDS);
}
