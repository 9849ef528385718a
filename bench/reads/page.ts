/**
 * The read levels as a page: for every condition the figures as a table and the latencies by percentile; the reads of keys
 * with a pending write.
 */
import type { Chart } from '#src/common/report/chart.ts';
import { escapeHtml, renderPage } from '#src/common/report/page.ts';
import { htmlFigure, htmlTable, machineHtml, madeHtml } from '../report/html.ts';
import { type Condition, describeCondition, PENDING_KEYS } from './conditions.ts';
import {
  COLUMNS,
  conditionsOf,
  failureText,
  noteOf,
  pendingLines,
  type ReadDocument,
  rowOf,
  rowsOf,
  verdictText,
} from './document.ts';

/** Returns the chart of a condition: a curve per level. */
export function chartOf({ cells, options }: ReadDocument, condition: Condition): Chart {
  return {
    title: `Latency by percentile: ${describeCondition(condition, options)}`,
    x: { label: 'percentile', kind: 'percentile', format: (value) => `${value}` },
    y: { label: 'ms', kind: 'log' },
    lines: cells
      .filter((cell) => cell.condition === condition)
      .map(({ level, curve }) => ({ name: level, points: curve })),
  };
}

function paragraph(kind: 'faint' | 'ok' | 'illegal' | 'unknown', text: string): string {
  return `<p class="${kind}">${escapeHtml(text)}</p>`;
}

function conditionHtml(document: ReadDocument, condition: Condition): string {
  const note = noteOf(document, condition);
  return [
    `<h2>${escapeHtml(describeCondition(condition, document.options))}</h2>`,
    htmlTable(COLUMNS, rowsOf(document, condition)),
    ...(note === null ? [] : [paragraph('faint', note)]),
    htmlFigure(chartOf(document, condition)),
  ].join('\n');
}

function pendingHtml({ pending }: ReadDocument): string[] {
  if (pending === null) return [];
  return [
    `<h2>Keys with a pending write</h2>`,
    paragraph(
      'faint',
      `${PENDING_KEYS} keys were being written when the leader stopped, and read at quorum then.`,
    ),
    ...pendingLines(pending).map((line) => `<p>${escapeHtml(line)}</p>`),
    htmlTable(COLUMNS, [rowOf('quorum, other keys', pending.others)]),
  ];
}

/** Returns the page of a document. */
export function renderReads(document: ReadDocument): string {
  const { machine, options, verdicts, failures, warnings } = document;
  const { rounds, seconds, processes, mode, records, quick } = options;
  const pace = `medians of ${rounds} rounds (lowest–highest), ${seconds} s each, ${processes} client processes, ${mode}, ${records} records`;
  const body = [
    '<h1>Read levels</h1>',
    machineHtml(machine),
    madeHtml(document, pace, quick),
    ...verdicts.map((verdict) => paragraph(verdict.met ? 'ok' : 'illegal', verdictText(verdict))),
    ...failures.map((failure) => paragraph('illegal', failureText(failure))),
    ...warnings.map((text) => paragraph('unknown', text)),
    ...conditionsOf(document).map((condition) => conditionHtml(document, condition)),
    ...pendingHtml(document),
  ].join('\n');
  return renderPage('Read levels', body);
}
