/**
 * Time and chance for code that needs timers of its own: the process's in production, virtual ones in the simulation, where
 * the same seed must give the same run. What needs no timers is told the time instead, as everywhere else.
 * INVARIANT: whatever takes a clock reads no other.
 */

export interface Clock {
  /** Monotonic ms. */
  now(): number;
  /** Returns a number in [0, 1). */
  random(): number;
  /** Runs something once, `delayMs` from now. The function that it returns prevents that. */
  after(delayMs: number, run: () => void): () => void;
}

export const systemClock: Clock = {
  now: () => performance.now(),
  random: () => Math.random(),
  after: (delayMs, run) => {
    const timer = setTimeout(run, delayMs);
    return () => clearTimeout(timer);
  },
};

/** Runs something every `periodMs`, until the function that it returns is called. */
export function every(clock: Clock, periodMs: number, run: () => void): () => void {
  const next = (): void => {
    cancel = clock.after(periodMs, next);
    run();
  };
  let cancel = clock.after(periodMs, next);
  return () => cancel();
}
