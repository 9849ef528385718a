/**
 * The results of the measurement of salts as one JSON document, which is also what its tables and its page are made of. Its shape is
 * described in docs/BENCHMARKS.md: fields are added, never renamed or removed while `format` stays the same. Latencies in ms.
 */
import { formatNumber } from '#src/common/report/chart.ts';
import { curveOf, latencyOf } from '../load/histogram.ts';
import type { Circumstances } from '../program.ts';
import { mergeRuns, sumCounts } from '../report/document.ts';
import { mergeFailures } from '../report/run-result.ts';
import { textTable } from '../report/table.ts';
import { machineWarnings } from '../report/warnings.ts';
import type { Machine } from '../servers/machine.ts';
import type { MeasuredLoad, MeasuredWrites, NodeShare, SaltsPace, SaltsResults } from './course.ts';

export const FORMAT = 1;

/** One load, all its windows together. */
export interface ShownLoad {
  readonly nodes: number;
  readonly load: MeasuredLoad['load'];
  readonly salted: boolean;
  /** Successes per second; of all windows, and of each. */
  readonly throughput: number;
  readonly windows: readonly number[];
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly errors: number;
  readonly failures: readonly string[];
  readonly byNode: readonly NodeShare[];
  /** Coefficients of variation over the nodes: standard deviation over mean; 0 is even. */
  readonly getsSpread: number;
  readonly cpuSpread: number;
  /** Operations per second if the busiest node had a processor for itself, and nobody else were in the way: computed, not measured. */
  readonly computedThroughput: number;
  /** Points [percentile, ms]. */
  readonly curve: readonly (readonly [number, number])[];
}

