import { describe, expect, it } from 'vitest';
import { BASE, DIMENSIONS, pointsOf } from './dimensions.ts';

const FIELDS = ['records', 'valueBytes', 'partitions', 'nodes', 'inFlight'] as const;

describe('the points of a dimension', () => {
  it.each([
    ['keys', 'records'],
    ['partitions', 'partitions'],
    ['nodes', 'nodes'],
    ['inflight', 'inFlight'],
  ] as const)('%s differ in %s only, which grows', (dimension, field) => {
    const points = pointsOf(dimension, 5_000_000, false);
    expect(points.length).toBeGreaterThan(3);
    for (const [at, point] of points.entries()) {
      expect(point[field]).toBe(point.x);
      expect(point.x).toBeGreaterThan(points[at - 1]?.x ?? 0);
      for (const other of FIELDS) if (other !== field) expect(point[other]).toBe(BASE[other]);
    }
  });

  it('of values have fewer records where these would not fit, and the same load', () => {
    const points = pointsOf('values', 1, false);
    expect(points.map(({ valueBytes }) => valueBytes)).toEqual(points.map(({ x }) => x));
    expect(points[0]).toMatchObject({ x: 16, records: BASE.records });
    expect(points.at(-1)).toMatchObject({ x: 1024 * 1024, records: 256 });
    expect(new Set(points.map(({ inFlight }) => inFlight)).size).toBe(1);
  });

  it('of keys end with as many as are asked for', () => {
    expect(pointsOf('keys', 100_000, false).map(({ x }) => x)).toEqual([10_000, 30_000, 100_000]);
    expect(pointsOf('keys', 5_000_000, false).at(-1)!.x).toBe(5_000_000);
  });

  it('are few and small in a try', () => {
    for (const dimension of DIMENSIONS) {
      const points = pointsOf(dimension, 5_000_000, true);
      expect(points).toHaveLength(2);
      for (const { records, nodes } of points) {
        expect(records).toBeLessThanOrEqual(4_000);
        expect(nodes).toBeLessThanOrEqual(5);
      }
    }
  });
});
