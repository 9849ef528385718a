/**
 * What grows, and through which sizes: one dimension at a time, all others stay at `BASE`. No figures here, and nothing that
 * runs.
 */
import type { Size } from '../session.ts';

/** Dimensions that are measured unless others are asked for, in this order. */
export const DIMENSIONS = ['keys', 'partitions', 'values', 'nodes', 'inflight'] as const;

export type Dimension = (typeof DIMENSIONS)[number];

/** What can be asked for: `memory` is one long run instead of several sizes. */
export const PARTS = [...DIMENSIONS, 'memory'] as const;

export type Part = (typeof PARTS)[number];

/** One point of a dimension. */
export interface Point extends Size {
  readonly dimension: Dimension;
  /** The size that grows. */
  readonly x: number;
  /** It is measured on the cluster of the point before, if there is one: with its records, and those that it lacks. */
  readonly goesOn: boolean;
}

/** What is equal in all points but for the dimension that grows. */
export const BASE: Size = { records: 10_000, valueBytes: 100, partitions: 12, nodes: 3, inFlight: 256 };
/** Few at once, so that a short run on a slow machine sees operations begin and end. */
const QUICK_BASE: Size = { ...BASE, records: 1_000, inFlight: 16 };

const MEBIBYTE = 1024 * 1024;
/** Values of 1 MiB would otherwise fill memory, of the client and of the messages under way, before anything grows. */
const VALUES_IN_FLIGHT = 16;
const VALUES_BYTES_MAX = 256 * MEBIBYTE;

const KEYS = [10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000];

const SIZES: Readonly<Record<Exclude<Dimension, 'keys'>, readonly number[]>> = {
  partitions: [1, 4, 12, 24, 48, 128],
  values: [16, 128, 1024, 8 * 1024, 64 * 1024, 256 * 1024, MEBIBYTE],
  nodes: [3, 5, 7, 9],
  inflight: [1, 4, 16, 64, 256, 1024, 4096],
};

/** Few and small: that all works, not how anything grows. */
const QUICK: Readonly<Record<Dimension, readonly number[]>> = {
  keys: [1_000, 4_000],
  partitions: [1, 16],
  values: [16, 4096],
  nodes: [3, 5],
  inflight: [1, 64],
};

function pointOf(dimension: Dimension, x: number, base: Size): Point {
  const grown = { ...base, dimension, x, goesOn: dimension === 'keys' || dimension === 'inflight' };
  switch (dimension) {
    case 'keys':
      return { ...grown, records: x };
    case 'partitions':
      return { ...grown, partitions: x };
    case 'values': {
      const records = Math.min(base.records, Math.floor(VALUES_BYTES_MAX / x));
      return { ...grown, valueBytes: x, records, inFlight: VALUES_IN_FLIGHT };
    }
    case 'nodes':
      return { ...grown, nodes: x };
    case 'inflight':
      return { ...grown, inFlight: x };
  }
}

/** Returns the points of a dimension, smallest first; those of `keys` go up to `keysMax`. */
export function pointsOf(dimension: Dimension, keysMax: number, quick: boolean): Point[] {
  const base = quick ? QUICK_BASE : BASE;
  const keys = [...KEYS.filter((size) => size < keysMax), keysMax];
  const sizes = quick ? QUICK[dimension] : dimension === 'keys' ? keys : SIZES[dimension];
  return sizes.map((x) => pointOf(dimension, x, base));
}
