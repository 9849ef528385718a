/**
 * Puts together what the client processes of a run report: histograms are added up, so that percentiles are those of all
 * operations, never means of percentiles.
 * INVARIANT: every reported end is counted once, in its kind, in the sum of all kinds, and in its second.
 */
import { commonGaps, type Gap } from '../load/gaps.ts';
import {
  addEncoded,
  createHistogram,
  type Histogram,
  mergeHistograms,
  percentileMs,
} from '../load/histogram.ts';
import type { ClientReport } from '../load/messages.ts';
import type { FailureCount, Interval } from '../load/recorder.ts';
import type { ServerSample } from '../servers/sample.ts';
import { KINDS, type Kind } from '../workload/workload.ts';
import type { Failover, RunEvent } from './events.ts';

/** One second of a run. Latencies in ms, of the successes that ended in it. */
export interface SeriesPoint {
  readonly second: number;
  readonly succeeded: number;
  readonly failed: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Sums of the measured operations: started = succeeded + failed + abandoned. */
export interface Counts {
  readonly started: number;
  readonly succeeded: number;
  readonly failed: number;
  /** Due, and never started: an open loop could not work off its backlog within the drain. */
  readonly abandoned: number;
  /** Due, and not started at the end of the run. */
  readonly backlog: number;
  /** Successes after the end of the run; not part of the throughput. */
  readonly late: number;
  /** Reads that found nothing. */
  readonly absent: number;
}

/** One client process in one run. */
export interface ClientUsage {
  readonly cpuPercent: number;
  /** Share of the time in which its event loop was busy. */
  readonly busy: number;
  readonly rssBytes: number;
}

export interface RunResult {
  /** Operations per second that were asked for; null: a closed loop. */
  readonly rate: number | null;
  readonly elapsedMs: number;
  /** Successes per second of the measured part. */
  readonly throughput: number;
  readonly counts: Counts;
  readonly all: Histogram;
  readonly byKind: ReadonlyMap<Kind, Histogram>;
  readonly failed: Histogram;
  readonly failures: readonly FailureCount[];
  /** How late operations were started; null in a closed loop. */
  readonly startDelay: Histogram | null;
  readonly series: readonly SeriesPoint[];
  readonly clients: readonly ClientUsage[];
  readonly servers: readonly ServerSample[];
  readonly events: readonly RunEvent[];
  readonly failover: Failover | null;
  /** Times without any success, by partition; none if they were not noted. Monotonic, in ms. */
  readonly gaps: ReadonlyMap<number, readonly Gap[]>;
}

/** What was asked of a run; times in ms. */
export interface RunFrame {
  readonly rate: number | null;
  readonly measureFrom: number;
  /** Null: until the operations have ended. */
  readonly durationMs: number | null;
  /** Over all processes; null: until the time is up. */
  readonly operations: number | null;
}

/** Returns the length of the measured part: the time that was asked for, unless the operations ended earlier. */
function elapsedOf(run: RunFrame, started: number, lastEnd: number): number {
  const { durationMs, operations, measureFrom } = run;
  const byCount = durationMs === null || (operations !== null && started >= operations);
  if (!byCount) return durationMs;
  return Math.max(1, Math.min(durationMs ?? Number.POSITIVE_INFINITY, lastEnd - measureFrom));
}

/** Histograms of single seconds are kept for this long: they are large, and processes report at nearly the same time. */
const SECONDS_OPEN = 20;

interface Second {
  readonly histogram: Histogram;
  failed: number;
}

function addFailures(into: Map<string, FailureCount>, failures: readonly FailureCount[]): void {
  for (const failure of failures) {
    const name = `${failure.kind} ${failure.code} ${failure.outcome}`;
    into.set(name, { ...failure, count: failure.count + (into.get(name)?.count ?? 0) });
  }
}

/** Returns the sum of failures that differ in nothing but their number. */
export function mergeFailures(lists: readonly (readonly FailureCount[])[]): FailureCount[] {
  const merged = new Map<string, FailureCount>();
  for (const list of lists) addFailures(merged, list);
  return [...merged.values()].sort((a, b) => b.count - a.count);
}

/** Collects the reports of one run. */
export class RunCollector {
  readonly #byKind = new Map<Kind, Histogram>();
  readonly #failed = createHistogram();
  readonly #failures = new Map<string, FailureCount>();
  readonly #open = new Map<number, Second>();
  readonly #points = new Map<number, SeriesPoint>();
  #absent = 0;
  #last = -1;

