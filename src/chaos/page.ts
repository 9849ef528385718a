/**
 * The report of a run as one page that needs nothing else: the verdict, throughput and latency with the faults behind them,
 * what each kind of fault has cost, every fault in turn, and the operations of every key whose history is illegal.
 */
import type { CheckReport } from '../check/check.ts';
import { renderIllegal, renderOperations } from '../check/timeline.ts';
import { type Band, drawChart, type Mark } from '../common/report/chart.ts';
import { escapeHtml, renderPage } from '../common/report/page.ts';
import type { PhaseFigures } from './figures.ts';
import type { ChaosSummary, Quantiles } from './summary.ts';

const COLOURS: Readonly<Record<string, number>> = {
  links: 0,
  process: 1,
  disk: 6,
  clock: 4,
  limits: 5,
  clients: 3,
};
const CLASSES = { held: 'ok', broken: 'illegal', 'not exercised': 'faint' } as const;
/** More marks than that hide the lines. */
const MARKS_MAX = 60;
/** Changes of leaders that are one mark, µs. */
const MOMENT_US = 1_000_000;
const BREACHES_MAX = 20;

function ms(value: number): string {
  if (!Number.isFinite(value)) return '–';
  return value >= 10_000 ? `${(value / 1_000).toFixed(1)} s` : `${Math.round(value).toLocaleString('en')} ms`;
}

function part(value: number): string {
  return Number.isFinite(value) ? `${(value * 100).toFixed(2)} %` : '–';
}

function spread({ p50, p99, max, count }: Quantiles): string {
  return count === 0 ? '–' : `${ms(p50)} · ${ms(p99)} · ${ms(max)}`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (row: readonly string[], tag: string): string =>
    `<tr>${row.map((cell) => `<${tag}>${cell}</${tag}>`).join('')}</tr>`;
  return `<table><thead>${cells(head, 'th')}</thead><tbody>\n${rows.map((row) => cells(row, 'td')).join('\n')}\n</tbody></table>`;
}

function rulings({ rulings: all }: ChaosSummary): string {
  return table(
    ['guarantee', '', 'result', ''],
    all.map(({ guarantee, title, result, reason, breaches }) => {
      const more = breaches.slice(1, BREACHES_MAX).map(({ key, text }) => {
        return `<br><span class="mono">${escapeHtml(key === null ? text : `${key}: ${text}`)}</span>`;
      });
      const rest = breaches.length > BREACHES_MAX ? `<br>… and ${breaches.length - BREACHES_MAX} more` : '';
      return [
        escapeHtml(guarantee),
        escapeHtml(title),
        `<span class="${CLASSES[result]}">${result}</span>`,
        `${escapeHtml(reason)}${more.join('')}${rest}`,
      ];
    }),
  );
}

function bandsOf({ faults, from }: ChaosSummary): Band[] {
  return faults.map(({ kind, family, target, window }) => ({
    from: (window.from - from) / 1e6,
    to: (window.to - from) / 1e6,
    label: `${kind}: ${target}`,
    colour: COLOURS[family] ?? 7,
  }));
}

/** What has changed at about the same time is one mark. None if they would hide the lines, which show how many there were. */
function leaderMarks({ leaderChanges, from }: ChaosSummary): Mark[] {
  const marks = new Map<number, { x: number; labels: string[] }>();
  for (const { at, partition, node } of leaderChanges) {
    const moment = Math.floor((at - from) / MOMENT_US);
    const mark = marks.get(moment) ?? { x: (at - from) / 1e6, labels: [] };
    marks.set(moment, mark);
    mark.labels.push(`p${partition} ${node}`);
  }
  if (marks.size > MARKS_MAX) return [];
  return [...marks.values()].map(({ x, labels }) => ({
    x,
    label: labels.length > 1 ? `${labels.length} partitions` : labels[0]!,
  }));
}

/** How many partitions got another leader in each slice, per second. */
function leaderRates({ leaderChanges, from, slices }: ChaosSummary): [number, number][] {
  const seconds = slices.length > 1 ? slices[1]!.at - slices[0]!.at : 1;
  const counts = slices.map(() => 0);
  for (const { at } of leaderChanges) {
    const slice = Math.floor((at - from) / 1e6 / seconds);
    if (slice >= 0 && slice < counts.length) counts[slice]! += 1;
  }
  return slices.map(({ at }, index) => [at, counts[index]! / seconds]);
}

