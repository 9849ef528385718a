/**
 * The results of growth as one JSON document, which is also what its tables and its page are made of. Its shape is described
 * in docs/BENCHMARKS.md: fields are added, never renamed or removed while `format` stays the same. A dimension that is measured
 * again replaces its former result; the others stay, each with what it was measured with.
 */
import { formatNumber } from '#src/common/report/chart.ts';
import type { Circumstances as Made } from '../program.ts';
import { textTable } from '../report/table.ts';
import type { Machine } from '../servers/machine.ts';
import type { Pace, Size } from '../session.ts';
import type { PointFailure } from './course.ts';
import { DIMENSIONS, type Dimension } from './dimensions.ts';
import { type Figures, type MeasuredPoint, OPERATIONS, type WorstStorage } from './figures.ts';
import type { NodeMemory } from './memory.ts';
import { type Finding, judge } from './rules.ts';

export const FORMAT = 1;

/** What a part was measured with. */
export interface Circumstances extends Made {
  readonly options: Pace & { readonly quick: boolean };
}

export interface DimensionResult extends Circumstances {
  readonly dimension: Dimension;
  readonly points: readonly MeasuredPoint[];
  /** What becomes worse faster than it should (rules.ts). */
  readonly findings: readonly Finding[];
  readonly failures: readonly PointFailure[];
}

/** The long run under full load. */
export interface MemoryResult extends Circumstances, Size {
  readonly minutes: number;
  readonly loadSeconds: number;
  /** Half puts, half gets. */
  readonly figures: Figures;
  /** From the start of the cluster, load included, to the end of the run; null: no node has told. */
  readonly storage: WorstStorage | null;
  readonly byNode: readonly NodeMemory[];
}

export interface GrowthDocument {
  readonly format: typeof FORMAT;
  readonly machine: Machine;
  /** In the order in which they are measured. */
  readonly dimensions: readonly DimensionResult[];
  readonly memory: MemoryResult | null;
}

/** Returns the result of a dimension. */
export function dimensionResult(
  dimension: Dimension,
  points: readonly MeasuredPoint[],
  failures: readonly PointFailure[],
  circumstances: Circumstances,
): DimensionResult {
  return { dimension, ...circumstances, points, findings: judge(dimension, points), failures };
}

/** Returns a document with what is new, and with those parts of an earlier one of the same machine that are not. */
export function mergeDocuments(earlier: GrowthDocument | null, fresh: GrowthDocument): GrowthDocument {
  const same =
    earlier?.format === fresh.format && JSON.stringify(earlier.machine) === JSON.stringify(fresh.machine);
  if (!same || earlier === null) return fresh;
  const isFresh = (dimension: Dimension) => fresh.dimensions.some((one) => one.dimension === dimension);
  return {
    ...fresh,
    dimensions: [
      ...earlier.dimensions.filter(({ dimension }) => !isFresh(dimension)),
      ...fresh.dimensions,
    ].sort((a, b) => DIMENSIONS.indexOf(a.dimension) - DIMENSIONS.indexOf(b.dimension)),
    memory: fresh.memory ?? earlier.memory,
  };
}

const MEBIBYTE = 1024 * 1024;

/** The unit of each dimension's sizes. */
export const UNITS: Readonly<Record<Dimension, string>> = {
  keys: 'keys',
  partitions: 'partitions (replicas per node)',
  values: 'bytes of a value',
  nodes: 'nodes',
  inflight: 'operations in flight',
};

/** The head of `rowsOf`. */
export const COLUMNS: readonly string[] = [
  ...['size', 'operation', 'ops/s', 'p50 ms', 'p99 ms'],
  ...['server µs/op', 'client µs/op', 'RssAnon MiB', 'errors'],
];
/** Of a column in running text. */
const WIDTH = 13;

function known(value: number | null): string {
  return value === null ? '–' : formatNumber(value);
}

