import { describe, expect, it } from 'vitest';
import { createHistogram, recordMs } from '../load/histogram.ts';
import type { RunResult } from '../report/run-result.ts';
import type { MeasuredLoad, NodeShare, SaltsPace, Window } from './course.ts';
import { createDocument, documentText, gainTexts, variationOf } from './document.ts';
import { chartOf, renderSalts } from './page.ts';

const PACE: SaltsPace = {
  ...{ records: 1_000, valueBytes: 256, partitions: 20, inFlight: 64, windows: 1, writes: 3 },
  ...{ seconds: 5, warmUpSeconds: 1, processes: 1, mode: 'direct', quick: false },
};
const MADE = {
  ...{ version: '0.1.0', commit: null, startedAt: '2026-01-01T00:00:00.000Z', elapsedSeconds: 9 },
  ...{ fileSystem: 'ext4', loadAverage: 0.25 },
  machine: { cpu: 'A <CPU>', cores: 2, memoryBytes: 4e9, kernel: 'Linux', node: 'v20' },
};

/** A window in which 1,000 gets were answered, each after `ms`. */
function window(ms: number, byNode: readonly NodeShare[]): Window {
  const all = createHistogram();
  for (let at = 0; at < 1_000; at += 1) recordMs(all, ms);
  const run: RunResult = {
    ...{
      rate: null,
      elapsedMs: 1_000,
      throughput: 1_000 / ms,
      all,
      byKind: new Map(),
      failed: createHistogram(),
    },
    counts: { started: 1_000, succeeded: 1_000, failed: 0, abandoned: 0, backlog: 0, late: 0, absent: 0 },
    ...{ failures: [], startDelay: null, series: [], clients: [], servers: [], events: [], failover: null },
    gaps: new Map(),
  };
  return { run, byNode };
}

const share = (node: string, gets: number, cpuMs: number): NodeShare => ({ node, gets, cpuMs });

function load(salted: boolean, windows: readonly Window[]): MeasuredLoad {
  return { nodes: 3, load: 'single key', salted, windows };
}

function writes(salted: boolean, ms: number) {
  const latency = createHistogram();
  for (let at = 0; at < 3; at += 1) recordMs(latency, ms);
  return { nodes: 3, salted, latency };
}

const DOCUMENT = createDocument(
  {
    loads: [
      load(false, [window(2, [share('n1', 1_000, 800), share('n2', 0, 50), share('n3', 0, 50)])]),
      load(true, [
        window(1, [share('n1', 200, 100), share('n2', 150, 150), share('n3', 150, 150)]),
        window(1, [share('n1', 200, 200), share('n2', 150, 150), share('n3', 150, 150)]),
      ]),
    ],
    writes: [writes(false, 4), writes(true, 5)],
  },
  PACE,
  MADE,
);

describe('the document of salts', () => {
  it('tells how far the nodes are from being even, over all windows', () => {
    const [without, salted] = DOCUMENT.loads;
    expect(without?.getsSpread).toBeCloseTo(Math.SQRT2, 5);
    expect(salted?.byNode).toEqual([share('n1', 400, 300), share('n2', 300, 300), share('n3', 300, 300)]);
    expect(salted?.cpuSpread).toBe(0);
    expect(variationOf([])).toBe(0);
    expect(variationOf([0, 0])).toBe(0);
  });

  it('computes what the busiest node would allow, and calls that computed', () => {
    const [without, salted] = DOCUMENT.loads;
    expect(without?.computedThroughput).toBeCloseTo(1_000 / 0.8, 5);
    expect(salted?.computedThroughput).toBeCloseTo(2_000 / 0.3, 5);
    expect(gainTexts(DOCUMENT)).toEqual([
      'single key, 3 nodes: 2.00 times the throughput on this machine; 5.33 times if each node had a processor for itself (computed from the time that each has used)',
    ]);
  });

  it('has the writes, with copies and without', () => {
    expect(DOCUMENT.writes.map(({ writes: count, salted }) => [count, salted])).toEqual([
      [3, false],
      [3, true],
    ]);
    expect(DOCUMENT.writes[1]?.p50Ms).toBeCloseTo(5, 1);
  });

  it('becomes a text and a page, which escape what they are given', () => {
    const text = documentText(DOCUMENT);
    expect(text).toContain('single key');
    expect(text).toContain('A <CPU>');
    const page = renderSalts(DOCUMENT);
    expect(page).toContain('A &lt;CPU&gt;');
    expect(page).toContain('n1 40 %, n2 30 %, n3 30 %');
    expect(chartOf(DOCUMENT).lines).toHaveLength(2);
  });
});