  add(interval: Interval): void {
    const { second, succeeded, failed, failures, absent } = interval;
    this.#absent += absent;
    this.#last = Math.max(this.#last, second);
    const open = this.#second(second);
    for (const kind of KINDS) {
      const encoded = succeeded[kind];
      if (encoded === undefined) continue;
      addEncoded(this.#histogram(kind), encoded);
      addEncoded(open.histogram, encoded);
    }
    if (failed !== null) addEncoded(this.#failed, failed);
    addFailures(this.#failures, failures);
    open.failed += failures.reduce((sum, { count }) => sum + count, 0);
    for (const old of this.#open.keys()) if (old < second - SECONDS_OPEN) this.#close(old);
  }

  /** Seconds of which something is known. */
  get seconds(): number {
    return this.#last + 1;
  }

  /** Returns what is known of a second so far. */
  point(second: number): SeriesPoint {
    const open = this.#open.get(second);
    const closed = this.#points.get(second);
    if (open === undefined) return closed ?? { second, succeeded: 0, failed: 0, p50: 0, p99: 0, max: 0 };
    const at = (percentile: number) => percentileMs(open.histogram, percentile);
    return {
      second,
      succeeded: open.histogram.totalCount + (closed?.succeeded ?? 0),
      failed: open.failed + (closed?.failed ?? 0),
      p50: at(50),
      p99: at(99),
      max: at(100),
    };
  }

  /** Returns the result, given the last reports of all processes. */
  finish(
    run: RunFrame,
    reports: readonly ClientReport[],
    seen: Pick<RunResult, 'servers' | 'events' | 'failover'>,
  ): RunResult {
    const sum = (pick: (report: ClientReport) => number) => reports.reduce((all, one) => all + pick(one), 0);
    const lastEnd = Math.max(...reports.map(({ totals }) => totals.lastEnd));
    const counts: Counts = {
      started: sum(({ totals }) => totals.started),
      succeeded: sum(({ totals }) => totals.succeeded),
      failed: sum(({ totals }) => totals.failed),
      abandoned: sum(({ totals }) => totals.abandoned),
      backlog: sum(({ totals }) => totals.backlog),
      late: sum(({ totals }) => totals.late),
      absent: this.#absent,
    };
    const elapsedMs = elapsedOf(run, counts.started, lastEnd);
    const seconds = Math.max(this.#last + 1, Math.ceil(elapsedMs / 1_000));
    return {
      rate: run.rate,
      elapsedMs,
      throughput: ((counts.succeeded - counts.late) * 1_000) / elapsedMs,
      counts,
      all: mergeHistograms([...this.#byKind.values()]),
      byKind: this.#byKind,
      failed: this.#failed,
      failures: mergeFailures([[...this.#failures.values()]]),
      startDelay: run.rate === null ? null : startDelayOf(reports),
      series: Array.from({ length: seconds }, (_, second) => this.point(second)),
      clients: reports.map(({ cpuMs, busy, elapsedMs: measured, rssBytes }) => ({
        cpuPercent: measured > 0 ? (100 * cpuMs) / measured : 0,
        busy,
        rssBytes,
      })),
      gaps: commonGaps(reports.map(({ gaps }) => gaps)),
      ...seen,
    };
  }

  #histogram(kind: Kind): Histogram {
    const known = this.#byKind.get(kind) ?? createHistogram();
    this.#byKind.set(kind, known);
    return known;
  }

  #second(second: number): Second {
    const known = this.#open.get(second) ?? { histogram: createHistogram(), failed: 0 };
    this.#open.set(second, known);
    return known;
  }

  #close(second: number): void {
    this.#points.set(second, this.point(second));
    this.#open.delete(second);
  }
}

function startDelayOf(reports: readonly ClientReport[]): Histogram {
  const merged = createHistogram();
  for (const { startDelay } of reports) if (startDelay !== null) addEncoded(merged, startDelay);
  return merged;
}
