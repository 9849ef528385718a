/**
 * Line charts as SVG text for report pages: axes, lines, marks and a legend. Colours are the variables of page.ts, so that a
 * chart follows the scheme of its reader.
 * INVARIANT: whatever the points, the SVG is well-formed and holds finite numbers only; points that are not finite are gaps.
 */
import { escapeHtml } from './page.ts';
import { createScale, type Scale, type ScaleKind } from './scale.ts';

export interface Axis {
  readonly label: string;
  readonly kind: ScaleKind;
  /** Returns the text of a tick; default: the number. */
  readonly format?: (value: number) => string;
}

export type Point = readonly [x: number, y: number];

export interface Line {
  readonly name: string;
  readonly points: readonly Point[];
  readonly dashed?: boolean;
  /** Lines with the same number have the same colour; default: its place among the lines. */
  readonly colour?: number;
  /** Draws the points themselves too. */
  readonly dots?: boolean;
}

/** A vertical line across the chart. */
export interface Mark {
  readonly x: number;
  readonly label: string;
}

/** A stretch of the x axis that is shaded over the whole height. */
export interface Band {
  readonly from: number;
  readonly to: number;
  readonly label: string;
  /** Number of a line's colour. */
  readonly colour: number;
}

export interface Chart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly lines: readonly Line[];
  readonly marks?: readonly Mark[];
  readonly bands?: readonly Band[];
}

/** Colours that page.ts has for lines, in turn. */
export const LINE_COLOURS = 8;

const WIDTH = 960;
const HEIGHT = 320;
const LEFT = 76;
const RIGHT = 36;
const TOP = 22;
const BOTTOM = 46;
const LEGEND_ROW = 20;
const MARK_ROW = 15;
const LETTER = 7.3;

/** Returns a number with its thousands apart and no more digits than its size calls for. */
export function formatNumber(value: number): string {
  if (!Number.isFinite(value)) return '–';
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 4;
  return value.toLocaleString('en', { maximumFractionDigits: digits });
}

interface Frame {
  readonly x: (value: number) => number;
  readonly y: (value: number) => number;
  readonly top: number;
  readonly bottom: number;
}

/** Pixels with one decimal: more would only make pages large. */
function px(value: number): string {
  return String(Math.round(value * 10) / 10);
}

function text(x: number, y: number, content: string, more = ''): string {
  return `<text x="${px(x)}" y="${px(y)}"${more}>${escapeHtml(content)}</text>`;
}

function rule(x1: number, y1: number, x2: number, y2: number, more: string): string {
  return `<line x1="${px(x1)}" y1="${px(y1)}" x2="${px(x2)}" y2="${px(y2)}" ${more}/>`;
}

/** Places legend entries in rows; returns their SVG and the number of rows. */
function legend(lines: readonly Line[]): { readonly svg: string[]; readonly rows: number } {
  const svg: string[] = [];
  let x = LEFT;
  let row = 0;
  for (const [index, line] of lines.entries()) {
    const { name } = line;
    const width = 34 + name.length * LETTER;
    if (x + width > WIDTH - RIGHT && x > LEFT) {
      x = LEFT;
      row += 1;
    }
    const y = TOP + row * LEGEND_ROW;
    svg.push(rule(x, y - 4, x + 18, y - 4, stroke(line, index)), text(x + 24, y, name));
    x += width;
  }
  return { svg, rows: lines.length === 0 ? 0 : row + 1 };
}

function colour(line: Line, index: number): string {
  return `var(--line-${(line.colour ?? index) % LINE_COLOURS})`;
}

function stroke(line: Line, index: number): string {
  const { dashed = false } = line;
  return `stroke="${colour(line, index)}" stroke-width="1.8"${dashed ? ' stroke-dasharray="5 4"' : ''}`;
}

function axes({ x, y }: Chart, scales: { readonly x: Scale; readonly y: Scale }, frame: Frame): string[] {
  const shown = (axis: Axis, value: number) => (axis.format ?? formatNumber)(value);
  const svg = [];
  for (const { value } of scales.y.ticks) {
    const at = frame.y(value);
    svg.push(rule(LEFT, at, WIDTH - RIGHT, at, 'stroke="var(--line)"'));
    svg.push(text(LEFT - 8, at + 4, shown(y, value), ' text-anchor="end"'));
  }
  for (const { value } of scales.x.ticks) {
    const at = frame.x(value);
    svg.push(rule(at, frame.bottom, at, frame.bottom + 5, 'stroke="var(--faint)"'));
    svg.push(text(at, frame.bottom + 18, shown(x, value), ' text-anchor="middle"'));
  }
  svg.push(rule(LEFT, frame.bottom, WIDTH - RIGHT, frame.bottom, 'stroke="var(--faint)"'));
  svg.push(
    text((LEFT + WIDTH - RIGHT) / 2, frame.bottom + 36, x.label, ' text-anchor="middle" class="faint"'),
  );
  const middle = (frame.top + frame.bottom) / 2;
  const turned = ` text-anchor="middle" class="faint" transform="rotate(-90 14 ${px(middle)})"`;
  svg.push(text(14, middle, y.label, turned));
  return svg;
}

