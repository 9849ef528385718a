/**
 * When operations of an open loop are meant to start: at a fixed pace or as a Poisson process. The times do not depend on
 * how the cluster fares; that is what an open loop is.
 * INVARIANT: times never fall, and an arrival is taken exactly once.
 */
import type { Random } from '#src/common/random.ts';

export const ARRIVALS = ['poisson', 'fixed'] as const;

export type ArrivalKind = (typeof ARRIVALS)[number];

export interface Arrivals {
  /** Time of the next arrival, in ms. */
  readonly next: number;
  /** Per second. */
  readonly rate: number;
  /** Returns the time of the next arrival and goes on to the one after it. */
  take(): number;
}

export interface ArrivalOptions {
  readonly kind: ArrivalKind;
  /** Arrivals per second of all processes together, above 0. */
  readonly rate: number;
  /** In ms. */
  readonly from: number;
  /** This process's number, in [0, parts): each takes its share. */
  readonly part: number;
  readonly parts: number;
}

/** Creates the arrivals of one process. */
export function createArrivals(options: ArrivalOptions, random: Random): Arrivals {
  const { kind, rate, from, part, parts } = options;
  const gapMs = (1_000 * parts) / rate;
  let taken = 0;
  // Fixed times are multiplied out: adding gaps up would drift. Processes take turns.
  const fixed = () => from + (taken + part / parts) * gapMs;
  const after = (time: number) => (kind === 'fixed' ? fixed() : time - Math.log(1 - random.next()) * gapMs);
  let next = after(from);
  return {
    rate: rate / parts,
    get next() {
      return next;
    },
    take() {
      const time = next;
      taken += 1;
      next = after(time);
      return time;
    },
  };
}
