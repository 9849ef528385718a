/**
 * Parts that the pages of measurements share: tables, charts, and what was measured with.
 */
import { type Chart, drawChart, formatNumber } from '#src/common/report/chart.ts';
import { escapeHtml } from '#src/common/report/page.ts';
import type { Circumstances } from '../program.ts';
import type { Machine } from '../servers/machine.ts';

/** Returns a table of figures. */
export function htmlTable(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = (row: readonly string[]) =>
    row.map((cell) => `<td class="number">${escapeHtml(cell)}</td>`).join('');
  const header = head.map((cell) => `<th>${escapeHtml(cell)}</th>`).join('');
  const body = rows.map((row) => `<tr>${cells(row)}</tr>`).join('\n');
  return `<div class="scroll"><table><thead><tr>${header}</tr></thead><tbody>\n${body}\n</tbody></table></div>`;
}

/** Returns a chart with its title. */
export function htmlFigure(chart: Chart): string {
  return `<h3>${escapeHtml(chart.title)}</h3>\n<div class="scroll">${drawChart(chart)}</div>`;
}

/** Returns what the machine is. */
export function machineHtml({ cpu, cores, memoryBytes, kernel, node }: Machine): string {
  const on = `${cpu}, ${cores} cores, ${formatNumber(memoryBytes / 1024 ** 3)} GiB; ${kernel}; Node.js ${node}`;
  return `<p class="faint">${escapeHtml(on)}; clients and servers share the machine</p>`;
}

/** Returns what was measured with; `pace` says how long and how. */
export function madeHtml(
  { version, commit, startedAt, fileSystem, loadAverage }: Circumstances,
  pace: string,
  quick: boolean,
): string {
  const changed = commit?.changed ? ', changed' : '';
  const made = commit === null ? '' : ` (${commit.hash.slice(0, 12)}${changed})`;
  const tried = quick ? '; a try: the figures say nothing' : '';
  const text = `${startedAt}: Ringkeep ${version}${made}; ${pace}; data on ${fileSystem}; load average before ${loadAverage.toFixed(1)}${tried}`;
  return `<p class="faint">${escapeHtml(text)}</p>`;
}
