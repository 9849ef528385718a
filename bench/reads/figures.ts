/**
 * The figures of reads: of one run, over the rounds, and of reads of keys with a pending write. Pure: made of the results of the
 * harness.
 * INVARIANT: a figure over the rounds is the median of the rounds' figures; only curves are of all reads together.
 */
import type { ReadLevel } from '#src/client/index.ts';
import { type Gap, longestGapMs } from '../load/gaps.ts';
import { curveOf, type Histogram, latencyOf, mergeHistograms } from '../load/histogram.ts';
import type { RunResult } from '../report/run-result.ts';
import { type Spread, spreadOf } from '../report/spread.ts';
import { CONDITIONS, type Condition, REQUIRED, WAITED_MS_MIN } from './conditions.ts';

/** Reads of one run. Latencies of successes, from the time at which a read was meant to start (of a closed loop: started). */
export interface ReadFigures {
  /** Successes per second. */
  readonly throughput: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  /** Longest time without a successful read; below 50 ms it is 0. */
  readonly gapMs: number;
  readonly errors: number;
}

/** One level in one condition in one round, from 1. */
export interface Measured {
  readonly round: number;
  readonly level: ReadLevel;
  readonly condition: Condition;
  readonly figures: ReadFigures;
  readonly latencies: Histogram;
  /** From the stop of the leader to an established one of a later epoch; null: not stopped, or not before it went on. */
  readonly leaderBackMs: number | null;
  /** Part of the time in which the slow follower was stopped; null: there was none. */
  readonly stoppedShare: number | null;
}

/** Reads of keys with a pending write in one round. */
export interface PendingReads {
  readonly round: number;
  /** Of the successes, in ms. */
  readonly latenciesMs: readonly number[];
  readonly errors: number;
  readonly leaderBackMs: number | null;
  /** Reads of other keys meanwhile. */
  readonly others: ReadFigures;
}

/** One level in one condition over the rounds. */
export interface Cell {
  readonly level: ReadLevel;
  readonly condition: Condition;
  readonly throughput: Spread;
  readonly p50Ms: Spread;
  readonly p99Ms: Spread;
  readonly p999Ms: Spread;
  readonly maxMs: Spread;
  readonly gapMs: Spread;
  /** Their sum. */
  readonly errors: number;
  /** Null: not in this condition, or in no round. */
  readonly leaderBackMs: Spread | null;
  readonly stoppedShare: Spread | null;
  /** Points [percentile, ms], of the reads of all rounds. */
  readonly curve: readonly (readonly [number, number])[];
}

/** Reads of keys with a pending write over all rounds. */
export interface PendingSummary {
  readonly reads: number;
  /** Those that waited for the next leader, and their part. */
  readonly waited: number;
  readonly share: number;
  readonly errors: number;
  /** Over all that waited, and over all that did not; null: there are none. */
  readonly waitedMs: Spread | null;
  readonly quickMs: Spread | null;
  readonly leaderBackMs: Spread | null;
  readonly others: Omit<Cell, 'level' | 'condition' | 'leaderBackMs' | 'stoppedShare' | 'curve'>;
}

/** Whether quorum reads of keys without a pending write are as required, by their medians. */
export interface Verdict {
  readonly of: 'paused' | 'pending';
  readonly p99Ms: number;
  readonly gapMs: number;
  readonly met: boolean;
}

/** Returns the figures of a run whose measured part is `[from, to)`. */
export function readFiguresOf(
  {
    throughput,
    all,
    counts,
    gaps,
  }: Pick<RunResult, 'throughput' | 'all' | 'counts'> & {
    readonly gaps: ReadonlyMap<number, readonly Gap[]>;
  },
  run: { readonly from: number; readonly to: number },
): ReadFigures {
  const { p50: p50Ms, p99: p99Ms, p999: p999Ms, max: maxMs } = latencyOf(all);
  const gapMs = longestGapMs(gaps, run);
  return { throughput, p50Ms, p99Ms, p999Ms, maxMs, gapMs, errors: counts.failed + counts.abandoned };
}

function spreadIfAny(values: readonly (number | null)[]): Spread | null {
  const known = values.filter((value) => value !== null);
  return known.length === 0 ? null : spreadOf(known);
}

function overRounds(rounds: readonly ReadFigures[]): PendingSummary['others'] {
  const of = (name: keyof ReadFigures) => spreadOf(rounds.map((figures) => figures[name]));
  return {
    ...{ throughput: of('throughput'), p50Ms: of('p50Ms'), p99Ms: of('p99Ms'), p999Ms: of('p999Ms') },
    ...{ maxMs: of('maxMs'), gapMs: of('gapMs') },
    errors: rounds.reduce((sum, { errors }) => sum + errors, 0),
  };
}

/** Returns what was measured over the rounds, by condition and level. */
export function cellsOf(measured: readonly Measured[], levels: readonly ReadLevel[]): Cell[] {
  return CONDITIONS.flatMap((condition) =>
    levels.flatMap((level): Cell[] => {
      const own = measured.filter((one) => one.condition === condition && one.level === level);
      if (own.length === 0) return [];
      return [
        {
          ...{ level, condition, ...overRounds(own.map(({ figures }) => figures)) },
          leaderBackMs: spreadIfAny(own.map(({ leaderBackMs }) => leaderBackMs)),
          stoppedShare: spreadIfAny(own.map(({ stoppedShare }) => stoppedShare)),
          curve: curveOf(mergeHistograms(own.map(({ latencies }) => latencies))),
        },
      ];
    }),
  );
}

/** Returns the reads of keys with a pending write over the rounds; null without any. */
export function pendingOf(rounds: readonly PendingReads[]): PendingSummary | null {
  if (rounds.length === 0) return null;
  const latencies = rounds.flatMap(({ latenciesMs }) => latenciesMs);
  const waited = latencies.filter((ms) => ms > WAITED_MS_MIN);
  return {
    reads: latencies.length,
    waited: waited.length,
    share: latencies.length === 0 ? 0 : waited.length / latencies.length,
    errors: rounds.reduce((sum, { errors }) => sum + errors, 0),
    waitedMs: spreadIfAny(waited),
    quickMs: spreadIfAny(latencies.filter((ms) => ms <= WAITED_MS_MIN)),
    leaderBackMs: spreadIfAny(rounds.map(({ leaderBackMs }) => leaderBackMs)),
    others: overRounds(rounds.map(({ others }) => others)),
  };
}

/** Holds the medians of quorum reads while the leader is paused against what is required. */
export function judge(cells: readonly Cell[], pending: PendingSummary | null): Verdict[] {
  const paused = cells.find(({ level, condition }) => level === 'quorum' && condition === 'paused');
  const verdict = (of: Verdict['of'], figures: PendingSummary['others'] | undefined): Verdict[] => {
    if (figures === undefined) return [];
    const [p99Ms, gapMs] = [figures.p99Ms.median, figures.gapMs.median];
    const met = p99Ms <= REQUIRED.p99MsMax && gapMs <= REQUIRED.gapMsMax && figures.errors === 0;
    return [{ of, p99Ms, gapMs, met }];
  };
  return [...verdict('paused', paused), ...verdict('pending', pending?.others)];
}