/** Writes of a key with all of its copies in place, or without any. */
export interface ShownWrites {
  readonly nodes: number;
  readonly salted: boolean;
  readonly writes: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

export interface SaltsDocument extends Circumstances {
  readonly format: typeof FORMAT;
  readonly machine: Machine;
  readonly options: SaltsPace;
  readonly loads: readonly ShownLoad[];
  readonly writes: readonly ShownWrites[];
  readonly warnings: readonly string[];
}

/** Returns the standard deviation of numbers over their mean; 0 where the mean is. */
export function variationOf(values: readonly number[]): number {
  const mean = values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
  if (mean === 0) return 0;
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length;
  return Math.sqrt(variance) / mean;
}

function sumShares(windows: MeasuredLoad['windows']): NodeShare[] {
  const sums = new Map<string, { node: string; gets: number; cpuMs: number }>();
  for (const { node, gets, cpuMs } of windows.flatMap(({ byNode }) => byNode)) {
    const sum = sums.get(node) ?? { node, gets: 0, cpuMs: 0 };
    sums.set(node, { node, gets: sum.gets + gets, cpuMs: sum.cpuMs + cpuMs });
  }
  return [...sums.values()].sort((a, b) => (a.node < b.node ? -1 : 1));
}

function showLoad({ nodes, load, salted, windows }: MeasuredLoad): ShownLoad {
  const runs = windows.map(({ run }) => run);
  const { throughput, all } = mergeRuns(runs);
  const { p50: p50Ms, p99: p99Ms, max: maxMs } = latencyOf(all);
  const { succeeded, failed, abandoned } = sumCounts(runs);
  const byNode = sumShares(windows);
  const busiestMs = Math.max(...byNode.map(({ cpuMs }) => cpuMs));
  const failures = mergeFailures(runs.map((run) => run.failures));
  return {
    ...{ nodes, load, salted, throughput, windows: runs.map((run) => run.throughput), p50Ms, p99Ms, maxMs },
    errors: failed + abandoned,
    failures: failures.map(({ kind, code, outcome, count }) => `${count} ${kind}: ${code}, ${outcome}`),
    byNode,
    getsSpread: variationOf(byNode.map(({ gets }) => gets)),
    cpuSpread: variationOf(byNode.map(({ cpuMs }) => cpuMs)),
    computedThroughput: busiestMs === 0 ? 0 : (succeeded * 1_000) / busiestMs,
    curve: curveOf(all),
  };
}

function showWrites({ nodes, salted, latency }: MeasuredWrites): ShownWrites {
  const { p50: p50Ms, p99: p99Ms } = latencyOf(latency);
  return { nodes, salted, writes: latency.totalCount, p50Ms, p99Ms };
}

/** Returns the document of what was measured. */
export function createDocument(
  { loads, writes }: SaltsResults,
  pace: SaltsPace,
  circumstances: Circumstances & { readonly machine: Machine },
): SaltsDocument {
  return {
    ...{ format: FORMAT, ...circumstances, options: pace },
    loads: loads.map(showLoad),
    writes: writes.map(showWrites),
    warnings: machineWarnings(circumstances),
  };
}

/** Head of `rowOf`. */
export const COLUMNS: readonly string[] = [
  ...['nodes', 'gets of', 'copies', 'gets/s', 'p50 ms', 'p99 ms', 'errors'],
  ...['spread of gets', 'spread of CPU', 'gets/s, computed'],
];

/** Returns the figures of a load as a row. */
export function rowOf(shown: ShownLoad): string[] {
  const { nodes, load, salted, throughput, p50Ms, p99Ms, errors, getsSpread, cpuSpread } = shown;
  const spreads = [getsSpread, cpuSpread].map((spread) => spread.toFixed(2));
  const figures = [throughput, p50Ms, p99Ms].map(formatNumber);
  const computed = formatNumber(shown.computedThroughput);
  return [`${nodes}`, load, salted ? 'with' : 'without', ...figures, `${errors}`, ...spreads, computed];
}

/** Head of `writesRowOf`. */
export const WRITES_COLUMNS: readonly string[] = ['nodes', 'copies', 'writes', 'p50 ms', 'p99 ms'];

/** Returns the figures of writes as a row. */
export function writesRowOf({ nodes, salted, writes, p50Ms, p99Ms }: ShownWrites): string[] {
  const latencies = [p50Ms, p99Ms].map(formatNumber);
  return [`${nodes}`, salted ? `${nodes - 1}` : 'none', `${writes}`, ...latencies];
}

/** Returns what copies gain, in words: measured here, and computed for machines that are not shared. */
export function gainTexts({ loads }: SaltsDocument): string[] {
  return loads
    .filter(({ salted }) => salted)
    .flatMap((shown) => {
      const without = loads.find(
        ({ nodes, load, salted }) => !salted && nodes === shown.nodes && load === shown.load,
      );
      if (without === undefined) return [];
      const times = (shown.throughput / without.throughput).toFixed(2);
      const computed = (shown.computedThroughput / without.computedThroughput).toFixed(2);
      return [
        `${shown.load}, ${shown.nodes} nodes: ${times} times the throughput on this machine; ${computed} times if each node had a processor for itself (computed from the time that each has used)`,
      ];
    });
}

/** Returns how it was measured, in words. */
export function paceText({ options }: SaltsDocument): string {
  const { records, valueBytes, partitions, inFlight, windows, seconds, mode, processes } = options;
  return `${records} records of ${valueBytes} bytes, ${partitions} partitions; linearizable gets, ${inFlight} in flight, mode ${mode}, ${windows} windows of ${seconds} s each, with and without copies in turns; ${processes} client processes`;
}

/** Returns a document as lines for people. */
export function documentText(document: SaltsDocument): string {
  const { machine, fileSystem, loads, writes, warnings } = document;
  return [
    `${machine.cpu}, ${machine.cores} cores; data on ${fileSystem}`,
    paceText(document),
    '',
    textTable([COLUMNS, ...loads.map(rowOf)]),
    '',
    textTable([WRITES_COLUMNS, ...writes.map(writesRowOf)]),
    '',
    ...gainTexts(document),
    ...loads.flatMap(({ load, failures }) => failures.map((failure) => `${load}: ${failure}`)),
    ...warnings.map((text) => `note: ${text}`),
  ].join('\n');
}
