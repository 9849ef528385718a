/**
 * The result of a benchmark as a page: what was measured with what, percentile curves, throughput and p99 over time with the
 * marks of a failover, and the servers' CPU and memory.
 */
import { type Chart, drawChart, formatNumber, type Line, type Mark } from '#src/common/report/chart.ts';
import { escapeHtml, renderPage } from '#src/common/report/page.ts';
import type { Latency } from '../load/histogram.ts';
import type { BenchmarkDocument, ShownRun, ShownStep } from './document.ts';

const MEBIBYTE = 1024 * 1024;
const TIME = { label: 'seconds since the measured part began', kind: 'linear' } as const;

function htmlTable(rows: readonly (readonly string[])[], head: readonly string[] = []): string {
  const cells = (row: readonly string[]) =>
    row.map((cell, at) => `<td${at === 0 ? '' : ' class="number"'}>${escapeHtml(cell)}</td>`).join('');
  const header =
    head.length === 0
      ? ''
      : `<thead><tr>${head.map((cell) => `<th>${escapeHtml(cell)}</th>`).join('')}</tr></thead>`;
  return `<table>${header}<tbody>\n${rows.map((row) => `<tr>${cells(row)}</tr>`).join('\n')}\n</tbody></table>`;
}

function figure(chart: Chart): string {
  return `<h2>${escapeHtml(chart.title)}</h2>\n<div class="scroll">${drawChart(chart)}</div>`;
}

function latencyRow(name: string, latency: Latency): string[] {
  const { count, mean, p50, p90, p99, p999, p9999, max } = latency;
  return [name, ...[count, mean, p50, p90, p99, p999, p9999, max].map(formatNumber)];
}

function nameOf(step: ShownStep, text: string): string {
  return step.rate === null ? text : `${text}, ${formatNumber(step.rate)} ops/s`;
}

function percentileCurves(steps: readonly ShownStep[]): Chart {
  const [only] = steps;
  const lines: Line[] =
    steps.length === 1 && only !== undefined
      ? Object.entries(only.merged.byKind).map(([kind, { curve }]) => ({ name: kind, points: curve }))
      : steps.map((step) => ({ name: nameOf(step, 'all'), points: step.merged.latency.curve }));
  return {
    title: 'Latency by percentile',
    x: { label: 'percentile', kind: 'percentile', format: (value) => `${value}` },
    y: { label: 'ms', kind: 'log' },
    lines,
  };
}

/** Marks of all runs: they are on one axis of time. */
function marksOf(runs: readonly ShownRun[]): Mark[] {
  const named = (run: number, event: string) => (runs.length === 1 ? event : `${event} (run ${run + 1})`);
  return runs.flatMap(({ events }, run) =>
    events.map(({ event, second }) => ({ x: second, label: named(run, event) })),
  );
}

function overTime(
  title: string,
  label: string,
  kind: 'linear' | 'log',
  runs: readonly ShownRun[],
  lines: (run: ShownRun, name: string) => readonly Line[],
): Chart {
  return {
    title,
    x: TIME,
    y: { label, kind },
    lines: runs.flatMap((run, at) => {
      const own = lines(run, runs.length === 1 ? '' : `run ${at + 1} `);
      // What is solid and dashed of one run or server has one colour.
      const colours = own.filter(({ dashed }) => !dashed).length;
      return own.map((line, index) => ({ ...line, colour: at * colours + (index % Math.max(1, colours)) }));
    }),
    marks: marksOf(runs),
  };
}

/** Whole seconds of the measured part: what ends later comes from fewer and fewer operations. */
function inTime({ series, elapsedSeconds }: ShownRun): ShownRun['series'] {
  return series.filter(({ second }) => second + 1 <= Math.max(1, Math.ceil(elapsedSeconds)));
}

