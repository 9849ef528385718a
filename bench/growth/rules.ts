/**
 * What may grow with what, and what grows faster than that. Pure.
 *
 * The rule: between a point and the nearest smaller one that is at least `SPAN_MIN` times smaller, a figure may become worse by
 * `perTenfold ^ log10(ratio of the sizes)`, times `NOISE`. A `perTenfold` of 1 is "not at all", 10 "in proportion", 1.5 "like a
 * slow logarithm". Worse is more, of throughput it is less.
 */
import type { Dimension } from './dimensions.ts';
import { type Figures, type MeasuredPoint, OPERATIONS, type Operation } from './figures.ts';

/** Figures that rules are about. The tail of a short run is too noisy for one. */
export type JudgedFigure = Exclude<keyof Figures, 'p99Ms' | 'errors'>;

/** By how much a figure may become worse when the size grows tenfold. */
export type Allowance = Readonly<Record<JudgedFigure, number>>;

/** Something that becomes worse faster than it should. */
export interface Finding {
  readonly dimension: Dimension;
  readonly operation: Operation;
  readonly figure: JudgedFigure;
  /** The sizes that were compared, and the figures there. */
  readonly fromX: number;
  readonly toX: number;
  readonly from: number;
  readonly to: number;
  /** By how much it became worse, and by how much it may have. */
  readonly factor: number;
  readonly allowed: number;
}

/** Sizes that are closer together are not compared: what lies between them is noise. */
export const SPAN_MIN = 3;
/** Two short runs of the same differ by this much on a machine that is not quite idle. */
export const NOISE = 1.25;

export const ALLOWANCES: Readonly<Record<Dimension, Allowance>> = {
  // A deeper tree of tables, and caches that hold a smaller part; memory is bounded by caches and memtables.
  keys: { throughput: 1.5, p50Ms: 1.5, serverCpuUs: 1.5, clientCpuUs: 1.25, nodeRssAnonBytes: 1.5 },
  // Groups and messages are shared by all partitions of a node; batches of the store are not.
  partitions: { throughput: 1.5, p50Ms: 1.5, serverCpuUs: 1.5, clientCpuUs: 1.5, nodeRssAnonBytes: 1.5 },
  // At most in proportion to the bytes; buffers and messages are bounded.
  values: { throughput: 10, p50Ms: 10, serverCpuUs: 10, clientCpuUs: 10, nodeRssAnonBytes: 2 },
  // With the same load, three copies: more nodes mean smaller groups on each. On one machine they share its cores.
  nodes: { throughput: 3, p50Ms: 3, serverCpuUs: 3, clientCpuUs: 2, nodeRssAnonBytes: 1.25 },
  // More at once makes larger groups: an operation becomes cheaper. Its time grows in proportion, once all is busy.
  inflight: { throughput: 1, p50Ms: 10, serverCpuUs: 1, clientCpuUs: 1, nodeRssAnonBytes: 2 },
};

/** Returns by how much a figure may become worse from one size to a larger one. */
export function allowedFactor(perTenfold: number, fromX: number, toX: number): number {
  return perTenfold ** Math.log10(toX / fromX) * NOISE;
}

function judgePair(
  dimension: Dimension,
  operation: Operation,
  before: MeasuredPoint,
  point: MeasuredPoint,
): Finding[] {
  const allowances = Object.entries(ALLOWANCES[dimension]) as [JudgedFigure, number][];
  return allowances.flatMap(([figure, perTenfold]) => {
    const from = before[operation][figure];
    const to = point[operation][figure];
    if (from === null || to === null || from <= 0 || to <= 0) return [];
    const factor = figure === 'throughput' ? from / to : to / from;
    const allowed = allowedFactor(perTenfold, before.x, point.x);
    if (factor <= allowed) return [];
    return [{ dimension, operation, figure, fromX: before.x, toX: point.x, from, to, factor, allowed }];
  });
}

/** Returns what becomes worse faster than it may, over the points of a dimension, smallest first. */
export function judge(dimension: Dimension, points: readonly MeasuredPoint[]): Finding[] {
  return points.flatMap((point) => {
    const before = points.findLast(({ x }) => x * SPAN_MIN <= point.x);
    if (before === undefined) return [];
    return OPERATIONS.flatMap((operation) => judgePair(dimension, operation, before, point));
  });
}
