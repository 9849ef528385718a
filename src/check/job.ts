/**
 * What travels between the checker and its threads, and how a job is done: in a worker (worker.ts) or in the caller's thread.
 * The clock is the system's, so that deadlines mean the same in every thread.
 */
import type { HistoryEvent } from '../common/history.ts';
import { checkKey, type KeyReport } from './key-check.ts';

/** Limits as they travel between threads; the deadline is on `clockMs`. */
export interface JobLimits {
  readonly stepsMax: number;
  readonly configurationsMax: number;
  readonly deadline: number;
  readonly minimizeMs: number;
}

/** Keys for a worker, each with all of its events. */
export interface Job {
  readonly keys: readonly (readonly HistoryEvent[])[];
  readonly limits: JobLimits;
}

/** Reports in the order of the keys. */
export type JobResult = readonly KeyReport[];

/** Milliseconds of the system's monotonic clock, the same in all threads. */
export function clockMs(): number {
  return Number(process.hrtime.bigint() / 1_000n) / 1_000;
}

/** Checks the keys of a job, in this thread. */
export function runJob({ keys, limits }: Job): JobResult {
  return keys.map((events) => checkKey(events, { ...limits, now: clockMs }));
}
