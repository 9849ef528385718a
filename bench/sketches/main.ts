/**
 * `npm run bench:sketches [-- OPERATIONS]`: what finds the hottest keys, against the truth and against another sketch, on one thread that does
 * nothing else. 10 million operations over a million keys by default; prints a table per distribution. docs/HOT-KEYS.md has figures.
 */
import { measureSketches } from './sketches.ts';

const operations = Number(process.argv[2] ?? 10_000_000);
for (const constant of [0.99, 1.2, 0.8, 0]) {
  const figures = measureSketches({ constant, keys: 1_000_000, operations });
  console.log(constant === 0 ? 'uniform' : `zipfian ${constant}`);
  console.table(
    figures.map(({ sketch, bytes, nsPerOperation, found, errorMax, errorMean }) => ({
      ...{ sketch, 'KiB, about': Math.round(bytes / 1_024), 'ns each': nsPerOperation },
      ...{ 'of the top 10': found, 'largest error': errorMax.toFixed(6), 'mean error': errorMean.toFixed(6) },
    })),
  );
}
