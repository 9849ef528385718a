import { defineConfig } from 'vitest/config';
import { mutate, mutated } from './test/support/typescript-source.mjs';

/** Puts a deliberate bug in, for test/mutants/. */
const mutation = {
  name: 'mutation',
  enforce: 'pre' as const,
  transform: (code: string, id: string) => (mutated.includes(id) ? mutate(code, id) : null),
};

/**
 * Projects: `unit` (pure and storage) and `e2e` (real processes) are `npm test` and need no root and no network; `chaos` is
 * `npm run test:chaos`, which needs none either and takes minutes; `release` (the packed package) is called by .ci/run.
 */
export default defineConfig({
  test: {
    projects: [
      {
        plugins: [mutation],
        // bench/ imports src/ by `#src/`: see "imports" in package.json.
        ssr: { resolve: { conditions: ['ringkeep-source'] } },
        test: {
          name: 'unit',
          include: ['{src,bench}/**/*.test.ts', 'test/{sim,mutants,contract}/**/*.test.ts'],
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'e2e',
          include: ['test/e2e/**/*.test.ts', 'test/crash/**/*.test.ts'],
          testTimeout: 180_000,
          hookTimeout: 60_000,
          fileParallelism: false,
          // After the unit tests: real processes need the cores for themselves.
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'chaos',
          include: ['test/chaos/**/*.test.ts'],
          testTimeout: 180_000,
          fileParallelism: false,
          sequence: { groupOrder: 3 },
        },
      },
      {
        test: {
          name: 'release',
          include: ['test/release/**/*.test.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
