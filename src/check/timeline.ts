/**
 * The report of a check as a page: for every illegal key a drawing with one lane per client and one bar per operation, from
 * its call to its return, and the same operations as a table. Times are drawn by their order, not to scale: what matters
 * is what overlaps, and real gaps differ by orders of magnitude. The details are in the tooltips and in the table.
 */
import type { HistoryEvent } from '../common/history.ts';
import { escapeHtml, renderPage } from '../common/report/page.ts';
import type { CheckReport } from './check.ts';
import {
  describeAnswer,
  describeCall,
  describeCount,
  describeKey,
  describeTimes,
  shorten,
} from './describe.ts';
import { interpret } from './interpret.ts';
import type { Illegal, KeyReport } from './key-check.ts';

/** Drawings with more operations than that say nothing to anybody. */
const DRAWN_MAX = 400;
const OTHERS_MAX = 200;

/** In the place of what an order gets stuck at. */
const UNORDERED = -1;

const LEFT = 150;
/** Widths of a column: few columns get more room, as much as fits on a page. */
const COLUMN_MIN = 64;
const COLUMN_MAX = 140;
const PAGE = 960;
const ROW = 34;
const BAR = 24;
const TOP = 14;
const LETTER = 7.3;

/** Where an operation is drawn, in columns and rows. */
interface Bar {
  readonly event: HistoryEvent;
  readonly position: number;
  readonly from: number;
  readonly to: number;
  readonly row: number;
}

interface Lane {
  readonly client: string;
  readonly row: number;
  readonly rows: number;
}

interface Drawing {
  readonly bars: readonly Bar[];
  readonly lanes: readonly Lane[];
  readonly columns: number;
  readonly rows: number;
  /** Of a column, in pixels. */
  readonly column: number;
}

/** Whether it may take effect at any time after its call. */
function isOpen(event: HistoryEvent): boolean {
  return event.return === null || interpret(event)?.open === true;
}

/** Lays operations out: a client whose operations overlap gets several rows. */
function layOut(events: readonly HistoryEvent[]): Drawing {
  const times = new Set(
    events.flatMap((event) => (isOpen(event) ? [event.call] : [event.call, event.return!])),
  );
  const column = new Map([...times].sort((a, b) => a - b).map((time, index) => [time, index]));
  const columns = times.size + 1;
  const width = Math.min(COLUMN_MAX, Math.max(COLUMN_MIN, Math.floor((PAGE - LEFT) / columns)));
  const bars: Bar[] = [];
  const lanes: Lane[] = [];
  let row = 0;
  for (const client of new Set(events.map((event) => event.client))) {
    const busyTo: number[] = [];
    for (const [position, event] of events.entries()) {
      if (event.client !== client) continue;
      const from = column.get(event.call)!;
      const to = isOpen(event) ? columns : Math.max(from + 0.5, column.get(event.return!)!);
      let at = busyTo.findIndex((busy) => busy <= from);
      if (at < 0) at = busyTo.length;
      busyTo[at] = to;
      bars.push({ event, position, from, to, row: row + at });
    }
    lanes.push({ client, row, rows: busyTo.length });
    row += busyTo.length;
  }
  return { bars, lanes, columns, rows: row, column: width };
}

function colourOf(event: HistoryEvent): string {
  if (isOpen(event)) return 'var(--open)';
  if (event.output?.result === 'not_applied') return 'var(--faint)';
  return event.op === 'get' ? 'var(--read)' : 'var(--write)';
}

/** Of a write, what was asked; of a read, what was told. The rest is in the tooltip. */
function labelOf(event: HistoryEvent): string {
  const told = event.output?.result !== 'ok' || event.output.applied === false || event.op === 'increment';
  return event.op === 'get' || told
    ? `${describeCall(event)} → ${describeAnswer(event)}`
    : describeCall(event);
}

