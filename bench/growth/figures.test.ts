import { describe, expect, it } from 'vitest';
import { createHistogram, recordMs } from '../load/histogram.ts';
import type { RunResult } from '../report/run-result.ts';
import { figuresOf, worstOf } from './figures.ts';

function run(throughput: number, servers: RunResult['servers']): RunResult {
  const all = createHistogram();
  for (let ms = 1; ms <= 100; ms += 1) recordMs(all, ms);
  const counts = { started: 103, succeeded: 100, failed: 2, abandoned: 1, backlog: 0, late: 0, absent: 0 };
  const client = { cpuPercent: 40, busy: 0.5, rssBytes: 1 };
  return { throughput, all, counts, servers, clients: [client, client] } as unknown as RunResult;
}

const sample = (server: string, second: number, cpuPercent: number, rssAnonBytes: number | null) => ({
  ...{ server, second, cpuPercent, rssBytes: 1e9, rssAnonBytes },
});

describe('the storage of the worst node', () => {
  it('is the highest of each figure, as far as it is known', () => {
    const node = { writeAmplification: 4, spaceAmplification: null, slowBatches: 2, slowBatchMs: 900 };
    const other = { writeAmplification: null, spaceAmplification: 1.5, slowBatches: 5, slowBatchMs: 600 };
    expect(worstOf([node, other])).toEqual({
      ...{ writeAmplification: 4, spaceAmplification: 1.5, slowBatches: 5, slowBatchMs: 900 },
    });
    expect(worstOf([node])).toEqual(node);
    expect(worstOf([])).toBeNull();
  });
});

describe('the figures of a run', () => {
  it('are CPU per operation of all servers and all clients, and memory of the largest node', () => {
    const samples = [
      ...[sample('n1', 0, 50, 100), sample('n1', 1, 70, 300)],
      ...[sample('n2', 1, 30, 200), sample('router', 1, 10, 900)],
    ];
    const figures = figuresOf(run(1_000, samples));
    expect(figures).toMatchObject({ throughput: 1_000, errors: 3, nodeRssAnonBytes: 300 });
    expect(figures.serverCpuUs).toBeCloseTo((60 + 30 + 10) * 10);
    expect(figures.clientCpuUs).toBeCloseTo(800);
    expect(figures.p50Ms).toBeCloseTo(50, 0);
    expect(figures.p99Ms).toBeCloseTo(99, 0);
  });

  it('are not known where nothing was seen, or nothing succeeded', () => {
    expect(figuresOf(run(1_000, []))).toMatchObject({ serverCpuUs: null, nodeRssAnonBytes: null });
    const nothing = figuresOf(run(0, [sample('n1', 0, 50, null)]));
    expect(nothing).toMatchObject({ serverCpuUs: null, clientCpuUs: null, nodeRssAnonBytes: null });
  });
});
