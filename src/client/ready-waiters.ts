/**
 * Those who wait for the cluster to be reachable (`db.ready()`), without a timer each: the engine's sweep
 * serves them.
 */
import { RingkeepError } from '../common/errors.ts';

interface Waiter {
  readonly deadline: number;
  readonly resolve: () => void;
  readonly reject: (error: RingkeepError) => void;
}

/** Callers of `ready` that have no answer yet. */
export class ReadyWaiters {
  #waiters: Waiter[] = [];

  get size(): number {
    return this.#waiters.length;
  }

  /** Resolves with `resolveAll`; rejects with `rejectAll`, or UNAVAILABLE at `deadline` (monotonic ms). */
  wait(deadline: number): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiters.push({ deadline, resolve, reject });
    });
  }

  resolveAll(): void {
    for (const waiter of this.#take()) waiter.resolve();
  }

  rejectAll(error: RingkeepError): void {
    for (const waiter of this.#take()) waiter.reject(error);
  }

  /** Rejects those whose time is over, with what keeps the cluster from being reached, if that is known. */
  expire(now: number, trouble: RingkeepError | null): void {
    const due = this.#waiters.filter((waiter) => now >= waiter.deadline);
    if (due.length === 0) return;
    this.#waiters = this.#waiters.filter((waiter) => now < waiter.deadline);
    const text = trouble === null ? 'no answer in time' : trouble.message;
    const error = new RingkeepError(
      'UNAVAILABLE',
      text,
      'not_applied',
      trouble === null ? {} : { cause: trouble },
    );
    for (const waiter of due) waiter.reject(error);
  }

  #take(): Waiter[] {
    const waiters = this.#waiters;
    this.#waiters = [];
    return waiters;
  }
}
