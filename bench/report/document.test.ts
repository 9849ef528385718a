import { describe, expect, it } from 'vitest';
import { createHistogram, encodeHistogram, recordMs } from '../load/histogram.ts';
import type { ClientReport } from '../load/messages.ts';
import type { Interval } from '../load/recorder.ts';
import type { Settings } from '../settings.ts';
import { readParameters } from '../workload/parameters.ts';
import { type BenchmarkDocument, createDocument, type Step } from './document.ts';
import { renderBenchmark } from './page.ts';
import { RunCollector, type RunResult } from './run-result.ts';
import { documentText } from './table.ts';

const HOSTILE = '<script>alert("1")</script>';

function encoded(...values: number[]): string {
  const histogram = createHistogram();
  for (const value of values) recordMs(histogram, value);
  return encodeHistogram(histogram);
}

function interval(second: number, more: Partial<Interval> = {}): Interval {
  return {
    second,
    succeeded: { READ: encoded(1, 2), UPDATE: encoded(5) },
    failed: null,
    failures: [],
    absent: 0,
    ...more,
  };
}

function report(more: Partial<ClientReport> = {}): ClientReport {
  const totals = { started: 7, succeeded: 6, failed: 1, abandoned: 0, backlog: 0, late: 0, lastEnd: 2_000 };
  return {
    totals,
    cpuMs: 500,
    busy: 0.25,
    elapsedMs: 2_000,
    rssBytes: 1e8,
    startDelay: encoded(1),
    gaps: [],
    ...more,
  };
}

const FAILURE = { kind: 'READ', code: 'NO_QUORUM', outcome: 'not_applied', count: 1 } as const;

function runResult(rate: number | null, clients = 1, busy = 0.25): RunResult {
  const collector = new RunCollector();
  for (let client = 0; client < clients; client += 1) {
    collector.add(interval(0));
    collector.add(interval(1, { failed: encoded(9), failures: [FAILURE] }));
  }
  // At a rate of 3 everything that was due has succeeded; otherwise 6 of 7, which is too few for a knee.
  const totals = { ...report().totals, started: rate === 3 ? 6 : 7 };
  const reports = Array.from({ length: clients }, () => report({ busy, totals }));
  const sample = { server: 'n1', cpuPercent: 50, rssBytes: 2e8, rssAnonBytes: 1e8 };
  return collector.finish({ rate, measureFrom: 0, durationMs: 2_000, operations: null }, reports, {
    servers: [0.5, 1.5].map((second) => ({ second, ...sample })),
    events: [{ event: 'kill', second: 1, detail: HOSTILE }],
    failover: {
      ...{
        node: 'n1',
        killSecond: 1,
        led: 4,
        used: 4,
        firstSuccessMs: 300,
        allServedMs: null,
        leaderBackMs: 350,
      },
      ...{ longestGapMs: 310, longestGapPartition: 3 },
    },
  });
}

const SETTINGS: Settings = {
  ...{ url: null, spawn: {}, workload: readParameters({ table: HOSTILE }).workload, workloadName: 'a' },
  ...{ mode: 'routed', ack: 'quorum', read: 'linearizable', load: true, processes: 1, runs: 1, warmUpMs: 0 },
  ...{ durationMs: 2_000, operations: null, rate: null, arrival: 'poisson', inFlightMax: 64 },
  ...{ requestTimeoutMs: 10_000, drainMs: 0, spin: false, seed: 1, sweep: null, kill: null, servers: [] },
};

function document(steps: readonly Step[], more: Partial<Settings> = {}): BenchmarkDocument {
  const cluster = {
    clusterId: 'c',
    nodes: 3,
    partitions: 48,
    replicationFactor: 3,
    spawned: true,
    fileSystem: 'ext4',
  };
  return createDocument(
    {
      startedAt: new Date(0),
      cluster: { ...cluster, sampled: ['n1'] },
      load: { records: 10, elapsedMs: 5 },
      steps,
    },
    { ...SETTINGS, ...more },
    {
      version: '1.2.3',
      machine: { cpu: HOSTILE, cores: 2, memoryBytes: 1e9, kernel: 'Linux 6', node: 'v20.0.0' },
      commit: { hash: 'abc', changed: true },
    },
  );
}

const SWEEP = {
  rates: [],
  from: 1,
  factor: 2,
  refinements: 0,
  achievedMin: 0.95,
  p99MsMax: Number.POSITIVE_INFINITY,
};

