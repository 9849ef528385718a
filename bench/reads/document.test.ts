import { describe, expect, it } from 'vitest';
import { createHistogram, recordMs } from '../load/histogram.ts';
import type { ReadPace } from './conditions.ts';
import { createDocument, documentText, progressText } from './document.ts';
import type { Measured, PendingReads, ReadFigures } from './figures.ts';
import { chartOf, renderReads } from './page.ts';

const PACE: ReadPace = {
  ...{ levels: ['linearizable', 'quorum'], rounds: 2, seconds: 3, warmUpSeconds: 1, rate: 1_000 },
  ...{ records: 10_000, processes: 1, mode: 'direct', quick: false },
};
const MADE = {
  ...{ version: '0.1.0', commit: null, startedAt: '2026-01-01T00:00:00.000Z', elapsedSeconds: 9 },
  ...{ fileSystem: 'ext4', loadAverage: 7.25 },
  machine: { cpu: 'A <CPU>', cores: 2, memoryBytes: 4e9, kernel: 'Linux', node: 'v20' },
};
const FIGURES: ReadFigures = {
  ...{ throughput: 1_000, p50Ms: 1, p99Ms: 5, p999Ms: 9, maxMs: 12, gapMs: 0, errors: 0 },
};

function measured(what: Partial<Measured>, figures: Partial<ReadFigures> = {}): Measured {
  const latencies = createHistogram();
  for (const ms of [1, 2, 3]) recordMs(latencies, ms);
  return {
    ...{ round: 1, level: 'quorum', condition: 'healthy', figures: { ...FIGURES, ...figures }, latencies },
    ...{ leaderBackMs: null, stoppedShare: null, ...what },
  };
}

const PENDING: PendingReads = {
  ...{ round: 1, latenciesMs: [4, 900, 1_000, 1_100], errors: 0, leaderBackMs: 950, others: FIGURES },
};
const RESULTS = {
  measured: [
    measured({}),
    measured({ round: 2 }, { p99Ms: 7 }),
    measured({ condition: 'slow', stoppedShare: 0.79 }),
    measured({ condition: 'paused', leaderBackMs: 1_200 }, { p99Ms: 70 }),
    measured(
      { condition: 'paused', level: 'linearizable', leaderBackMs: 1_300 },
      { gapMs: 1_250, errors: 3 },
    ),
  ],
  pending: [PENDING],
  failures: [{ round: 2, level: 'quorum', condition: 'full', message: 'no <room>' }] as const,
};

describe('the document of reads', () => {
  const document = createDocument(RESULTS, PACE, MADE);

  it('has every measurement, and what is of all rounds', () => {
    expect(document).toMatchObject({
      format: 1,
      version: '0.1.0',
      options: { rate: 1_000, slow: { stoppedMs: 80 } },
    });
    expect(document.measurements).toHaveLength(RESULTS.measured.length);
    expect(document.measurements[1]).toMatchObject({
      round: 2,
      level: 'quorum',
      condition: 'healthy',
      p99Ms: 7,
    });
    expect(JSON.parse(JSON.stringify(document))).toEqual(document);
  });

  it('is told as a table per condition, with what is required and what failed', () => {
    const text = documentText(document);
    expect(text).toMatch(/^quorum +1,000 +1 +6 \(5–7\) +9 +<50 +0$/m);
    expect(text).toMatch(/^linearizable +1,000 +1 +5 +9 +1,250 +3\nquorum /m);
    expect(text).toContain('a next leader was established after 1,200 to 1,300 ms');
    expect(text).toContain('the follower was stopped for 79 % to 79 % of the time');
    expect(text).toContain('3 of 4 reads (75 %) took more than 200 ms');
    expect(text).toMatch(/no writes before the pause: p99 70 ms, .*: not met$/m);
    expect(text).toMatch(/other keys written until the pause: p99 5 ms, .*: met$/m);
    expect(text).toContain('note: the machine was not idle: its load average was 7.3 at the start');
    expect(text).toContain('failed: quorum full in round 2: no <room>');
  });

  it('is told in rows of one width while it is made', () => {
    const rows = [null, RESULTS.measured[0]!, PENDING].map(progressText);
    expect(new Set(rows.map(({ length }) => length)).size).toBe(1);
    expect(rows[2]).toMatch(/^ +pending +quorum /);
  });

  it('says nothing of what was not measured', () => {
    const none = createDocument({ measured: [], pending: [], failures: [] }, PACE, MADE);
    expect(none).toMatchObject({ cells: [], pending: null, verdicts: [] });
    expect(documentText(none)).not.toMatch(/undefined|NaN|pending/);
  });
});

describe('the page of reads', () => {
  it('has a table and a chart per condition, a curve per level', () => {
    const document = createDocument(RESULTS, PACE, MADE);
    const page = renderReads(document);
    expect(page.match(/<svg /g)).toHaveLength(3);
    expect(chartOf(document, 'paused').lines.map(({ name }) => name)).toEqual(['linearizable', 'quorum']);
    expect(page).toContain('no &lt;room&gt;');
    expect(page).toContain('Keys with a pending write');
    expect(page).not.toMatch(/NaN|https?:|<script|<CPU>/);
  });
});
