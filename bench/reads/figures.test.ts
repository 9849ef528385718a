import { describe, expect, it } from 'vitest';
import { createHistogram, recordMs } from '../load/histogram.ts';
import { describeCondition, orderOf, type ReadPace, sizeOf } from './conditions.ts';
import {
  cellsOf,
  judge,
  type Measured,
  type PendingReads,
  pendingOf,
  type ReadFigures,
  readFiguresOf,
} from './figures.ts';

const FIGURES: ReadFigures = {
  ...{ throughput: 1_000, p50Ms: 1, p99Ms: 5, p999Ms: 9, maxMs: 12, gapMs: 0, errors: 0 },
};

function measured(
  round: number,
  changes: Partial<Measured> = {},
  figures: Partial<ReadFigures> = {},
): Measured {
  const latencies = createHistogram();
  recordMs(latencies, round);
  return {
    ...{ round, level: 'quorum', condition: 'paused', figures: { ...FIGURES, ...figures }, latencies },
    ...{ leaderBackMs: null, stoppedShare: null, ...changes },
  };
}

function pending(latenciesMs: readonly number[], others: Partial<ReadFigures> = {}): PendingReads {
  return { round: 1, latenciesMs, errors: 1, leaderBackMs: 1_000, others: { ...FIGURES, ...others } };
}

describe('orderOf', () => {
  it('begins each round with another level', () => {
    const levels = ['linearizable', 'quorum', 'stale'] as const;
    const firsts = [1, 2, 3, 4].map((round) => orderOf(levels, round)[0]);
    expect(firsts).toEqual(['linearizable', 'quorum', 'stale', 'linearizable']);
    expect(orderOf(levels, 3).sort()).toEqual([...levels].sort());
  });
});

describe('readFiguresOf', () => {
  it('counts what failed and what never started, and gaps of the measured part only', () => {
    const all = createHistogram();
    for (let ms = 1; ms <= 100; ms += 1) recordMs(all, ms);
    const counts = { started: 110, succeeded: 100, failed: 7, abandoned: 3, backlog: 3, late: 0, absent: 0 };
    const gaps = new Map([
      [
        0,
        [
          { partition: 0, from: 900, to: 1_100 },
          { partition: 0, from: 1_900, to: 2_500 },
        ],
      ],
    ]);
    const figures = readFiguresOf({ throughput: 50, all, counts, gaps }, { from: 1_000, to: 2_000 });
    expect(figures).toMatchObject({ throughput: 50, gapMs: 100, errors: 10 });
    expect(figures.p50Ms).toBeCloseTo(50, 0);
    expect(figures.maxMs).toBeCloseTo(100, 0);
  });
});

describe('cellsOf', () => {
  it('has medians of the rounds by condition and level, and a curve of all their reads', () => {
    const cells = cellsOf(
      [
        measured(1, { leaderBackMs: 900 }, { p99Ms: 7, errors: 1 }),
        measured(2, {}, { p99Ms: 5, errors: 2 }),
        measured(3, { leaderBackMs: 1_100 }, { p99Ms: 60 }),
        measured(1, { condition: 'slow', stoppedShare: 0.8 }),
        measured(1, { condition: 'healthy', level: 'stale' }),
      ],
      ['quorum', 'stale'],
    );
    expect(cells.map(({ condition, level }) => [condition, level])).toEqual([
      ['healthy', 'stale'],
      ['slow', 'quorum'],
      ['paused', 'quorum'],
    ]);
    expect(cells[2]).toMatchObject({
      p99Ms: { median: 7, min: 5, max: 60 },
      leaderBackMs: { median: 1_000 },
      stoppedShare: null,
      errors: 3,
    });
    expect(cells[2]!.curve[0]![1]).toBeCloseTo(1, 1);
    expect(cells[2]!.curve.at(-1)![1]).toBeGreaterThan(1.5);
    expect(cells[1]).toMatchObject({ stoppedShare: { median: 0.8 }, leaderBackMs: null });
  });
});

describe('pendingOf', () => {
  it('tells the reads that waited from those that did not, over all rounds', () => {
    const summary = pendingOf([pending([5, 900, 1_000]), pending([10, 200, 1_100], { p99Ms: 15 })]);
    expect(summary).toMatchObject({ reads: 6, waited: 3, share: 0.5, errors: 2 });
    expect(summary!.waitedMs).toEqual({ median: 1_000, min: 900, max: 1_100 });
    expect(summary!.quickMs).toEqual({ median: 10, min: 5, max: 200 });
    expect(summary!.others.p99Ms).toEqual({ median: 10, min: 5, max: 15 });
    expect(pendingOf([])).toBeNull();
    expect(pendingOf([pending([])])).toMatchObject({ share: 0, waitedMs: null });
  });
});

describe('judge', () => {
  const cells = (figures: Partial<ReadFigures>) => cellsOf([measured(1, {}, figures)], ['quorum']);

  it('holds p99, gaps and errors of quorum reads against the bounds', () => {
    expect(judge(cells({ p99Ms: 50, gapMs: 200 }), null)).toMatchObject([{ of: 'paused', met: true }]);
    expect(judge(cells({ p99Ms: 51 }), null)).toMatchObject([{ met: false }]);
    expect(judge(cells({ gapMs: 201 }), null)).toMatchObject([{ met: false }]);
    expect(judge(cells({ errors: 1 }), null)).toMatchObject([{ met: false }]);
    expect(judge([], pendingOf([pending([1], { gapMs: 300 })]))).toEqual([
      { of: 'pending', p99Ms: 5, gapMs: 300, met: false },
    ]);
    expect(judge([], null)).toEqual([]);
  });
});

describe('describeCondition', () => {
  it('says what is done to which cluster', () => {
    const pace: ReadPace = {
      ...{ levels: ['quorum'], rounds: 1, seconds: 3, warmUpSeconds: 1, rate: 500, records: 10 },
      ...{ processes: 1, mode: 'direct', quick: false },
    };
    expect(describeCondition('paused', pace)).toBe('the leader stopped for 3 s, 500 reads/s');
    expect(describeCondition('slow', pace)).toContain('80 of each 100 ms');
    expect(sizeOf(pace)).toMatchObject({ records: 10, partitions: 1, nodes: 3 });
  });
});
