import { describe, expect, it } from 'vitest';
import type { Machine } from '../servers/machine.ts';
import { BASE, type Dimension } from './dimensions.ts';
import {
  type Circumstances,
  dimensionResult,
  dimensionText,
  type GrowthDocument,
  type MemoryResult,
  memoryText,
  mergeDocuments,
  progressText,
} from './document.ts';
import type { Figures, MeasuredPoint, WorstStorage } from './figures.ts';
import { chartsOf, memoryChart, renderGrowth } from './page.ts';

const MEBIBYTE = 1024 * 1024;
const MACHINE: Machine = { cpu: 'A <CPU>', cores: 2, memoryBytes: 4e9, kernel: 'Linux', node: 'v20' };
const MADE: Circumstances = {
  ...{ version: '0.1.0', commit: null, startedAt: '2026-01-01T00:00:00.000Z', elapsedSeconds: 9 },
  ...{ fileSystem: 'ext4', loadAverage: 0.1 },
  options: { seconds: 5, warmUpSeconds: 2, processes: 1, quick: false },
};
const FIGURES: Figures = {
  ...{ throughput: 10_000, p50Ms: 2, p99Ms: 9, errors: 0 },
  ...{ serverCpuUs: 100, clientCpuUs: 20, nodeRssAnonBytes: 200 * MEBIBYTE },
};
const STORAGE: WorstStorage = {
  ...{ writeAmplification: 5.25, spaceAmplification: null, slowBatches: 3, slowBatchMs: 1_234 },
};
const MEMORY: MemoryResult = {
  ...{ ...MADE, ...BASE, records: 5_000_000, minutes: 10, loadSeconds: 60, figures: FIGURES, storage: null },
  byNode: [
    {
      ...{ node: 'n1', samples: 2, maxBytes: 300 * MEBIBYTE, slopeMiBPerMinute: 1.234 },
      series: [
        [1, 250 * MEBIBYTE],
        [2, 300 * MEBIBYTE],
      ],
    },
    { node: 'n2', samples: 1, maxBytes: MEBIBYTE, slopeMiBPerMinute: null, series: [[1, MEBIBYTE]] },
  ],
};

function point(x: number, puts: Partial<Figures> = {}): MeasuredPoint {
  return { ...BASE, x, load: null, storage: STORAGE, puts: { ...FIGURES, ...puts }, gets: FIGURES };
}

function result(dimension: Dimension, startedAt = MADE.startedAt) {
  const points = [point(10), point(100, { serverCpuUs: 900, errors: 7, nodeRssAnonBytes: null })];
  return dimensionResult(dimension, points, [{ x: 1_000, message: 'no <room>' }], { ...MADE, startedAt });
}

function document(...dimensions: Dimension[]): GrowthDocument {
  return { format: 1, machine: MACHINE, dimensions: dimensions.map((name) => result(name)), memory: null };
}

describe('the document of growth', () => {
  it('keeps what was measured before, but for what is measured again', () => {
    const earlier = { ...document('inflight', 'keys'), memory: MEMORY };
    const again = { ...document(), dimensions: [result('keys', 'later'), result('values', 'later')] };
    const { dimensions, memory } = mergeDocuments(earlier, again);
    expect(dimensions.map(({ dimension, startedAt }) => [dimension, startedAt])).toEqual([
      ['keys', 'later'],
      ['values', 'later'],
      ['inflight', MADE.startedAt],
    ]);
    expect(memory).toBe(MEMORY);
  });

  it('mixes no figures of different machines', () => {
    const other = { ...document('keys'), machine: { ...MACHINE, cores: 64 } };
    expect(mergeDocuments(other, document('values'))).toEqual(document('values'));
    expect(mergeDocuments(null, document('values'))).toEqual(document('values'));
  });

  it('is told as tables, with what grows faster than it should and what failed', () => {
    const text = dimensionText(result('keys'));
    expect(text).toMatch(/^100 +puts +10,000 +2 +9 +900 +20 +– +7$/m);
    expect(text).toContain(
      'grows faster than it should: puts serverCpuUs: from 100 at 10 to 900 at 100, 9.00 times worse; 1.88 is allowed',
    );
    expect(text).toMatch(/^100 +5.25 +– +3 +1.2$/m);
    expect(text).toContain('failed: 1,000: no <room>');
    const widths = `${progressText(null)}\n${progressText(point(10))}`
      .split('\n')
      .map(({ length }) => length);
    expect(new Set(widths).size).toBe(1);
    expect(memoryText(MEMORY)).toMatch(/^n1 +2 +300 +1.23\nn2 +1 +1 +–$/m);
  });
});

describe('the page of growth', () => {
  it('has one chart per dimension and figure, with puts and gets, and one of memory', () => {
    const page = renderGrowth({ ...document('keys', 'nodes'), memory: MEMORY });
    expect(page.match(/<svg /g)).toHaveLength(2 * 6 + 1);
    for (const chart of chartsOf(result('keys'))) {
      expect(page).toContain(chart.title);
      expect(chart.lines.map(({ name, points }) => [name, points.length])).toEqual([
        ['puts', 2],
        ['gets', 2],
      ]);
    }
    expect(memoryChart(MEMORY).lines[0]!.points).toEqual([
      [1, 250],
      [2, 300],
    ]);
    expect(page).toContain('no &lt;room&gt;');
    expect(page).not.toMatch(/NaN|https?:|<script|<CPU>/);
  });
});
