/**
 * Growth as a page: per dimension the figures as a table, what grows faster than it should, and a chart of each figure; the
 * memory of the long run over time.
 */
import { type Chart, formatNumber, type Line } from '#src/common/report/chart.ts';
import { escapeHtml, renderPage } from '#src/common/report/page.ts';
import { htmlFigure, htmlTable, machineHtml, madeHtml } from '../report/html.ts';
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

function madeWith(part: Circumstances): string {
  const { seconds, processes, quick } = part.options;
  return madeHtml(part, `${seconds} s each, ${processes} client processes`, quick);
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
    ...chartsOf(result).map(htmlFigure),
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
    htmlFigure(memoryChart(memory)),
  ].join('\n');
}

/** Returns the page of a document. */
export function renderGrowth({ machine, dimensions, memory }: GrowthDocument): string {
  const body = [
    '<h1>Growth, one dimension at a time</h1>',
    machineHtml(machine),
    ...dimensions.map(dimensionHtml),
    ...(memory === null ? [] : [memoryHtml(memory)]),
  ].join('\n');
  return renderPage('Growth', body);
}
