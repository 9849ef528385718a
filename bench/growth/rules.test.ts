import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { BASE, DIMENSIONS } from './dimensions.ts';
import type { Figures, MeasuredPoint } from './figures.ts';
import { ALLOWANCES, allowedFactor, judge, NOISE } from './rules.ts';

const FIGURES: Figures = {
  ...{ throughput: 10_000, p50Ms: 2, p99Ms: 9, errors: 0 },
  ...{ serverCpuUs: 100, clientCpuUs: 20, nodeRssAnonBytes: 2e8 },
};

function point(x: number, puts: Partial<Figures> = {}, gets: Partial<Figures> = {}): MeasuredPoint {
  return {
    ...BASE,
    x,
    load: null,
    storage: null,
    puts: { ...FIGURES, ...puts },
    gets: { ...FIGURES, ...gets },
  };
}

describe('allowedFactor', () => {
  it('is that of a tenfold for a tenfold, less for less, and nothing but noise for nothing', () => {
    expect(allowedFactor(1.5, 10, 100)).toBeCloseTo(1.5 * NOISE);
    expect(allowedFactor(1.5, 10, 1_000)).toBeCloseTo(2.25 * NOISE);
    expect(allowedFactor(10, 16, 128)).toBeCloseTo(8 * NOISE);
    expect(allowedFactor(1, 1, 4_096)).toBeCloseTo(NOISE);
  });
});

describe('what may grow', () => {
  it.each(DIMENSIONS)('with %s is what docs/BENCHMARKS.md says', (dimension) => {
    const text = readFileSync(new URL('../../docs/BENCHMARKS.md', import.meta.url), 'utf8');
    const [, row] = new RegExp(`^\\| \`${dimension}\` \\| ([\\d.| ]+) \\|$`, 'm').exec(text)!;
    const { throughput, p50Ms, serverCpuUs, clientCpuUs, nodeRssAnonBytes } = ALLOWANCES[dimension];
    expect(row!.split(' | ').map(Number)).toEqual([
      throughput,
      p50Ms,
      serverCpuUs,
      clientCpuUs,
      nodeRssAnonBytes,
    ]);
  });
});

describe('judge', () => {
  it('finds nothing in what stays as it is', () => {
    expect(judge('keys', [point(10), point(100), point(1_000)])).toEqual([]);
  });

  it('finds CPU that grows by more than 1.5 per tenfold of keys, and tells where', () => {
    const grown = 100 * 1.5 * NOISE;
    const within = [point(1e4), point(1e5, { serverCpuUs: grown - 1 })];
    expect(judge('keys', within)).toEqual([]);
    const [finding, ...others] = judge('keys', [point(1e4), point(1e5, { serverCpuUs: 2 * grown })]);
    expect(others).toEqual([]);
    expect(finding).toMatchObject({
      ...{ dimension: 'keys', operation: 'puts', figure: 'serverCpuUs', fromX: 1e4, toX: 1e5 },
      ...{ from: 100, to: 2 * grown, factor: (2 * grown) / 100 },
    });
    expect(finding!.allowed).toBeCloseTo(1.5 * NOISE);
  });

  it('finds throughput that falls, and lets it rise', () => {
    expect(judge('inflight', [point(1), point(10, { throughput: 90_000 })])).toEqual([]);
    const fallen = judge('inflight', [point(1), point(10, {}, { throughput: 5_000 })]);
    expect(fallen).toMatchObject([{ operation: 'gets', figure: 'throughput', factor: 2, allowed: NOISE }]);
  });

  it('lets CPU grow in proportion to the bytes of values, and no further', () => {
    const base = point(1_000);
    expect(judge('values', [base, point(10_000, { serverCpuUs: 1_000, p50Ms: 20 })])).toEqual([]);
    expect(judge('values', [base, point(10_000, { serverCpuUs: 1_300 })])).toHaveLength(1);
  });

  it('compares over a span, not with the neighbour, and leaves out what was not measured', () => {
    // Each step is small; over the span it is too much.
    const creeping = [point(3), point(5, { serverCpuUs: 160 }), point(9, { serverCpuUs: 250 })];
    expect(judge('nodes', creeping)).toMatchObject([{ figure: 'serverCpuUs', fromX: 3, toX: 9 }]);
    const unknown = [point(3, { serverCpuUs: null }), point(9, { serverCpuUs: 250, nodeRssAnonBytes: null })];
    expect(judge('nodes', unknown)).toEqual([]);
    expect(judge('nodes', [point(3, { throughput: 0 }), point(9)])).toEqual([]);
  });
});