/** Returns the figures of a point as rows: puts and gets. */
export function rowsOf(point: MeasuredPoint): string[][] {
  return OPERATIONS.map((operation) => {
    const { throughput, p50Ms, p99Ms, errors, serverCpuUs, clientCpuUs, nodeRssAnonBytes } = point[operation];
    return [
      ...[
        formatNumber(point.x),
        operation,
        formatNumber(throughput),
        formatNumber(p50Ms),
        formatNumber(p99Ms),
      ],
      ...[known(serverCpuUs), known(clientCpuUs)],
      known(nodeRssAnonBytes === null ? null : nodeRssAnonBytes / MEBIBYTE),
      `${errors}`,
    ];
  });
}

/** Returns rows as they are told while points are measured: columns of one width, `null` for the head. */
export function progressText(point: MeasuredPoint | null): string {
  const rows = point === null ? [COLUMNS] : rowsOf(point);
  return rows.map((row) => row.map((cell) => cell.padStart(WIDTH)).join('')).join('\n');
}

/** Returns a finding in words. */
export function findingText({ operation, figure, fromX, toX, from, to, factor, allowed }: Finding): string {
  const change = `from ${formatNumber(from)} at ${formatNumber(fromX)} to ${formatNumber(to)} at ${formatNumber(toX)}`;
  return `${operation} ${figure}: ${change}, ${factor.toFixed(2)} times worse; ${allowed.toFixed(2)} is allowed`;
}

/** Head of `storageRow`. */
export const STORAGE_HEAD: readonly string[] = [
  ...['size', 'write amplification', 'space amplification', 'slow batches', 'their seconds'],
];

/** Returns the storage of a point as a row; dashes for what is not known. */
export function storageRow(size: string, storage: WorstStorage | null): string[] {
  if (storage === null) return [size, '–', '–', '–', '–'];
  const { writeAmplification, spaceAmplification, slowBatches, slowBatchMs } = storage;
  return [
    ...[size, known(writeAmplification), known(spaceAmplification)],
    ...[`${slowBatches}`, (slowBatchMs / 1_000).toFixed(1)],
  ];
}

/** Returns the storage of all points as rows. */
export function storageRows(points: readonly MeasuredPoint[]): string[][] {
  return points.map(({ x, storage }) => storageRow(formatNumber(x), storage));
}

/** Returns the result of a dimension as lines for people. */
export function dimensionText({ dimension, points, findings, failures }: DimensionResult): string {
  return [
    `growth by ${dimension}: ${UNITS[dimension]}`,
    textTable([COLUMNS, ...points.flatMap(rowsOf)]),
    'storage, of the worst node, since its start',
    textTable([STORAGE_HEAD, ...storageRows(points)]),
    ...findings.map((finding) => `grows faster than it should: ${findingText(finding)}`),
    ...failures.map(({ x, message }) => `failed: ${formatNumber(x)}: ${message}`),
  ].join('\n');
}

/** Returns the memory of each node as rows: samples, maximum and slope. */
export function memoryRows(nodes: readonly NodeMemory[]): string[][] {
  return nodes.map(({ node, samples, maxBytes, slopeMiBPerMinute }) => [
    ...[node, `${samples}`, formatNumber(maxBytes / MEBIBYTE)],
    slopeMiBPerMinute === null ? '–' : slopeMiBPerMinute.toFixed(2),
  ]);
}

export const MEMORY_HEAD = ['RssAnon', 'samples', 'maximum MiB', 'MiB per minute, last half'];

/** Returns the long run as lines for people. */
export function memoryText(memory: MemoryResult): string {
  const { records, valueBytes, inFlight, minutes, figures, byNode, storage } = memory;
  const load = `${formatNumber(records)} records of ${valueBytes} bytes, ${inFlight} in flight`;
  const { throughput, p99Ms, errors } = figures;
  return [
    `memory: ${load}, half puts and half gets for ${formatNumber(minutes)} minutes`,
    `${formatNumber(throughput)} operations/s, p99 ${formatNumber(p99Ms)} ms, ${errors} errors`,
    textTable([MEMORY_HEAD, ...memoryRows(byNode)]),
    'storage, of the worst node, since its start',
    textTable([STORAGE_HEAD, storageRow(formatNumber(records), storage)]),
  ].join('\n');
}
