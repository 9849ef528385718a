/**
 * The result of a benchmark as text.
 */
import type { Latency } from '../load/histogram.ts';
import type { BenchmarkDocument, ShownRun, ShownStep } from './document.ts';

/** Returns rows as a table: the first column to the left, the others to the right. */
export function textTable(rows: readonly (readonly string[])[]): string {
  const columns = Math.max(0, ...rows.map((row) => row.length));
  const widths = Array.from({ length: columns }, (_, column) =>
    Math.max(...rows.map((row) => row[column]?.length ?? 0)),
  );
  const pad = (cell: string, column: number) =>
    column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!);
  return rows.map((row) => row.map(pad).join('  ').trimEnd()).join('\n');
}

function ms(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(2);
}

function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}

function latencyRow(name: string, latency: Latency): string[] {
  const { count, mean, p50, p90, p99, p999, p9999, max } = latency;
  return [name, whole(count), ...[mean, p50, p90, p99, p999, p9999, max].map(ms)];
}

const LATENCY_HEAD = ['latency in ms', 'count', 'mean', 'p50', 'p90', 'p99', 'p99.9', 'p99.99', 'max'];

function latencyTable({ merged }: ShownStep): string {
  const kinds = Object.entries(merged.byKind).map(([kind, latency]) => latencyRow(kind, latency));
  const all = kinds.length === 1 ? [] : [latencyRow('all', merged.latency)];
  const failed = merged.failedLatency.count === 0 ? [] : [latencyRow('failed', merged.failedLatency)];
  return textTable([LATENCY_HEAD, ...kinds, ...all, ...failed]);
}

function spreadLines({ spread, runs }: ShownStep): string[] {
  if (runs.length < 2) return [];
  const rows = Object.entries(spread).map(([name, { median, min, max }]) => {
    const shown = name === 'throughput' ? whole : ms;
    return [name === 'throughput' ? 'ops/s' : `${name} ms`, shown(median), shown(min), shown(max)];
  });
  return ['', textTable([[`spread of ${runs.length} runs`, 'median', 'min', 'max'], ...rows])];
}

function failureLines({ merged }: ShownStep): string[] {
  if (merged.failures.length === 0) return [];
  const rows = merged.failures.map(({ kind, code, outcome, count }) => [
    `${kind} ${code}, ${outcome}`,
    whole(count),
  ]);
  return ['', textTable([['failed', 'count'], ...rows])];
}

function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / Math.max(1, values.length);
}

function mebibytes(bytes: number): string {
  return `${(bytes / 1024 / 1024).toFixed(0)} MiB`;
}

/** One row per process: mean CPU, largest memory. */
function processRows(runs: readonly ShownRun[]): string[][] {
  const samples = runs.flatMap(({ servers }) => servers);
  const servers = [...new Set(samples.map(({ server }) => server))].sort();
  const rows = servers.map((name) => {
    const own = samples.filter(({ server }) => server === name);
    const anonymous = own.flatMap(({ rssAnonBytes }) => (rssAnonBytes === null ? [] : [rssAnonBytes]));
    return [
      name,
      `${mean(own.map(({ cpuPercent }) => cpuPercent)).toFixed(0)} %`,
      mebibytes(Math.max(...own.map(({ rssBytes }) => rssBytes))),
      anonymous.length === 0 ? '–' : mebibytes(Math.max(...anonymous)),
      '',
    ];
  });
  const clients = (runs[0]?.clients ?? []).map((_, at) => {
    const own = runs.flatMap((run) => run.clients[at] ?? []);
    return [
      `client ${at + 1}`,
      `${mean(own.map(({ cpuPercent }) => cpuPercent)).toFixed(0)} %`,
      mebibytes(Math.max(...own.map(({ rssBytes }) => rssBytes))),
      '–',
      `${(100 * mean(own.map(({ busy }) => busy))).toFixed(0)} %`,
    ];
  });
  return [...rows, ...clients];
}

function failoverLines(runs: readonly ShownRun[]): string[] {
  return runs.flatMap(({ failover, events }) => {
    if (failover === null) return [];
    const after = (value: number | null) => (value === null ? 'not in this run' : `${value.toFixed(0)} ms`);
    return [
      '',
      `failover: ${failover.node} killed at ${failover.killSecond.toFixed(2)} s; it led ${failover.led} partitions, ${failover.used} of them in use`,
      textTable([
        ['first success after', after(failover.firstSuccessMs)],
        ['all served after', after(failover.allServedMs)],
        ['leader back after', after(failover.leaderBackMs)],
        ['longest gap without success', after(failover.longestGapMs)],
      ]),
      ...events.map(({ event, second, detail }) => `  ${second.toFixed(2)} s  ${event}: ${detail}`),
    ];
  });
}

function countLine({ merged }: ShownStep): string {
  const { started, succeeded, failed, abandoned, backlog } = merged.counts;
  const late = backlog === 0 ? '' : `, ${whole(backlog)} waiting at the end`;
  const lost = abandoned === 0 ? '' : `, ${whole(abandoned)} never started`;
  return `${whole(started)} started, ${whole(succeeded)} succeeded, ${whole(failed)} failed${late}${lost}`;
}

function stepText(step: ShownStep): string[] {
  const rate = step.rate === null ? 'closed loop' : `${whole(step.rate)} ops/s wanted`;
  return [
    `${whole(step.merged.throughput)} ops/s (${rate}); ${countLine(step)}`,
    '',
    latencyTable(step),
    ...spreadLines(step),
    ...failureLines(step),
    ...failoverLines(step.runs),
    '',
    textTable([['process', 'CPU', 'RSS', 'RssAnon', 'busy'], ...processRows(step.runs)]),
  ];
}

function sweepText({ steps, sweep }: BenchmarkDocument): string[] {
  const byRate = [...steps].sort((a, b) => (a.rate ?? 0) - (b.rate ?? 0));
  const rows = byRate.map(({ rate, merged }) => {
    const { p50, p99, p999 } = merged.latency;
    const mark = sweep?.knee?.rate === rate ? 'knee' : '';
    return [
      whole(rate ?? 0),
      whole(merged.throughput),
      ms(p50),
      ms(p99),
      ms(p999),
      whole(merged.counts.failed),
      mark,
    ];
  });
  const knee = sweep?.knee ?? null;
  return [
    textTable([['wanted ops/s', 'achieved', 'p50 ms', 'p99 ms', 'p99.9 ms', 'failed', ''], ...rows]),
    '',
    knee === null
      ? 'no knee: the first rate was beyond the limits already; start lower, with --target'
      : `knee: ${whole(knee.rate)} ops/s wanted, ${whole(knee.achieved)} achieved, p99 ${ms(knee.p99Ms)} ms`,
  ];
}

/** Returns a document as lines for people. */
export function documentText(document: BenchmarkDocument): string {
  const { steps, sweep, warnings, machine, cluster, durability } = document;
  const head = [
    `${machine.cpu}, ${machine.cores} cores; ${cluster.nodes} nodes, ${cluster.partitions} partitions, replication factor ${cluster.replicationFactor}`,
    `acknowledgement ${durability.ack}: ${durability.description}`,
    '',
  ];
  const body = sweep === null ? steps.flatMap(stepText) : sweepText(document);
  return [
    ...head,
    ...body,
    ...(warnings.length === 0 ? [] : ['']),
    ...warnings.map((text) => `note: ${text}`),
  ].join('\n');
}