function runCharts(step: ShownStep): Chart[] {
  const { runs } = step;
  const perServer = (
    run: ShownRun,
    prefix: string,
    of: (sample: ShownRun['servers'][number]) => number,
  ): Line[] =>
    [...new Set(run.servers.map(({ server }) => server))].sort().map((server) => ({
      name: `${prefix}${server}`,
      points: run.servers
        .filter((sample) => sample.server === server)
        .map((sample) => [sample.second, of(sample)] as const),
    }));
  return [
    overTime(nameOf(step, 'Throughput'), 'operations per second', 'linear', runs, (run, name) => [
      { name: `${name}succeeded`, points: inTime(run).map((point) => [point.second + 0.5, point.succeeded]) },
      ...(run.counts.failed === 0
        ? []
        : [
            {
              name: `${name}failed`,
              dashed: true,
              points: inTime(run).map(({ second, failed }) => [second + 0.5, failed] as const),
            },
          ]),
    ]),
    overTime(nameOf(step, 'Latency'), 'ms', 'log', runs, (run, name) => [
      { name: `${name}p50`, dashed: true, points: inTime(run).map(({ second, p50 }) => [second + 0.5, p50]) },
      { name: `${name}p99`, points: inTime(run).map(({ second, p99 }) => [second + 0.5, p99]) },
    ]),
    overTime(nameOf(step, 'CPU of the servers'), '% of one core', 'linear', runs, (run, name) =>
      perServer(run, name, ({ cpuPercent }) => cpuPercent),
    ),
    overTime(nameOf(step, 'Memory of the servers'), 'MiB', 'linear', runs, (run, name) => [
      ...perServer(run, `${name}RSS `, ({ rssBytes }) => rssBytes / MEBIBYTE),
      ...perServer(run, `${name}RssAnon `, ({ rssAnonBytes }) => (rssAnonBytes ?? Number.NaN) / MEBIBYTE).map(
        (line) => ({ ...line, dashed: true }),
      ),
    ]),
  ];
}

function kneeChart({ steps, sweep }: BenchmarkDocument): string[] {
  if (sweep === null) return [];
  const curve = (name: string, of: (latency: Latency) => number): Line => ({
    name,
    dots: true,
    points: [...steps]
      .sort((a, b) => (a.rate ?? 0) - (b.rate ?? 0))
      .map(({ merged }) => [merged.throughput, of(merged.latency)] as const),
  });
  return [
    figure({
      title: 'Latency by throughput',
      x: { label: 'achieved operations per second', kind: 'linear' },
      y: { label: 'ms', kind: 'log' },
      lines: [
        curve('p50', ({ p50 }) => p50),
        curve('p99', ({ p99 }) => p99),
        curve('p99.9', ({ p999 }) => p999),
      ],
      marks: sweep.knee === null ? [] : [{ x: sweep.knee.achieved, label: 'knee' }],
    }),
  ];
}

function latencies(steps: readonly ShownStep[]): string {
  const rows = steps.flatMap((step) => {
    const { merged } = step;
    const kinds = Object.entries(merged.byKind).map(([kind, latency]) =>
      latencyRow(nameOf(step, kind), latency),
    );
    const failed =
      merged.failedLatency.count === 0 ? [] : [latencyRow(nameOf(step, 'failed'), merged.failedLatency)];
    return [...kinds, latencyRow(nameOf(step, 'all'), merged.latency), ...failed];
  });
  const head = ['ms', 'count', 'mean', 'p50', 'p90', 'p99', 'p99.9', 'p99.99', 'max'];
  return `<div class="scroll">${htmlTable(rows, head)}</div>`;
}

function summary(steps: readonly ShownStep[]): string {
  const rows = steps.map((step) => {
    const { counts, throughput } = step.merged;
    const { median, min, max } = step.spread.throughput;
    const spread = `${formatNumber(median)} (${formatNumber(min)} to ${formatNumber(max)})`;
    const figures = [counts.started, counts.succeeded, counts.failed, counts.backlog, counts.abandoned];
    return [
      nameOf(step, 'runs: ') + step.runs.length,
      formatNumber(throughput),
      spread,
      ...figures.map(formatNumber),
    ];
  });
  const head = ['', 'ops/s', 'median (min to max)', 'started', 'succeeded', 'failed', 'backlog', 'abandoned'];
  return `<div class="scroll">${htmlTable(rows, head)}</div>`;
}

