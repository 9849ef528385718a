/**
 * The scales of a chart's axes: values to places in [0, 1], and round numbers for the ticks. Three kinds: `linear`, `log`
 * (powers of ten), and `percentile`, on which 90, 99 and 99.9 are equally far apart, as HdrHistogram plots them.
 * INVARIANT: places and ticks are finite for any finite values.
 */

export type ScaleKind = 'linear' | 'log' | 'percentile';

export interface Tick {
  readonly value: number;
  /** In [0, 1]. */
  readonly place: number;
}

export interface Scale {
  /** Returns the place of a value, limited to [0, 1]. */
  place(value: number): number;
  readonly ticks: readonly Tick[];
}

/** Numbers of an axis that leave room for their labels. */
const TICKS_MAX = 8;
/** Beyond this, a percentile is one operation in a hundred million. */
const PERCENTILE_MAX = 99.999_999;
const PERCENTILES = [0, 50, 90, 99, 99.9, 99.99, 99.999, 99.9999, 99.99999, 99.999999];
/** What is closer together is one value, and a `log` axis reaches no further down: no drawing could tell it apart. */
const RESOLUTION = 1e-12;
const FACTORS = [1, 2, 5];

function limit(place: number): number {
  return Math.min(1, Math.max(0, place));
}

function scaleOf(
  low: number,
  high: number,
  map: (value: number) => number,
  values: readonly number[],
): Scale {
  const from = map(low);
  const span = map(high) - from;
  const place = (value: number) => (span > 0 ? limit((map(value) - from) / span) : 0.5);
  return { place, ticks: values.map((value) => ({ value, place: place(value) })) };
}

/** Returns the largest of 1, 2 and 5 times a power of ten that gives at most TICKS_MAX steps over `span`. */
function roundStep(span: number): number {
  const power = 10 ** Math.floor(Math.log10(span / TICKS_MAX));
  const factor = [...FACTORS, 10].find((candidate) => span / (candidate * power) <= TICKS_MAX);
  return (factor ?? 10) * power;
}

function linearScale(low: number, high: number): Scale {
  const spread = high - low > Math.max(RESOLUTION, Math.abs(low) * RESOLUTION);
  const top = spread ? high : low + Math.max(1, Math.abs(low));
  const step = roundStep(top - low);
  const from = Math.floor(low / step) * step;
  const count = Math.ceil((top - from) / step - 1e-9);
  // Rounded, because 3 * 0.1 is not 0.3.
  const values = Array.from({ length: count + 1 }, (_, n) => Number((from + n * step).toPrecision(12)));
  return scaleOf(values[0]!, values[count]!, (value) => value, values);
}

function logScale(low: number, high: number): Scale {
  const bottom = Math.floor(Math.log10(low));
  const top = Math.max(bottom + 1, Math.ceil(Math.log10(high) - 1e-9));
  const decades = Array.from({ length: top - bottom + 1 }, (_, n) => 10 ** (bottom + n));
  const fine = decades.slice(0, -1).flatMap((decade) => FACTORS.map((factor) => factor * decade));
  const values = fine.length < TICKS_MAX ? [...fine, 10 ** top] : decades;
  const map = (value: number) => Math.log10(Math.max(value, 10 ** bottom));
  return scaleOf(10 ** bottom, 10 ** top, map, values);
}

function percentileScale(high: number): Scale {
  const top = PERCENTILES.find((value) => value > 0 && value >= high - 1e-12) ?? PERCENTILE_MAX;
  const map = (value: number) => -Math.log10(1 - Math.min(value, PERCENTILE_MAX) / 100);
  return scaleOf(
    0,
    top,
    map,
    PERCENTILES.filter((value) => value <= top),
  );
}

/**
 * Returns a scale that shows all of `values`; those that are not finite, and on a `log` scale those not above 0, do not count.
 * `fromZero` makes a linear one begin at 0.
 */
export function createScale(kind: ScaleKind, values: readonly number[], fromZero = false): Scale {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (!Number.isFinite(value) || (kind === 'log' && value <= 0)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  if (low > high) {
    low = kind === 'log' ? 1 : 0;
    high = 1;
  }
  if (kind === 'log')
    return logScale(Math.max(low, high * RESOLUTION, RESOLUTION), Math.max(high, RESOLUTION));
  if (kind === 'percentile') return percentileScale(high);
  return linearScale(fromZero ? Math.min(0, low) : low, high);
}
