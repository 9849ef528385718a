/** The measurement of salts as a page: hot keys with and without copies, and what the nodes have done meanwhile. */
import type { Chart } from '#src/common/report/chart.ts';
import { escapeHtml, renderPage } from '#src/common/report/page.ts';
import { htmlFigure, htmlTable, machineHtml, madeHtml } from '../report/html.ts';
import {
  COLUMNS,
  gainTexts,
  paceText,
  rowOf,
  type SaltsDocument,
  type ShownLoad,
  WRITES_COLUMNS,
  writesRowOf,
} from './document.ts';

function nameOf({ nodes, load, salted }: ShownLoad): string {
  return `${load}, ${nodes} nodes, ${salted ? 'with' : 'without'} copies`;
}

/** Returns the chart: a curve per load. */
export function chartOf({ loads }: SaltsDocument): Chart {
  return {
    title: 'Latency by percentile',
    x: { label: 'percentile', kind: 'percentile', format: (value) => `${value}` },
    y: { label: 'ms', kind: 'log' },
    lines: loads.map((shown) => ({ name: nameOf(shown), points: shown.curve })),
  };
}

function sharesOf(shown: ShownLoad): string[] {
  const all = shown.byNode.reduce((sum, { gets }) => sum + gets, 0);
  const parts = shown.byNode.map(
    ({ node, gets }) => `${node} ${Math.round((100 * gets) / Math.max(1, all))} %`,
  );
  return [nameOf(shown), parts.join(', ')];
}

/** Returns the page of a document. */
export function renderSalts(document: SaltsDocument): string {
  const { machine, options, loads, writes, warnings } = document;
  const paragraph = (text: string): string => `<p>${escapeHtml(text)}</p>`;
  const body = [
    '<h1>Hot keys with and without copies</h1>',
    machineHtml(machine),
    madeHtml(document, paceText(document), options.quick),
    ...warnings.map(paragraph),
    htmlTable(COLUMNS, loads.map(rowOf)),
    ...gainTexts(document).map(paragraph),
    htmlTable(['load', 'gets answered by'], loads.map(sharesOf)),
    htmlTable(WRITES_COLUMNS, writes.map(writesRowOf)),
    htmlFigure(chartOf(document)),
  ].join('\n');
  return renderPage('Hot keys with and without copies', body);
}