/** The drawable runs of a line: a point that cannot be drawn ends one. */
function pieces({ points }: Line, usable: (point: Point) => boolean): Point[][] {
  const runs: Point[][] = [];
  let open: Point[] | null = null;
  for (const point of points) {
    if (!usable(point)) {
      open = null;
      continue;
    }
    if (open === null) {
      open = [];
      runs.push(open);
    }
    open.push(point);
  }
  return runs;
}

function drawLine(line: Line, index: number, frame: Frame, usable: (point: Point) => boolean): string[] {
  const dot = ([x, y]: Point) =>
    `<circle cx="${px(frame.x(x))}" cy="${px(frame.y(y))}" r="3" fill="${colour(line, index)}"/>`;
  return pieces(line, usable).flatMap((run) => {
    const path = run.map(([x, y]) => `${px(frame.x(x))},${px(frame.y(y))}`).join(' ');
    const drawn = `<polyline points="${path}" fill="none" ${stroke(line, index)}/>`;
    // A run of one point has no line.
    return [...(run.length > 1 ? [drawn] : []), ...(line.dots || run.length === 1 ? run.map(dot) : [])];
  });
}

function drawMark({ x, label }: Mark, index: number, frame: Frame): string {
  const at = frame.x(x);
  const nearEnd = at + label.length * LETTER > WIDTH - RIGHT;
  const anchor = nearEnd ? ' text-anchor="end"' : '';
  // Marks that are close together would write over each other on one row.
  const y = frame.top + 12 + (index % 4) * MARK_ROW;
  const dashes = 'stroke="var(--bad)" stroke-dasharray="3 3"';
  return (
    rule(at, frame.top, at, frame.bottom, dashes) +
    text(at + (nearEnd ? -5 : 5), y, label, `${anchor} class="mark"`)
  );
}

function drawBand({ from, to, label, colour: number }: Band, frame: Frame): string {
  const left = frame.x(from);
  const box = `x="${px(left)}" y="${px(frame.top)}" width="${px(Math.max(1, frame.x(to) - left))}"`;
  const fill = `fill="var(--line-${number % LINE_COLOURS})" fill-opacity="0.16"`;
  const height = `height="${px(frame.bottom - frame.top)}"`;
  return `<rect ${box} ${height} ${fill}><title>${escapeHtml(label)}</title></rect>`;
}

/** Returns a chart as an SVG element. */
export function drawChart(chart: Chart): string {
  const { title, lines, marks = [], bands = [] } = chart;
  const usable = ([x, y]: Point) =>
    Number.isFinite(x) &&
    Number.isFinite(y) &&
    (chart.y.kind !== 'log' || y > 0) &&
    (chart.x.kind !== 'log' || x > 0);
  const points = lines.flatMap((line) => line.points.filter(usable));
  const drawnMarks = marks.filter(({ x }) => Number.isFinite(x));
  const drawnBands = bands.filter(({ from, to }) => Number.isFinite(from) && Number.isFinite(to));
  const xs = [
    ...points.map(([x]) => x),
    ...drawnMarks.map(({ x }) => x),
    ...drawnBands.flatMap(({ from, to }) => [from, to]),
  ];
  const scales = {
    x: createScale(chart.x.kind, xs),
    y: createScale(
      chart.y.kind,
      points.map(([, y]) => y),
      true,
    ),
  };
  const { svg: legendSvg, rows } = legend(lines);
  const top = TOP + rows * LEGEND_ROW;
  const bottom = top + HEIGHT - TOP - BOTTOM;
  const frame: Frame = {
    x: (value) => LEFT + scales.x.place(value) * (WIDTH - LEFT - RIGHT),
    y: (value) => bottom - scales.y.place(value) * (bottom - top),
    top,
    bottom,
  };
  const height = bottom + BOTTOM;
  const name = escapeHtml(title);
  return [
    `<svg width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img" aria-label="${name}">`,
    `<title>${name}</title>`,
    ...legendSvg,
    ...drawnBands.map((band) => drawBand(band, frame)),
    ...axes(chart, scales, frame),
    ...lines.flatMap((line, index) => drawLine(line, index, frame, usable)),
    ...drawnMarks.map((mark, index) => drawMark(mark, index, frame)),
    ...(points.length === 0
      ? [text(WIDTH / 2, (top + bottom) / 2, 'no data', ' text-anchor="middle" class="faint"')]
      : []),
    '</svg>',
  ].join('\n');
}
