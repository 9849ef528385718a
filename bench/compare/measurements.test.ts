import { describe, expect, it } from 'vitest';
import {
  estimateSeconds,
  type Figures,
  isMet,
  MEASUREMENTS,
  type Measured,
  orderOf,
  RATIOS,
  ratioOver,
  SYSTEMS,
  type SystemName,
} from './measurements.ts';

function measured(round: number, system: SystemName, name: string, figures: Partial<Figures>): Measured {
  const none = { count: 0, errors: 0, seconds: 1, throughput: 0, mean: 0, p50: 0, p99: 0 };
  return { round, system, name, figures: { ...none, ...figures } };
}

const plan = (name: string) => RATIOS.find((one) => one.name === name)!;
const PUT = plan('put_quorum_256_vs_etcd');

function puts(...rounds: readonly (readonly [number, number])[]): Measured[] {
  return rounds.flatMap(([ours, theirs], at) => [
    measured(at + 1, 'ringkeep', 'put_256', { throughput: ours }),
    measured(at + 1, 'etcd', 'put_256', { throughput: theirs }),
  ]);
}

describe('ratioOver', () => {
  it('is the median of the ratios of single rounds, not the ratio of medians', () => {
    // Medians: 300 and 100. Ratios: 0.3, 3, 4.
    const result = ratioOver(PUT, puts([300, 1_000], [300, 100], [40, 10]), 3);
    expect(result).toEqual({ median: 3, min: 0.3, max: 4, byRound: [0.3, 3, 4], met: true });
    expect(ratioOver(PUT, puts([10, 10], [30, 10]), 2)).toMatchObject({ median: 2, met: true });
  });

  it('leaves out rounds that lack a figure, and is none without any', () => {
    const all = puts([100, 100], [500, 100], [900, 0]);
    expect(ratioOver(PUT, all.slice(1), 3)).toMatchObject({ median: 5, byRound: [null, 5, null] });
    expect(ratioOver(PUT, [], 3)).toBeNull();
  });

  it('takes the percentile that it names', () => {
    const figures = [
      measured(1, 'ringkeep', 'put_1', { p50: 3, p99: 70 }),
      measured(1, 'etcd', 'put_1', { p50: 2, p99: 10 }),
    ];
    expect(ratioOver(plan('put_1_p50_vs_etcd'), figures, 1)).toMatchObject({ median: 1.5, met: false });
  });
});

describe('isMet', () => {
  it('wants throughputs at least, latencies at most as required', () => {
    expect([1.9, 2].map((value) => isMet(PUT, value))).toEqual([false, true]);
    expect([1, 1.1].map((value) => isMet(plan('put_p99_at_2000_vs_etcd'), value))).toEqual([true, false]);
    expect([0.4, 0.45].map((value) => isMet(plan('routed_vs_direct'), value))).toEqual([false, true]);
  });
});

describe('the plan', () => {
  it('measures whatever a ratio is made of', () => {
    for (const { ours, theirs } of RATIOS) {
      for (const { system, name } of [ours, theirs]) {
        expect(MEASUREMENTS[system].map((one) => one.name)).toContain(name);
      }
    }
  });

  it('lets each round begin with another system, and all of them take part', () => {
    const orders = [1, 2, 3, 4].map((round) => orderOf(SYSTEMS, round));
    expect(orders.map(([first]) => first)).toEqual(['etcd', 'redis', 'ringkeep', 'etcd']);
    for (const order of orders) expect([...order].sort()).toEqual([...SYSTEMS]);
    expect(orderOf([], 1)).toEqual([]);
  });

  it('stays below twenty minutes as it is by default', () => {
    const pace = { rounds: 3, seconds: 8, warmUpSeconds: 2, records: 100_000 };
    const seconds = estimateSeconds(SYSTEMS, pace);
    expect(seconds).toBeLessThan(20 * 60);
    expect(seconds).toBeGreaterThan(3 * 14 * 10);
  });
});
