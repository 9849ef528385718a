/**
 * What a long run says of the nodes' memory: how much there was at the most, and whether it still grows. Pure.
 */
import type { ServerSample } from '../servers/sample.ts';
import { isNode } from './figures.ts';

/** One node over the run. */
export interface NodeMemory {
  readonly node: string;
  readonly samples: number;
  /** Highest RssAnon of a sample. */
  readonly maxBytes: number;
  /** Of the last half of the samples, in MiB per minute: least squares. Null with fewer than three of them. */
  readonly slopeMiBPerMinute: number | null;
  /** [second of the run, RssAnon in bytes], one per sample. */
  readonly series: readonly (readonly [number, number])[];
}

const MEBIBYTE = 1024 * 1024;
const SECONDS_PER_MINUTE = 60;
const SAMPLES_MIN = 3;

/** Returns the slope of the line with the least squares, in y per x; null with fewer than three points or one x. */
export function slopeOf(points: readonly (readonly [x: number, y: number])[]): number | null {
  if (points.length < SAMPLES_MIN) return null;
  const mean = (pick: 0 | 1) => points.reduce((sum, point) => sum + point[pick], 0) / points.length;
  const [meanX, meanY] = [mean(0), mean(1)];
  let products = 0;
  let squares = 0;
  for (const [x, y] of points) {
    products += (x - meanX) * (y - meanY);
    squares += (x - meanX) ** 2;
  }
  return squares === 0 ? null : products / squares;
}

/** Returns what the samples of a run say of each node, by name; nodes without RssAnon are left out. */
export function memoryOf(samples: readonly ServerSample[]): NodeMemory[] {
  const names = [...new Set(samples.filter(isNode).map(({ server }) => server))].sort();
  return names.flatMap((node) => {
    const series = samples
      .filter(({ server }) => server === node)
      .flatMap(({ second, rssAnonBytes }) =>
        rssAnonBytes === null ? [] : [[second, rssAnonBytes] as const],
      );
    if (series.length === 0) return [];
    const slope = slopeOf(series.slice(Math.floor(series.length / 2)));
    return {
      node,
      samples: series.length,
      maxBytes: Math.max(...series.map(([, bytes]) => bytes)),
      slopeMiBPerMinute: slope === null ? null : (slope * SECONDS_PER_MINUTE) / MEBIBYTE,
      series,
    };
  });
}
