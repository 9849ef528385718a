/**
 * Promises around callback interfaces, and virtual time that runs by itself, so that one contract suite can
 * drive real and simulated implementations alike. For tests only; owns no behaviour that is under test.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Callback } from '../../src/common/disk.ts';
import { World } from '../sim/world.ts';

/** Resolves or rejects with what `start` hands to its callback. */
export function call<T>(start: (done: Callback<T>) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    start((error, result) => (error === null ? resolve(result as T) : reject(error)));
  });
}

/** A world whose events run one per turn of the real event loop, without waiting for real time. */
export function selfRunningWorld(seed: number): {
  world: World;
  schedule: (delayMs: number, fn: () => void) => void;
} {
  const world = new World(seed);
  const runOne = (): void => world.run(world.now + 1e6, () => true);
  return {
    world,
    schedule: (delayMs, fn) => {
      world.schedule(delayMs, fn);
      setImmediate(runOne);
    },
  };
}

/** Makes an empty directory under the system's temporary one. */
export function temporaryDirectory(): { path: string; remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
