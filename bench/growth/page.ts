/**
 * Growth as a page: per dimension the figures as a table, what grows faster than it should, and a chart of each figure; the
 * memory of the long run over time.
 */
import { type Chart, drawChart, formatNumber, type Line } from '#src/common/report/chart.ts';
import { escapeHtml, renderPage } from '#src/common/report/page.ts';
import {
  type Circumstances,
  COLUMNS,
  type DimensionResult,
  findingText,
  type GrowthDocument,
  MEMORY_HEAD,
  type MemoryResult,
  memoryRows,
  rowsOf,
  STORAGE_HEAD,
  storageRow,
  storageRows,
  UNITS,
} from './document.ts';
import { type Figures, OPERATIONS } from './figures.ts';

const MEBIBYTE = 1024 * 1024;

interface ShownFigure {
  readonly title: string;
  readonly label: string;
  readonly of: (figures: Figures) => number | null;
}

const SHOWN: readonly ShownFigure[] = [
  { title: 'Throughput', label: 'operations per second', of: ({ throughput }) => throughput },
  { title: 'Median latency', label: 'p50 in ms', of: ({ p50Ms }) => p50Ms },
  { title: 'Latency of the slowest in a hundred', label: 'p99 in ms', of: ({ p99Ms }) => p99Ms },
  { title: 'CPU of the servers', label: 'µs per operation', of: ({ serverCpuUs }) => serverCpuUs },
  { title: 'CPU of the clients', label: 'µs per operation', of: ({ clientCpuUs }) => clientCpuUs },
  {
    title: 'Memory of the largest node',
    label: 'RssAnon in MiB',
    of: ({ nodeRssAnonBytes }) => (nodeRssAnonBytes === null ? null : nodeRssAnonBytes / MEBIBYTE),
  },
];

function htmlTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (row: readonly string[]) =>
    row.map((cell) => `<td class="number">${escapeHtml(cell)}</td>`).join('');
  const header = head.map((cell) => `<th>${escapeHtml(cell)}</th>`).join('');
  const body = rows.map((row) => `<tr>${cells(row)}</tr>`).join('\n');
  return `<div class="scroll"><table><thead><tr>${header}</tr></thead><tbody>\n${body}\n</tbody></table></div>`;
}

function figure(chart: Chart): string {
  return `<h3>${escapeHtml(chart.title)}</h3>\n<div class="scroll">${drawChart(chart)}</div>`;
}

/** Returns the charts of a dimension: one per figure, puts and gets as lines. */
export function chartsOf({ dimension, points }: DimensionResult): Chart[] {
  const linear = dimension === 'nodes';
  return SHOWN.map(({ title, label, of }) => ({
    title: `${title} by ${dimension}`,
    x: { label: UNITS[dimension], kind: linear ? 'linear' : 'log' },
    y: { label, kind: 'log' },
    lines: OPERATIONS.map((operation) => ({
      name: operation,
      dots: true,
      points: points.map((point) => [point.x, of(point[operation]) ?? Number.NaN] as const),
    })),
  }));
}

function madeWith({ version, commit, startedAt, fileSystem, loadAverage, options }: Circumstances): string {
  const changed = commit?.changed ? ', changed' : '';
  const made = commit === null ? '' : ` (${commit.hash.slice(0, 12)}${changed})`;
  const pace = `${options.seconds} s each, ${options.processes} client processes`;
  const quick = options.quick ? '; a try: the figures say nothing' : '';
  const text = `${startedAt}: Ringkeep ${version}${made}; ${pace}; data on ${fileSystem}; load average before ${loadAverage.toFixed(1)}${quick}`;
  return `<p class="faint">${escapeHtml(text)}</p>`;
}

function dimensionHtml(result: DimensionResult): string {
  const { dimension, points, findings, failures } = result;
  const lines = [
    ...findings.map((finding) => `grows faster than it should: ${findingText(finding)}`),
    ...failures.map(({ x, message }) => `failed at ${formatNumber(x)}: ${message}`),
  ];
  return [
    `<h2>Growth by ${escapeHtml(dimension)}</h2>`,
    madeWith(result),
    htmlTable(COLUMNS, points.flatMap(rowsOf)),
    '<p class="faint">Storage, of the worst node, since its start:</p>',
    htmlTable(STORAGE_HEAD, storageRows(points)),
    ...(lines.length === 0 ? ['<p class="ok">Nothing grows faster than it should.</p>'] : []),
    ...lines.map((line) => `<p class="illegal">${escapeHtml(line)}</p>`),
    ...chartsOf(result).map(figure),
  ].join('\n');
}

/** Returns the chart of the long run: RssAnon of each node, one point per sample. */
export function memoryChart({ byNode }: MemoryResult): Chart {
  const lines: Line[] = byNode.map(({ node, series }) => ({
    name: node,
    points: series.map(([second, bytes]) => [second, bytes / MEBIBYTE] as const),
  }));
  return {
    title: 'Memory of the nodes under full load',
    x: { label: 'seconds since the measured part began', kind: 'linear' },
    y: { label: 'RssAnon in MiB', kind: 'linear' },
    lines,
  };
}

function memoryHtml(memory: MemoryResult): string {
  const { records, valueBytes, inFlight, minutes, byNode, figures, storage } = memory;
  const load = `${formatNumber(records)} records of ${valueBytes} bytes, ${inFlight} in flight, half puts and half gets for ${formatNumber(minutes)} minutes`;
  const text = `${load}: ${formatNumber(figures.throughput)} operations per second`;
  return [
    '<h2>Memory</h2>',
    madeWith(memory),
    `<p>${escapeHtml(text)}</p>`,
    htmlTable(MEMORY_HEAD, memoryRows(byNode)),
    '<p class="faint">Storage, of the worst node, since its start:</p>',
    htmlTable(STORAGE_HEAD, [storageRow(formatNumber(records), storage)]),
    figure(memoryChart(memory)),
  ].join('\n');
}

/** Returns the page of a document. */
export function renderGrowth({ machine, dimensions, memory }: GrowthDocument): string {
  const { cpu, cores, memoryBytes, kernel, node } = machine;
  const on = `${cpu}, ${cores} cores, ${formatNumber(memoryBytes / 1024 ** 3)} GiB; ${kernel}; Node.js ${node}`;
  const body = [
    '<h1>Growth, one dimension at a time</h1>',
    `<p class="faint">${escapeHtml(on)}; clients and servers share the machine</p>`,
    ...dimensions.map(dimensionHtml),
    ...(memory === null ? [] : [memoryHtml(memory)]),
  ].join('\n');
  return renderPage('Growth', body);
}
