/**
 * Faults of src/chaos/faults/ on real clusters under load, one at a time: each has to show its effect, is undone, and is recovered
 * from; then the whole history is judged.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { ProcessCluster } from '../../src/chaos/cluster.ts';
import type { ActiveFault, FaultDriver } from '../../src/chaos/fault.ts';
import { createRandom } from '../../src/common/random.ts';
import { Load, type LoadOptions } from './load.ts';

/** How often a test of faults is made again after the first time. */
export const REPEATS = Math.max(1, Number(process.env.RINGKEEP_FAULT_TIMES ?? 1)) - 1;

/** `it`, or `it.skip` with the reason in its name, which the report shows. */
export function itIf(
  missing: string | null,
  name: string,
  run: () => Promise<void>,
  timeout = 120_000,
): void {
  if (missing === null) it(name, { timeout, repeats: REPEATS }, run);
  else it.skip(`${name} (${missing})`, run);
}

/** What happens to a cluster. */
export interface Course {
  readonly seed?: number;
  /** Time that the fault is on beyond what its confirmation takes, ms. */
  readonly holdMs?: number;
  /** Done while it is on. */
  readonly during?: (fault: ActiveFault) => Promise<void>;
}

/** Injects a fault, waits for its proof, undoes it and waits until every replica is whole. Returns the proof. */
export async function passThrough(
  cluster: ProcessCluster,
  driver: FaultDriver,
  course: Course = {},
): Promise<string> {
  const { seed = 1, holdMs = 1_500, during } = course;
  const context = { cluster, random: createRandom(seed), holdMs, partitions: 6, keyspace: '' };
  expect(driver.missing(cluster)).toBeNull();
  const fault = await driver.inject(context);
  let proof: string;
  try {
    proof = await fault.confirmed;
    await during?.(fault);
    await delay(holdMs);
  } finally {
    await fault.undo();
  }
  // Idempotent: whoever is interrupted does it once more.
  await fault.undo();
  const begun = performance.now();
  await cluster.start();
  await cluster.whenHealthy();
  const wholeMs = Math.round(performance.now() - begun);
  console.log(`${driver.kind} on ${fault.target}: ${proof}; whole after ${wholeMs} ms`);
  return proof;
}

/** Runs `act` under load, judges everything, and returns the load. */
export async function underLoad(
  cluster: ProcessCluster,
  partitions: number,
  act: (load: Load) => Promise<void>,
  options: Partial<LoadOptions> = {},
): Promise<Load> {
  const { url, nodeAddresses: direct } = cluster;
  const load = new Load({ url, direct, partitions, writers: 6, readers: 2, ...options });
  await load.start();
  try {
    await act(load);
  } finally {
    await load.stop();
  }
  await load.verify();
  console.log(load.summary());
  expect(load.breaches).toEqual([]);
  expect(load.writes).toBeGreaterThan(0);
  return load;
}
