import { availableParallelism } from 'node:os';
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
 * `npm run test:chaos` and `mutants` is `npm run test:mutants`, which need none either and take minutes; `release` (the packed package) and `docker` (the image in
 * containers, `npm run test:docker`) are called by .ci/run, and so are `disk` and `netns`, which need root, namespaces of their own
 * and programs of the system: `npm run test:disk`, `npm run test:netns`.
 */
export default defineConfig({
  test: {
    // The Docker engine of the container tests is stopped, and what it has written is removed.
    teardownTimeout: 60_000,
    projects: [
      {
        plugins: [mutation],
        // bench/ imports src/ by `#src/`: see "imports" in package.json.
        ssr: { resolve: { conditions: ['ringkeep-source'] } },
        test: {
          name: 'unit',
          include: ['{src,bench}/**/*.test.ts', 'test/{sim,contract}/**/*.test.ts'],
          testTimeout: 60_000,
          // Half of a machine with two cores would stand still otherwise.
          maxWorkers: Math.max(2, availableParallelism() - 1),
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'mutants',
          include: ['test/mutants/**/*.test.ts'],
          fileParallelism: false,
          sequence: { groupOrder: 1 },
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
      ...['disk', 'netns'].map((name) => ({
        test: {
          name,
          include: [`test/${name}/**/*.test.ts`],
          testTimeout: 120_000,
          hookTimeout: 60_000,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      })),
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
      {
        test: {
          name: 'docker',
          include: ['test/docker/**/*.test.ts'],
          globalSetup: ['test/support/docker-engine.ts'],
          testTimeout: 120_000,
          // Building the image, on a machine that is busy.
          hookTimeout: 600_000,
          fileParallelism: false,
          sequence: { groupOrder: 4 },
        },
      },
    ],
  },
});
