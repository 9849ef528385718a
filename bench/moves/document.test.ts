import { describe, expect, it } from 'vitest';
import { createHistogram, recordMs } from '../load/histogram.ts';
import type { RunResult } from '../report/run-result.ts';
import type { Change, MovesPace, MovesResults, Phase } from './course.ts';
import { createDocument, documentText } from './document.ts';
import { chartOf, renderMoves } from './page.ts';

const PACE: MovesPace = {
  ...{ records: 1_000_000, valueBytes: 100, partitions: 12, putShare: 0.5, quietWindows: 2, rate: null },
  ...{ seconds: 5, warmUpSeconds: 1, processes: 1, quick: false },
};
const MADE = {
  ...{ version: '0.1.0', commit: null, startedAt: '2026-01-01T00:00:00.000Z', elapsedSeconds: 9 },
  ...{ fileSystem: 'ext4', loadAverage: 0.25 },
  machine: { cpu: 'A <CPU>', cores: 2, memoryBytes: 4e9, kernel: 'Linux', node: 'v20' },
};

/** A window of a hundred operations, all of which took `ms`. */
function window(ms: number, failed = 0): RunResult {
  const all = createHistogram();
  for (let at = 0; at < 100; at += 1) recordMs(all, ms);
  const none = createHistogram();
  return {
    ...{ rate: 20, elapsedMs: 5_000, throughput: 20, all, byKind: new Map(), failed: none },
    counts: { started: 100, succeeded: 100 - failed, failed, abandoned: 0, backlog: 0, late: 0, absent: 0 },
    failures: failed === 0 ? [] : [{ kind: 'READ', code: 'TIMEOUT', outcome: 'unknown', count: failed }],
    ...{ startDelay: null, series: [], clients: [], servers: [], events: [], failover: null },
    gaps: new Map(),
  };
}

const CHANGES: readonly Change[] = [
  { from: 3, to: 5, seconds: 20, moves: 14, neededBytes: 100 * 1024 ** 2, receivedBytes: 105 * 1024 ** 2 },
  { from: 5, to: 3, seconds: 25, moves: 14, neededBytes: 100 * 1024 ** 2, receivedBytes: 130 * 1024 ** 2 },
];

function results(ms: Readonly<Record<Phase, readonly number[]>>, failed = 0): MovesResults {
  const phases = (Object.entries(ms) as [Phase, readonly number[]][]).map(([phase, windows]) => ({
    phase,
    windows: windows.map((one) => window(one, phase === 'shrinking' ? failed : 0)),
  }));
  return { knees: [{ nodes: 3, rate: 9_000 }], rate: 4_500, phases, changes: CHANGES };
}

describe('the document of moves', () => {
  const measured = results(
    { 'quiet small': [5], growing: [12, 28], 'quiet large': [10, 10], shrinking: [31] },
    2,
  );
  const document = createDocument(measured, PACE, MADE);

  it('adds the windows of a phase up', () => {
    const growing = document.phases.find(({ phase }) => phase === 'growing')!;
    expect(growing).toMatchObject({ windows: 2, throughput: 20, errors: 0 });
    expect(growing.p50Ms).toBeCloseTo(12, 1);
    expect(growing.p99Ms).toBeCloseTo(28, 1);
  });

  it('holds them against the cluster with as many nodes that is quiet, and against what had to be copied', () => {
    const [growing, shrinking] = document.verdicts;
    expect(growing).toMatchObject({ of: 'growing', errors: 0, met: true, copiedTimes: 1.05 });
    expect(growing!.p99Times).toBeCloseTo(2.8, 1);
    expect(shrinking).toMatchObject({ of: 'shrinking', errors: 2, met: false, copiedTimes: 1.3 });
    const fine = results({ 'quiet small': [5], growing: [12], 'quiet large': [10], shrinking: [10] });
    const unbroken = createDocument({ ...fine, changes: [CHANGES[0]!, CHANGES[0]!] }, PACE, MADE);
    expect(unbroken.verdicts.map(({ met }) => met)).toEqual([true, true]);
    const late = results({ 'quiet small': [50], growing: [31], 'quiet large': [10], shrinking: [10] });
    expect(createDocument(late, PACE, MADE).verdicts[0]!.met).toBe(false);
  });

  it('is told in words, and as a page', () => {
    const text = documentText(document);
    expect(text).toContain('half of the lower knee: 9000/s with 3 nodes');
    expect(text).toContain('3 to 5 nodes: 14 moves in 20.0 s; 105.0 MiB received for replicas of 100.0 MiB');
    expect(text).toContain('shrinking: 2 READ: TIMEOUT, unknown');
    expect(text).toMatch(/^shrinking: p99 3\.1\d times .*, 1\.30 times the bytes, 2 errors; .*: not met$/m);
    const page = renderMoves(document);
    expect(page).toContain('A &lt;CPU&gt;');
    expect(chartOf(document).lines.map(({ name }) => name)).toEqual([
      'quiet small',
      'growing',
      'quiet large',
      'shrinking',
    ]);
  });
});
