/**
 * How figures differ between repeated runs: no figure of a single run says how far it can be trusted.
 */

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Returns the spread of at least one number. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = Math.floor(sorted.length / 2);
  const even = sorted.length % 2 === 0;
  return {
    median: even ? (sorted[middle - 1]! + sorted[middle]!) / 2 : sorted[middle]!,
    min: sorted[0]!,
    max: sorted[sorted.length - 1]!,
  };
}

/** Returns a spread as its median, with the lowest and the highest figure if they differ. */
export function spreadText({ median, min, max }: Spread, show: (value: number) => string): string {
  const [middle, lowest, highest] = [median, min, max].map(show);
  return lowest === highest ? middle! : `${middle} (${lowest}–${highest})`;
}
