/**
 * The CSV of redis-benchmark 7: a line of names, then one per test, all cells in quotes. It has no errors in it, nor the
 * number of operations: they are those that were asked for, and any error reply ends it with an exit status.
 */
import type { Figures } from './measurements.ts';

function cellsOf(line: string): string[] {
  return [...line.matchAll(/"((?:[^"]|"")*)"/g)].map(([, cell]) => cell!.replaceAll('""', '"'));
}

/** Returns the figures of a test of so many operations. @throws Error if the CSV has no such test, or lacks a figure */
export function parseBenchmarkCsv(csv: string, test: string, operations: number): Figures {
  const [head = [], ...rows] = csv
    .split(/\r?\n/)
    .filter((line) => line.startsWith('"'))
    .map(cellsOf);
  const row = rows.find(([name]) => name === test);
  if (row === undefined) throw new Error(`redis-benchmark has told nothing of ${test}: ${csv.trim()}`);
  const cell = (name: string): number => {
    const value = Number(row[head.indexOf(name)] ?? Number.NaN);
    if (Number.isFinite(value)) return value;
    throw new Error(`redis-benchmark has told no ${name} of ${test}`);
  };
  const throughput = cell('rps');
  return {
    count: operations,
    errors: null,
    seconds: operations / throughput,
    throughput,
    mean: cell('avg_latency_ms'),
    p50: cell('p50_latency_ms'),
    p99: cell('p99_latency_ms'),
  };
}
