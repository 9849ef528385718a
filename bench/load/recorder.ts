/**
 * What became of the operations of one process in one run: latencies by kind, and failures by kind, code and outcome, as one
 * report per second of ends. Failed operations have a histogram of their own: a quick error is no quick answer.
 * INVARIANT: every end is in exactly one report.
 */
import type { Outcome } from '#src/common/errors.ts';
import type { Kind } from '../workload/workload.ts';
import { createHistogram, encodeHistogram, type Histogram, recordMs } from './histogram.ts';

/** Failures of one sort. */
export interface FailureCount {
  readonly kind: Kind;
  readonly code: string;
  readonly outcome: Outcome;
  readonly count: number;
}

/** The ends of one second of one process. */
export interface Interval {
  /** Seconds since the measured part of the run began; the first is 0. */
  readonly second: number;
  /** Encoded histograms of the kinds that had successes. */
  readonly succeeded: Readonly<Partial<Record<Kind, string>>>;
  /** Encoded histogram of failed operations; null if there are none. */
  readonly failed: string | null;
  readonly failures: readonly FailureCount[];
  /** Reads among the successes that found nothing. */
  readonly absent: number;
}

/** What is known of a failure. */
export interface Failure {
  readonly code: string;
  readonly outcome: Outcome;
}

const SECOND_MS = 1_000;

export class Recorder {
  readonly #from: number;
  readonly #report: (interval: Interval) => void;
  readonly #succeeded = new Map<Kind, Histogram>();
  readonly #failed = createHistogram();
  #failures = new Map<string, { kind: Kind; code: string; outcome: Outcome; count: number }>();
  #absent = 0;
  #second = 0;
  #ends = 0;

  /** `from` is the time at which the measured part begins, in ms. */
  constructor(from: number, report: (interval: Interval) => void) {
    this.#from = from;
    this.#report = report;
  }

  succeeded(kind: Kind, latencyMs: number, now: number, absent: boolean): void {
    this.tick(now);
    let histogram = this.#succeeded.get(kind);
    if (histogram === undefined) {
      histogram = createHistogram();
      this.#succeeded.set(kind, histogram);
    }
    recordMs(histogram, latencyMs);
    if (absent) this.#absent += 1;
    this.#ends += 1;
  }

  failed(kind: Kind, failure: Failure, latencyMs: number, now: number): void {
    this.tick(now);
    const { code, outcome } = failure;
    const name = `${kind} ${code} ${outcome}`;
    const counted = this.#failures.get(name);
    if (counted === undefined) this.#failures.set(name, { kind, code, outcome, count: 1 });
    else counted.count += 1;
    recordMs(this.#failed, latencyMs);
    this.#ends += 1;
  }

  /** Reports the second that is over, if one is. Called at every end, and often enough without any. */
  tick(now: number): void {
    const second = Math.max(0, Math.floor((now - this.#from) / SECOND_MS));
    if (second <= this.#second) return;
    this.flush();
    this.#second = second;
  }

  /** Reports what has not been reported yet. */
  flush(): void {
    if (this.#ends === 0) return;
    const succeeded: Partial<Record<Kind, string>> = {};
    for (const [kind, histogram] of this.#succeeded) {
      if (histogram.totalCount === 0) continue;
      succeeded[kind] = encodeHistogram(histogram);
      histogram.reset();
    }
    const failures = [...this.#failures.values()];
    const failed = failures.length === 0 ? null : encodeHistogram(this.#failed);
    this.#report({ second: this.#second, succeeded, failed, failures, absent: this.#absent });
    this.#failed.reset();
    this.#failures = new Map();
    this.#absent = 0;
    this.#ends = 0;
  }
}
