/**
 * Virtual time for production code that has timers of its own, and the way in which whatever it throws becomes a failure of
 * the simulation.
 * INVARIANT: no timer of a process that has ended runs.
 */
import type { Clock } from '../../src/common/clock.ts';
import { SimulationFailure, type World } from './world.ts';

/** Runs production code of a place; what it throws fails the simulation. */
export function guarded(world: World, place: string, run: () => void): void {
  try {
    run();
  } catch (error) {
    if (error instanceof SimulationFailure) throw error;
    const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
    throw world.failure(`${place} threw: ${message}`, error);
  }
}

/** The clock of one process; its timers run while `alive` says so. */
export function simClock(world: World, place: string, alive: () => boolean = () => true): Clock {
  return {
    now: () => world.now,
    random: () => world.random.next(),
    after: (delayMs, run) => {
      let due = true;
      world.schedule(delayMs, () => {
        if (due && alive()) guarded(world, place, run);
      });
      return () => {
        due = false;
      };
    },
  };
}