/** Where an operation is in the order that was found; nothing of operations that were not ordered. */
function placeOf({ stuck }: Illegal, isStuck: boolean, place: number): string[] {
  if (isStuck) return ['no order goes on from here'];
  if (stuck === UNORDERED) return [];
  return [place >= 0 ? `number ${place + 1} in the order` : 'not in the order'];
}

function drawBar(bar: Bar, illegal: Illegal, start: number, column: number): string {
  const { event, position, from, to, row } = bar;
  const x = LEFT + from * column;
  const y = TOP + row * ROW + (ROW - BAR) / 2;
  const width = Math.max(10, (to - from) * column - 4);
  const colour = colourOf(event);
  const place = illegal.order.indexOf(position);
  const isStuck = position === illegal.stuck;
  const mark = isStuck ? '✗ ' : place >= 0 ? `${place + 1}. ` : '';
  const label = shorten(`${mark}${labelOf(event)}`, Math.floor((width - 8) / LETTER));
  const details = [
    `${event.client}: ${describeCall(event)}`,
    describeAnswer(event),
    describeTimes(event, start),
    ...placeOf(illegal, isStuck, place),
  ];
  const edge = isStuck ? 'var(--bad)' : colour;
  const dashes = isOpen(event) ? ' stroke-dasharray="5 4"' : '';
  return [
    `<g><title>${escapeHtml(details.join(' | '))}</title>`,
    `<rect x="${x}" y="${y}" width="${width}" height="${BAR}" rx="4" fill="${colour}" fill-opacity=".18"`,
    ` stroke="${edge}" stroke-width="${isStuck ? 2.5 : 1}"${dashes}/>`,
    `<text x="${x + 6}" y="${y + 16}"${isStuck ? ' style="fill:var(--bad)"' : ''}>${escapeHtml(label)}</text></g>`,
  ].join('');
}

function drawLane({ client, row, rows }: Lane, width: number): string {
  const y = TOP + row * ROW;
  return [
    `<line x1="0" y1="${y}" x2="${width}" y2="${y}" stroke="var(--line)"/>`,
    `<text x="10" y="${y + (rows * ROW) / 2 + 4}"><title>${escapeHtml(client)}</title>`,
    `${escapeHtml(shorten(client, 18))}</text>`,
  ].join('');
}

function draw(illegal: Illegal, start: number): string {
  const { bars, lanes, columns, rows, column } = layOut(illegal.events);
  const width = LEFT + columns * column + 10;
  const height = 2 * TOP + rows * ROW;
  return [
    `<div class="scroll"><svg width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" role="img">`,
    ...lanes.map((lane) => drawLane(lane, width)),
    ...bars.map((bar) => drawBar(bar, illegal, start, column)),
    '</svg></div>',
  ].join('\n');
}

function tableOf(illegal: Illegal, start: number): string {
  const rows = illegal.events.map((event, position) => {
    const place = illegal.order.indexOf(position);
    const order =
      position === illegal.stuck ? '<span class="illegal">✗</span>' : place >= 0 ? `${place + 1}` : '';
    const cells = [event.client, describeCall(event), describeAnswer(event), describeTimes(event, start)];
    const first = illegal.stuck === UNORDERED ? '' : `<td class="number">${order}</td>`;
    return `<tr>${first}${cells.map((text) => `<td class="mono">${escapeHtml(text)}</td>`).join('')}</tr>`;
  });
  const names = ['client', 'operation', 'answer', 'from'];
  if (illegal.stuck !== UNORDERED) names.unshift('order');
  const head = names.map((name) => `<th>${name}</th>`).join('');
  return `<table><thead><tr>${head}</tr></thead><tbody>\n${rows.join('\n')}\n</tbody></table>`;
}

