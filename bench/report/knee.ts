/**
 * The sweep to the knee of the throughput-latency curve: which rate comes next, and where the knee is. A rate is within the
 * limits while the cluster keeps up with it and its p99 is acceptable.
 */

/** What came of one rate. */
export interface SweepPoint {
  /** Operations per second that were asked for. */
  readonly rate: number;
  /** Those that were due: a Poisson process has the rate on average only. */
  readonly offered: number;
  /** Those that were answered with success. */
  readonly achieved: number;
  readonly p99Ms: number;
}

export interface SweepLimits {
  /** Share of what was offered that must be achieved. */
  readonly achievedMin: number;
  /** Infinite: none. */
  readonly p99MsMax: number;
}

export interface SweepPlan extends SweepLimits {
  /** The rates to try, rising; empty: from `from` on, each `factor` times the one before. */
  readonly rates: readonly number[];
  readonly from: number;
  readonly factor: number;
  /** Rates to try between the last one within the limits and the first one beyond. */
  readonly refinements: number;
}

/** A sweep ends after this many rates, wherever it is. */
const POINTS_MAX = 60;

/** Returns whether a rate was within the limits. */
export function isWithin(point: SweepPoint, limits: SweepLimits): boolean {
  return point.achieved >= point.offered * limits.achievedMin && point.p99Ms <= limits.p99MsMax;
}

function lowestBeyond(points: readonly SweepPoint[], limits: SweepLimits): number {
  const beyond = points.filter((point) => !isWithin(point, limits)).map(({ rate }) => rate);
  return Math.min(Number.POSITIVE_INFINITY, ...beyond);
}

/** Returns the knee: the highest rate within the limits below every rate beyond them; null if there is none. */
export function findKnee(points: readonly SweepPoint[], limits: SweepLimits): SweepPoint | null {
  const bound = lowestBeyond(points, limits);
  const within = points.filter((point) => point.rate < bound);
  return within.reduce<SweepPoint | null>(
    (best, point) => (best === null || point.rate > best.rate ? point : best),
    null,
  );
}

/** Returns the rate to try after `points`, in the order in which they were tried; null: the sweep is over. */
export function nextRate(points: readonly SweepPoint[], plan: SweepPlan): number | null {
  if (points.length >= POINTS_MAX) return null;
  const beyond = points.findIndex((point) => !isWithin(point, plan));
  if (beyond < 0) {
    if (plan.rates.length > 0) return plan.rates[points.length] ?? null;
    const last = points[points.length - 1];
    return last === undefined ? plan.from : Math.round(last.rate * plan.factor);
  }
  const knee = findKnee(points, plan);
  if (knee === null || points.length - beyond - 1 >= plan.refinements) return null;
  const between = Math.round(Math.sqrt(knee.rate * lowestBeyond(points, plan)));
  return between > knee.rate && between < lowestBeyond(points, plan) ? between : null;
}
