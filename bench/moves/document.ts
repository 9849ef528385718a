/**
 * The results of the measurement of moves as one JSON document, which is also what its table and its page are made of. Its shape is
 * described in docs/BENCHMARKS.md: fields are added, never renamed or removed while `format` stays the same. Latencies in ms.
 */
import { formatNumber } from '#src/common/report/chart.ts';
import { formatBytes } from '#src/common/report/format.ts';
import { curveOf, latencyOf } from '../load/histogram.ts';
import type { Circumstances } from '../program.ts';
import { mergeRuns, sumCounts } from '../report/document.ts';
import { mergeFailures } from '../report/run-result.ts';
import { textTable } from '../report/table.ts';
import { machineWarnings } from '../report/warnings.ts';
import type { Machine } from '../servers/machine.ts';
import type { Change, MeasuredPhase, MovesPace, MovesResults, Phase } from './course.ts';

export const FORMAT = 1;

/** What is required while replicas move. */
export const REQUIRED = { p99Times: 3, copiedTimes: 1.2, errors: 0 } as const;

/** The load of one phase, all its windows together. */
export interface ShownPhase {
  readonly phase: Phase;
  readonly windows: number;
  /** Successes per second. */
  readonly throughput: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly p999Ms: number;
  readonly maxMs: number;
  /** Operations that have failed or were never started. */
  readonly errors: number;
  readonly failures: readonly string[];
  /** Points [percentile, ms]. */
  readonly curve: readonly (readonly [number, number])[];
}

/** Whether what is required of a change of size held. */
export interface Verdict {
  readonly of: Extract<Phase, 'growing' | 'shrinking'>;
  /** p99 while replicas moved, over that of the quiet cluster with as many nodes running. */
  readonly p99Times: number;
  /** What was received over what had to be. */
  readonly copiedTimes: number;
  readonly errors: number;
  readonly met: boolean;
}

export interface MovesDocument extends Circumstances {
  readonly format: typeof FORMAT;
  readonly machine: Machine;
  readonly options: MovesPace;
  readonly knees: MovesResults['knees'];
  /** Operations per second. */
  readonly rate: number;
  readonly phases: readonly ShownPhase[];
  readonly changes: readonly Change[];
  readonly required: typeof REQUIRED;
  readonly verdicts: readonly Verdict[];
  readonly warnings: readonly string[];
}

function showPhase({ phase, windows }: MeasuredPhase): ShownPhase {
  const { throughput, all } = mergeRuns(windows);
  const { p50: p50Ms, p99: p99Ms, p999: p999Ms, max: maxMs } = latencyOf(all);
  const { failed, abandoned } = sumCounts(windows);
  const failures = mergeFailures(windows.map((window) => window.failures));
  return {
    ...{ phase, windows: windows.length, throughput, p50Ms, p99Ms, p999Ms, maxMs },
    errors: failed + abandoned,
    failures: failures.map(({ kind, code, outcome, count }) => `${count} ${kind}: ${code}, ${outcome}`),
    curve: curveOf(all),
  };
}

/** Holds what was measured against what is required. While the size changes, the larger number of nodes runs. */
export function judge(phases: readonly ShownPhase[], changes: readonly Change[]): Verdict[] {
  const quiet = phases.find(({ phase }) => phase === 'quiet large')!;
  return (['growing', 'shrinking'] as const).map((of, at): Verdict => {
    const { p99Ms, errors } = phases.find(({ phase }) => phase === of)!;
    const { receivedBytes, neededBytes } = changes[at]!;
    const p99Times = p99Ms / quiet.p99Ms;
    const copiedTimes = receivedBytes / neededBytes;
    const met =
      p99Times <= REQUIRED.p99Times && copiedTimes <= REQUIRED.copiedTimes && errors <= REQUIRED.errors;
    return { of, p99Times, copiedTimes, errors, met };
  });
}

/** Returns the document of what was measured. */
export function createDocument(
  { knees, rate, phases, changes }: MovesResults,
  pace: MovesPace,
  circumstances: Circumstances & { readonly machine: Machine },
): MovesDocument {
  const shown = phases.map(showPhase);
  return {
    ...{ format: FORMAT, ...circumstances, options: pace, knees, rate, phases: shown, changes },
    ...{ required: REQUIRED, verdicts: judge(shown, changes), warnings: machineWarnings(circumstances) },
  };
}

/** Head of `rowOf`. */
export const COLUMNS: readonly string[] = [
  ...['', 'operations/s', 'p50 ms', 'p99 ms', 'p99.9 ms', 'longest ms', 'errors'],
];

/** Returns the figures of a phase as a row. */
export function rowOf({ phase, throughput, p50Ms, p99Ms, p999Ms, maxMs, errors }: ShownPhase): string[] {
  return [phase, ...[throughput, p50Ms, p99Ms, p999Ms, maxMs].map(formatNumber), `${errors}`];
}

/** Returns what a change of size was, in words. */
export function changeText({ from, to, seconds, moves, neededBytes, receivedBytes }: Change): string {
  return `${from} to ${to} nodes: ${moves} moves in ${seconds.toFixed(1)} s; ${formatBytes(receivedBytes)} received for replicas of ${formatBytes(neededBytes)}`;
}

/** Returns a verdict in words. */
export function verdictText({ of, p99Times, copiedTimes, errors, met }: Verdict): string {
  const figures = `p99 ${p99Times.toFixed(2)} times that of the quiet cluster, ${copiedTimes.toFixed(2)} times the bytes, ${errors} errors`;
  const bounds = `at most ${REQUIRED.p99Times}, ${REQUIRED.copiedTimes} and ${REQUIRED.errors} are required`;
  return `${of}: ${figures}; ${bounds}: ${met ? 'met' : 'not met'}`;
}

/** Returns how it was measured, in words. */
export function paceText({ options, rate, knees }: MovesDocument): string {
  const { records, valueBytes, partitions, putShare, processes } = options;
  const from = knees.map((knee) => `${knee.rate}/s with ${knee.nodes} nodes`).join(', ');
  const why = knees.length === 0 ? '' : ` (half of the lower knee: ${from})`;
  return `${records} records of ${valueBytes} bytes, ${partitions} partitions; ${rate} operations/s${why}, ${Math.round(putShare * 100)} % puts, ${processes} client processes`;
}

/** Returns a document as lines for people. */
export function documentText(document: MovesDocument): string {
  const { machine, fileSystem, phases, changes, verdicts, warnings } = document;
  return [
    `${machine.cpu}, ${machine.cores} cores; data on ${fileSystem}`,
    paceText(document),
    '',
    textTable([COLUMNS, ...phases.map(rowOf)]),
    '',
    ...changes.map(changeText),
    ...phases.flatMap(({ phase, failures }) => failures.map((failure) => `${phase}: ${failure}`)),
    ...verdicts.map(verdictText),
    ...warnings.map((text) => `note: ${text}`),
  ].join('\n');
}
