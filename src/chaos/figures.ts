/**
 * What the operations of a run say about its faults: throughput and latency over time, availability and p99 of each phase, and how
 * long each partition was away. All of it comes from the history, whose times are microseconds of one monotonic clock.
 * INVARIANT: a time without an answer is one gap, from the last answer before it to the first after it.
 */
import type { HistoryEvent } from '../common/history.ts';

/** When a fault was on, in microseconds of the history's clock. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/** A stretch in which a partition answered nothing. */
export interface Gap extends Window {
  readonly partition: number;
}

/** Operations that were called in a phase. */
export interface PhaseFigures {
  readonly operations: number;
  /** Part that succeeded, in [0, 1]; a condition that did not hold is a success. */
  readonly availability: number;
  /** Of those that succeeded, ms. */
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** One point of the run's course. */
export interface Slice {
  /** Seconds since the beginning, of its middle. */
  readonly at: number;
  readonly readsPerSecond: number;
  readonly writesPerSecond: number;
  readonly failedPerSecond: number;
  /** Of what succeeded in it, ms; NaN: nothing did. */
  readonly p99Ms: number;
}

/** What the names of keys begin with whose operations have less time than a failover takes: they do not tell what is available. */
export const HASTY = 'hasty-';

const MS = 1_000;

/** Returns the value below which a part of the sorted ones are; NaN of none. */
export function quantile(sorted: readonly number[], part: number): number {
  if (sorted.length === 0) return Number.NaN;
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(part * sorted.length) - 1))]!;
}

/** Returns the two quantiles that are told of times. */
export function spread(times: readonly number[]): { p50: number; p99: number; max: number } {
  const sorted = [...times].sort((a, b) => a - b);
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), max: sorted.at(-1) ?? Number.NaN };
}

function succeeded({ output }: HistoryEvent): boolean {
  return output?.result === 'ok';
}

/** Returns what the operations that were called in these windows came to, but for hasty ones. */
export function phaseFigures(history: readonly HistoryEvent[], windows: readonly Window[]): PhaseFigures {
  const inside = history.filter(
    ({ call, key }) => windows.some(({ from, to }) => call >= from && call < to) && !key.startsWith(HASTY),
  );
  const times = inside
    .filter((event) => succeeded(event) && event.return !== null)
    .map(({ call, return: end }) => (end! - call) / MS);
  const { p50, p99 } = spread(times);
  const availability = inside.length === 0 ? Number.NaN : times.length / inside.length;
  return { operations: inside.length, availability, p50Ms: p50, p99Ms: p99 };
}

/** Returns what was between windows, in order. */
export function outside(windows: readonly Window[], whole: Window): Window[] {
  const calm: Window[] = [];
  let at = whole.from;
  for (const { from, to } of [...windows].sort((a, b) => a.from - b.from)) {
    if (from > at) calm.push({ from: at, to: from });
    at = Math.max(at, to);
  }
  if (whole.to > at) calm.push({ from: at, to: whole.to });
  return calm;
}

/**
 * Returns when each partition answered nothing for at least `leastMs`, by the operations on keys `PREFIX-PARTITION-…` alone: one
 * that is asked all the time shows every pause.
 */
export function gapsOf(
  history: readonly HistoryEvent[],
  prefix: string,
  whole: Window,
  leastMs: number,
): Gap[] {
  const answers = new Map<number, number[]>();
  for (const event of history) {
    const [name, partition] = event.key.split('-');
    if (name !== prefix) continue;
    const list = answers.get(Number(partition)) ?? [];
    answers.set(Number(partition), list);
    if (succeeded(event) && event.return !== null) list.push(event.return);
  }
  const gaps: Gap[] = [];
  for (const [partition, times] of answers) {
    let last = whole.from;
    for (const at of [...times.sort((a, b) => a - b), whole.to]) {
      if (at - last >= leastMs * MS) gaps.push({ partition, from: last, to: at });
      last = Math.max(last, at);
    }
  }
  return gaps;
}

/**
 * Returns the longest of the gaps that a window touches, ms; 0: none. What of a gap lies in `standstills`, when nobody looked, does not
 * count; these are in order and apart.
 */
export function longestIn(
  gaps: readonly Gap[],
  { from, to }: Window,
  standstills: readonly Window[] = [],
): number {
  const seen = (gap: Window): number =>
    standstills.reduce(
      (left, still) => left - Math.max(0, Math.min(gap.to, still.to) - Math.max(gap.from, still.from)),
      gap.to - gap.from,
    );
  const touching = gaps.filter((gap) => gap.from < to && gap.to > from);
  return touching.reduce((most, gap) => Math.max(most, seen(gap) / MS), 0);
}

/** Cuts a run into slices. */
export function slicesOf(history: readonly HistoryEvent[], whole: Window, sliceMs: number): Slice[] {
  const count = Math.max(1, Math.ceil((whole.to - whole.from) / (sliceMs * MS)));
  const slices = Array.from({ length: count }, () => ({
    reads: 0,
    writes: 0,
    failed: 0,
    times: [] as number[],
  }));
  for (const event of history) {
    if (event.return === null || event.return < whole.from || event.return >= whole.to) continue;
    if (event.key.startsWith(HASTY)) continue;
    const slice = slices[Math.floor((event.return - whole.from) / (sliceMs * MS))]!;
    if (!succeeded(event)) slice.failed += 1;
    else {
      if (event.op === 'get') slice.reads += 1;
      else slice.writes += 1;
      slice.times.push((event.return - event.call) / MS);
    }
  }
  const rate = (number: number): number => (number * 1_000) / sliceMs;
  return slices.map(({ reads, writes, failed, times }, index) => ({
    at: ((index + 0.5) * sliceMs) / 1_000,
    readsPerSecond: rate(reads),
    writesPerSecond: rate(writes),
    failedPerSecond: rate(failed),
    p99Ms: spread(times).p99,
  }));
}

/**
 * Returns a history as it has to be judged after these faults. Values with a time to live end by the wall clocks of leaders: where
 * one of them was set, or they are not one machine's, they may have ended as soon as they were written (docs/HISTORIES.md).
 */
export function underAnyClock(
  history: readonly HistoryEvent[],
  faults: readonly { readonly family: string }[],
  oneClock: boolean,
): readonly HistoryEvent[] {
  if (oneClock && !faults.some(({ family }) => family === 'clock')) return history;
  return history.map((event) => (event.ttlMs === undefined ? event : { ...event, ttlMs: 1 }));
}