function failures(steps: readonly ShownStep[]): string[] {
  const rows = steps.flatMap((step) =>
    step.merged.failures.map(({ kind, code, outcome, count }) => [
      ...[nameOf(step, kind), code, outcome, formatNumber(count)],
    ]),
  );
  return rows.length === 0
    ? []
    : ['<h2>Failed operations</h2>', htmlTable(rows, ['', 'code', 'outcome', 'count'])];
}

function eventsOf(steps: readonly ShownStep[]): string[] {
  const rows = steps.flatMap(({ runs }) =>
    runs.flatMap(({ events, failover }, run) => [
      ...events.map(({ event, second, detail }) => [
        `run ${run + 1}: ${event}`,
        detail,
        `${second.toFixed(3)} s`,
      ]),
      ...(failover === null
        ? []
        : [
            [
              `run ${run + 1}: longest gap without success`,
              `partition ${failover.longestGapPartition ?? '–'}`,
              `${(failover.longestGapMs / 1_000).toFixed(3)} s`,
            ],
          ]),
    ]),
  );
  return rows.length === 0 ? [] : ['<h2>Events</h2>', htmlTable(rows)];
}

function circumstances(document: BenchmarkDocument): string {
  const { machine, commit, durability, cluster, version, startedAt, load } = document;
  const { cpu, cores, memoryBytes, kernel, node } = machine;
  const changed = commit?.changed ? ', with changes' : '';
  const sampled = cluster.sampled.length === 0 ? 'none' : cluster.sampled.join(', ');
  const rows = [
    ['Version', `${version}${commit === null ? '' : `, commit ${commit.hash}${changed}`}`],
    ['Time', startedAt],
    [
      'Machine',
      `${cpu}, ${cores} cores, ${formatNumber(memoryBytes / MEBIBYTE)} MiB, ${kernel}, Node.js ${node}`,
    ],
    [
      'Cluster',
      `${cluster.nodes} nodes, ${cluster.partitions} partitions, replication factor ${cluster.replicationFactor}${cluster.spawned ? ', on this machine' : ''}`,
    ],
    [
      'Durability',
      `${durability.ack}: ${durability.description}; file system ${durability.fileSystem ?? 'not known'}`,
    ],
    ['Sampled', sampled],
    [
      'Loaded',
      load === null
        ? 'nothing'
        : `${formatNumber(load.records)} records in ${formatNumber(load.elapsedSeconds)} s`,
    ],
    ['Options', JSON.stringify(document.options)],
  ];
  const cells = rows.map(
    ([name, text]) => `<tr><th>${name}</th><td class="mono">${escapeHtml(text!)}</td></tr>`,
  );
  return `<h2>Measured with</h2>\n<table><tbody>\n${cells.join('\n')}\n</tbody></table>`;
}

/** Returns a document as a page. */
export function renderBenchmark(document: BenchmarkDocument): string {
  const { steps, warnings, sweep } = document;
  // Of a sweep, the rates themselves are the picture; a chart over time for each would hide it.
  const shown = sweep === null ? steps : steps.filter(({ rate }) => rate === sweep.knee?.rate);
  const body = [
    '<h1>Ringkeep benchmark</h1>',
    ...warnings.map((text) => `<p class="unknown">${escapeHtml(text)}</p>`),
    summary(steps),
    ...kneeChart(document),
    figure(percentileCurves(steps)),
    latencies(steps),
    ...shown.flatMap((step) => runCharts(step).map(figure)),
    ...eventsOf(steps),
    ...failures(steps),
    circumstances(document),
  ];
  return renderPage('Ringkeep benchmark', body.join('\n'));
}
