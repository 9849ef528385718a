import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Chart, drawChart, formatNumber, type Line } from './chart.ts';
import { createScale, type ScaleKind } from './scale.ts';

const KINDS: readonly ScaleKind[] = ['linear', 'log', 'percentile'];

function chart(lines: readonly Line[], x: ScaleKind = 'linear', y: ScaleKind = 'linear'): Chart {
  return {
    title: 'a <chart>',
    x: { label: 'time & more', kind: x },
    y: { label: 'ms', kind: y },
    lines,
    marks: [{ x: 1, label: 'kill "n1"' }],
  };
}

/** Every element is closed, in order, and no number is missing. */
function expectWellFormed(svg: string): void {
  expect(svg).not.toMatch(/NaN|Infinity|undefined|null/);
  const open: string[] = [];
  for (const [, end, name, self] of svg.matchAll(/<(\/?)([a-z]+)(?:\s[^<>]*?)?(\/?)>/g)) {
    if (end === '/') expect(open.pop()).toBe(name);
    else if (self === '') open.push(name!);
  }
  expect(open).toEqual([]);
  expect(svg.replaceAll(/<[^<>]*>/g, '')).not.toMatch(/[<>]/);
}

describe('drawChart', () => {
  it('draws every line, mark, tick and name, escaped', () => {
    const svg = drawChart(
      chart([
        {
          name: 'READ',
          points: [
            [0, 1],
            [1, 2],
            [2, 3],
          ],
          dots: true,
        },
        {
          name: '<UPDATE>',
          points: [
            [0, 3],
            [2, 1],
          ],
          dashed: true,
        },
      ]),
    );
    expectWellFormed(svg);
    expect(svg.match(/<polyline /g)).toHaveLength(2);
    expect(svg.match(/<circle /g)).toHaveLength(3);
    expect(svg).toContain('&lt;UPDATE&gt;');
    expect(svg).toContain('kill &quot;n1&quot;');
    expect(svg).toContain('time &amp; more');
  });

  it('is well-formed whatever the points are, gaps and nothing at all included', () => {
    const number = fc.oneof(fc.double(), fc.double({ min: -1e3, max: 1e6 }), fc.constantFrom(0, 1, 100));
    const line = fc.record({
      name: fc.string(),
      points: fc.array(fc.tuple(number, number), { maxLength: 30 }),
    });
    fc.assert(
      fc.property(
        fc.array(line, { maxLength: 12 }),
        fc.constantFrom(...KINDS),
        fc.constantFrom(...KINDS),
        (lines, x, y) => {
          const finite = lines.map(({ name, points }) => ({
            name: name.replaceAll(/NaN|Infinity|undefined|null/g, ''),
            // Beyond this, a number itself is text with an exponent that no chart has to show.
            points: points.filter((point) => point.every((value) => !(Math.abs(value) > 1e12))),
          }));
          expectWellFormed(drawChart(chart(finite, x, y)));
        },
      ),
    );
  });

  it('breaks a line where a point is missing', () => {
    const svg = drawChart(
      chart([
        {
          name: 'a',
          points: [
            [0, 1],
            [1, 1],
            [2, Number.NaN],
            [3, 1],
            [4, 1],
          ],
        },
      ]),
    );
    expect(svg.match(/<polyline /g)).toHaveLength(2);
  });
});

describe('createScale', () => {
  it('puts round numbers on a linear axis, in order and within it', () => {
    expect(createScale('linear', [3, 97], true).ticks.map(({ value }) => value)).toEqual([
      0, 20, 40, 60, 80, 100,
    ]);
    expect(createScale('linear', [0, 0.3], true).ticks.map(({ value }) => value)).toContain(0.3);
    expect(createScale('linear', [5]).ticks.length).toBeGreaterThan(1);
  });

  it('spaces powers of ten, and nines of a percentile, equally', () => {
    const log = createScale('log', [1, 1_000]);
    expect(log.place(10)).toBeCloseTo(1 / 3);
    expect(log.place(100)).toBeCloseTo(2 / 3);
    const nines = createScale('percentile', [0, 99.9]);
    expect(nines.place(90)).toBeCloseTo(1 / 3);
    expect(nines.place(99)).toBeCloseTo(2 / 3);
    expect(nines.ticks.map(({ value }) => value)).toEqual([0, 50, 90, 99, 99.9]);
  });
});

describe('formatNumber', () => {
  it('has digits according to the size', () => {
    expect([12_345.6, 12.34, 1.234, 0.01234, Number.NaN].map(formatNumber)).toEqual([
      ...['12,346', '12.3', '1.23', '0.0123', '–'],
    ]);
  });
});