describe('RunCollector', () => {
  it('adds up what several processes report: histograms, counts, failures, seconds', () => {
    const { all, byKind, counts, failures, series, throughput, failed, startDelay } = runResult(100, 2);
    expect(counts).toMatchObject({ started: 14, succeeded: 12, failed: 2 });
    expect(all.totalCount).toBe(12);
    expect([...byKind].map(([kind, { totalCount }]) => [kind, totalCount])).toEqual([
      ['READ', 8],
      ['UPDATE', 4],
    ]);
    expect(failed.totalCount).toBe(2);
    expect(failures).toEqual([{ ...FAILURE, count: 2 }]);
    expect(series.map((point) => [point.second, point.succeeded, point.failed])).toEqual([
      [0, 6, 0],
      [1, 6, 2],
    ]);
    expect(throughput).toBe(6);
    expect(startDelay?.totalCount).toBe(2);
  });

  it('divides by the time that was asked for, unless the operations ended earlier', () => {
    const elapsed = (durationMs: number | null, operations: number | null) => {
      const seen = { servers: [], events: [], failover: null };
      const run = { rate: null, measureFrom: 500, durationMs, operations };
      return new RunCollector().finish(run, [report()], seen).elapsedMs;
    };
    // The report has 7 operations, and the last end at 2,000.
    expect([
      elapsed(9_000, null),
      elapsed(null, 7),
      elapsed(9_000, 7),
      elapsed(9_000, 8),
      elapsed(100, 7),
    ]).toEqual([...[9_000, 1_500, 1_500, 9_000, 100]]);
  });

  it('keeps the figures of seconds that are long over', () => {
    const collector = new RunCollector();
    for (let second = 0; second < 60; second += 1) collector.add(interval(second));
    collector.add(interval(3));
    expect(collector.point(3).succeeded).toBe(6);
    expect(collector.point(2).p50).toBeCloseTo(2, 1);
    expect(collector.point(99).succeeded).toBe(0);
  });
});

describe('createDocument', () => {
  it('has the shape that is documented, without anything that JSON cannot hold', () => {
    const made = document([{ rate: null, runs: [runResult(null), runResult(null)] }]);
    expect(JSON.parse(JSON.stringify(made))).toEqual(made);
    expect(Object.keys(made)).toEqual([
      ...['format', 'version', 'startedAt', 'machine', 'commit', 'durability', 'options', 'cluster', 'load'],
      ...['steps', 'sweep', 'warnings'],
    ]);
    const [step] = made.steps;
    expect(Object.keys(step!)).toEqual(['rate', 'merged', 'spread', 'runs']);
    expect(Object.keys(step!.merged.latency)).toEqual([
      ...['count', 'mean', 'p50', 'p90', 'p99', 'p999', 'p9999', 'max', 'curve'],
    ]);
    expect(step!.merged.counts.started).toBe(14);
    expect(step!.merged.latency.count).toBe(12);
    expect(step!.spread.throughput).toEqual({ median: 3, min: 3, max: 3 });
    expect(Object.keys(step!.runs[0]!)).toEqual([
      ...[
        'elapsedSeconds',
        'throughput',
        'counts',
        'latency',
        'byKind',
        'failedLatency',
        'failures',
        'startDelay',
      ],
      ...['series', 'clients', 'servers', 'events', 'failover'],
    ]);
    expect(made.sweep).toBeNull();
  });

  it('names the knee of a sweep', () => {
    const steps = [3, 100].map((rate) => ({ rate, runs: [runResult(rate)] }));
    const { sweep } = document(steps, { sweep: SWEEP });
    expect(sweep).toMatchObject({
      ...{ achievedMin: 0.95, p99MsMax: null },
      knee: { rate: 3, offered: 3, achieved: 3 },
    });
  });

  it('warns when a client was the limit, unless it was to keep its core busy', () => {
    const steps = [{ rate: null, runs: [runResult(null, 2, 0.95)] }];
    expect(document(steps).warnings.join()).toContain('busy 95 %');
    expect(document(steps, { spin: true }).warnings.join()).not.toContain('busy');
    const kill = { who: 'leader', second: 1 };
    expect(document(steps, { kill }).warnings.join()).toContain('use --target');
    expect(document(steps, { kill, rate: 5 }).warnings.join()).not.toContain('use --target');
  });
});

describe('reports', () => {
  const documents = {
    'one rate': document([{ rate: null, runs: [runResult(null)] }]),
    'several runs': document([{ rate: 50, runs: [runResult(50), runResult(50)] }]),
    'a sweep': document(
      [3, 100].map((rate) => ({ rate, runs: [runResult(rate)] })),
      { sweep: SWEEP },
    ),
  };

  for (const [name, made] of Object.entries(documents)) {
    it(`of ${name} are complete, escaped and load nothing`, () => {
      const page = renderBenchmark(made);
      expect(page).not.toMatch(/NaN|Infinity|undefined|https?:|<script|<link|<img|@import/);
      for (const title of [
        'Latency by percentile',
        'Throughput',
        'CPU of the servers',
        'Memory of the servers',
      ]) {
        expect(page).toContain(title);
      }
      expect(page).toContain('commit abc, with changes');
      expect(page).toContain('kill');
      const text = documentText(made);
      expect(text).not.toMatch(/NaN|Infinity|undefined/);
      expect(text).toContain('p99.9');
    });
  }

  it('show the knee', () => {
    expect(renderBenchmark(documents['a sweep'])).toContain('Latency by throughput');
    expect(documentText(documents['a sweep'])).toContain('knee: 3 ops/s wanted');
    expect(documentText(documents['one rate'])).toMatch(/READ NO_QUORUM, not_applied +1/);
    expect(documentText(documents['one rate'])).toMatch(/first success after +300 ms/);
  });
});