function illegalSection({ keyspace, key, operations, illegal }: KeyReport): string {
  const { events, reason } = illegal!;
  const start = Math.min(...events.map(({ call }) => call));
  const kept = `${events.length} of ${describeCount(operations, 'operation')} are enough to show it.`;
  return [
    `<h2><span class="illegal">illegal</span> ${escapeHtml(describeKey(keyspace, key))}</h2>`,
    `<p>${escapeHtml(reason)}. <span class="faint">${kept}</span></p>`,
    ...(events.length <= DRAWN_MAX ? [draw(illegal!, start)] : []),
    tableOf(illegal!, start),
  ].join('\n');
}

const VERDICTS = {
  ok: 'Every key has an order that explains all answers.',
  illegal: 'For the keys below, no order of the operations explains all answers.',
  unknown: 'The check did not come to an end. This is not a pass.',
} as const;

const LEGEND =
  'Bars run from call to return; dashed ones are open for ever. Numbers are the longest order that explains the ' +
  'answers up to there; ✗ marks the operation at which it gets stuck. Times are drawn in their order, not to scale.';

/** Returns what is illegal as HTML, drawn; empty: nothing is. */
export function renderIllegal({ keys }: Pick<CheckReport, 'keys'>): string {
  const illegal = keys.filter((key) => key.illegal !== undefined);
  if (illegal.length === 0) return '';
  return [`<p class="faint">${LEGEND}</p>`, ...illegal.map(illegalSection)].join('\n');
}

/** The operations on a key that something else than their order shows to be wrong, in the order of their calls. */
export interface ShownOperations {
  readonly keyspace: string;
  readonly key: string;
  /** What is wrong. */
  readonly reason: string;
  readonly events: readonly HistoryEvent[];
  /** How many more there were before them. */
  readonly earlier: number;
}

/** Returns the operations on a key as HTML, drawn. */
export function renderOperations({ keyspace, key, reason, events, earlier }: ShownOperations): string {
  const drawn: Illegal = { events, order: [], stuck: UNORDERED, reason };
  const start = Math.min(...events.map(({ call }) => call));
  const left =
    earlier === 0
      ? ''
      : ` <span class="faint">${describeCount(earlier, 'earlier operation')} left out.</span>`;
  return [
    `<h3>${escapeHtml(describeKey(keyspace, key))}</h3>`,
    `<p>${escapeHtml(reason)}.${left}</p>`,
    ...(events.length === 0 ? [] : [draw(drawn, start), tableOf(drawn, start)]),
  ].join('\n');
}

/** Returns the report as an HTML page. */
export function renderTimeline(report: CheckReport, title: string): string {
  const { result, keys, operations, elapsedMs } = report;
  const rows = keys.slice(0, OTHERS_MAX).map((key) => {
    const why = key.unknown === undefined ? '' : escapeHtml(key.unknown);
    const cells = [
      `<td class="mono">${escapeHtml(describeKey(key.keyspace, key.key))}</td>`,
      `<td class="${key.result}">${key.result}</td><td class="number">${key.operations.toLocaleString('en')}</td>`,
      `<td class="number">${key.elapsedMs.toFixed(1)} ms</td><td>${why}</td>`,
    ];
    return `<tr>${cells.join('')}</tr>`;
  });
  const more =
    keys.length > OTHERS_MAX
      ? `<p class="faint">… and ${describeCount(keys.length - OTHERS_MAX, 'more key')}</p>`
      : '';
  const head = '<th>key</th><th>result</th><th>operations</th><th>time</th><th></th>';
  const count = `${describeCount(operations, 'operation')} on ${describeCount(keys.length, 'key')}`;
  const body = [
    `<h1>${escapeHtml(title)}: <span class="${result}">${result}</span></h1>`,
    `<p>${VERDICTS[result]} <span class="faint">${count}, checked in ${(elapsedMs / 1_000).toFixed(1)} s.</span></p>`,
    renderIllegal(report),
    `<h2>Keys</h2>\n<table><thead><tr>${head}</tr></thead><tbody>\n${rows.join('\n')}\n</tbody></table>`,
    more,
  ];
  return renderPage(`${title}: ${result}`, body.join('\n'));
}
