/** The measurement of moves as a page: the load before, while and after replicas move, and what was copied. */
import type { Chart } from '#src/common/report/chart.ts';
import { escapeHtml, renderPage } from '#src/common/report/page.ts';
import { htmlFigure, htmlTable, machineHtml, madeHtml } from '../report/html.ts';
import { COLUMNS, changeText, type MovesDocument, paceText, rowOf, verdictText } from './document.ts';

/** Returns the chart: a curve per phase. */
export function chartOf({ phases }: MovesDocument): Chart {
  return {
    title: 'Latency by percentile',
    x: { label: 'percentile', kind: 'percentile', format: (value) => `${value}` },
    y: { label: 'ms', kind: 'log' },
    lines: phases.map(({ phase, curve }) => ({ name: phase, points: curve })),
  };
}

function paragraph(kind: 'ok' | 'illegal' | 'unknown', text: string): string {
  return `<p class="${kind}">${escapeHtml(text)}</p>`;
}

/** Returns the page of a document. */
export function renderMoves(document: MovesDocument): string {
  const { machine, options, phases, changes, verdicts, warnings } = document;
  const body = [
    '<h1>While replicas move</h1>',
    machineHtml(machine),
    madeHtml(document, paceText(document), options.quick),
    ...verdicts.map((verdict) => paragraph(verdict.met ? 'ok' : 'illegal', verdictText(verdict))),
    ...warnings.map((text) => paragraph('unknown', text)),
    htmlTable(COLUMNS, phases.map(rowOf)),
    ...changes.map((change) => `<p>${escapeHtml(changeText(change))}</p>`),
    htmlFigure(chartOf(document)),
  ].join('\n');
  return renderPage('While replicas move', body);
}