function charts(summary: ChaosSummary): string {
  const { slices } = summary;
  const bands = bandsOf(summary);
  const x = { label: 'seconds', kind: 'linear' as const };
  const throughput = drawChart({
    title: 'Operations per second',
    x,
    y: { label: 'per second', kind: 'linear' },
    bands,
    lines: [
      { name: 'reads', points: slices.map(({ at, readsPerSecond }) => [at, readsPerSecond]) },
      { name: 'writes', points: slices.map(({ at, writesPerSecond }) => [at, writesPerSecond]), colour: 3 },
      { name: 'failed', points: slices.map(({ at, failedPerSecond }) => [at, failedPerSecond]), colour: 1 },
      { name: 'leader changes', points: leaderRates(summary), colour: 4, dashed: true },
    ],
  });
  const latency = drawChart({
    title: 'Latency and changes of leaders',
    x,
    y: { label: 'p99, ms', kind: 'log' },
    bands,
    marks: leaderMarks(summary),
    lines: [{ name: 'p99', points: slices.map(({ at, p99Ms }) => [at, p99Ms]), dots: true }],
  });
  return `<div class="scroll">${throughput}</div>\n<p></p>\n<div class="scroll">${latency}</div>`;
}

function phase({ availability, p50Ms, p99Ms, operations }: PhaseFigures): string[] {
  return [operations.toLocaleString('en'), part(availability), ms(p50Ms), ms(p99Ms)];
}

function kinds({ kinds: all, calm }: ChaosSummary): string {
  const rows = all.map(({ kind, times, confirmed, phase: figures, writeGapMs, readGapMs, wholeMs }) => [
    escapeHtml(kind),
    `${times}${confirmed < times ? `, ${confirmed} confirmed` : ''}`,
    ...phase(figures),
    spread(writeGapMs),
    spread(readGapMs),
    spread(wholeMs),
  ]);
  const head = [
    'fault',
    'times',
    'operations',
    'succeeded',
    'p50',
    'p99',
    'no writes',
    'no quorum reads',
    'whole after',
  ];
  return table(head, [...rows, ['none', '', ...phase(calm), '', '', '']]);
}

function faults(summary: ChaosSummary): string {
  const rows = summary.faults.map(
    ({ round, kind, target, window, proof, problem, writeGapMs, readGapMs, wholeMs }) => [
      `${round}`,
      escapeHtml(kind),
      escapeHtml(target),
      `${((window.from - summary.from) / 1e6).toFixed(1)} s, ${ms((window.to - window.from) / 1e3)}`,
      ms(writeGapMs),
      ms(readGapMs),
      ms(wholeMs),
      proof !== '' ? escapeHtml(proof) : `<span class="unknown">not confirmed: ${escapeHtml(problem)}</span>`,
    ],
  );
  const head = [
    'round',
    'fault',
    'of',
    'at, for',
    'no writes',
    'no quorum reads',
    'whole after',
    'took effect',
  ];
  return table(head, rows);
}

/** Returns the report as an HTML page. */
export function renderChaos(summary: ChaosSummary, check: Pick<CheckReport, 'keys'>): string {
  const { verdict, seed, seconds, nodes, partitions, replicationFactor, totals } = summary;
  const illegal = renderIllegal(check);
  const body = [
    `<h1>Chaos: <span class="${CLASSES[verdict]}">${verdict}</span></h1>`,
    `<p class="faint">seed ${seed}, ${seconds.toFixed(0)} s, ${nodes} nodes, ${partitions} partitions of ${replicationFactor} voters;
    ${totals.operations.toLocaleString('en')} operations on ${totals.histories} keys, ${totals.failed} not applied,
    ${totals.unknown} unknown; ${totals.faults} faults in ${totals.rounds} rounds; ${totals.leaderChanges} changes of leaders.</p>`,
    rulings(summary),
    '<h2>Course</h2>',
    '<p class="faint">Shaded: faults, by what they are done to; their names are in the tooltips. Dashed: partitions have other leaders; where that happened too often to be marked, the upper chart says how often.</p>',
    charts(summary),
    '<h2>Kinds of faults</h2>',
    '<p class="faint">Times without an answer are the longest of any partition, p50 · p99 · most over the faults that were on alone; “whole after” counts from the end of a fault until every replica had caught up.</p>',
    kinds(summary),
    ...(illegal === '' ? [] : ['<h2>Illegal histories</h2>', illegal]),
    ...(summary.failing.length === 0
      ? []
      : ['<h2>Operations on keys of breaches</h2>', ...summary.failing.map(renderOperations)]),
    '<h2>Faults</h2>',
    faults(summary),
  ];
  return renderPage(`Chaos: ${verdict}`, body.join('\n'));
}
