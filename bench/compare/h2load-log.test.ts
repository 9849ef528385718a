import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { countOk, figuresOfLog, parseLog, percentileOf } from './h2load-log.ts';

const START = 1_795_282_670_635_046;
const MS = 1_000;

/** A request that starts so many ms after the first and takes so many. */
function line(startMs: number, durationMs: number, status = 200): string {
  return `${START + startMs * MS}\t${status}\t${durationMs * MS}`;
}

describe('parseLog', () => {
  it('reads lines in any order, failed streams among them', () => {
    const requests = parseLog(`${line(5, 2)}\n${line(0, 1, -1)}\n`);
    expect(requests).toEqual([
      { startMicros: START + 5_000, status: 200, durationMicros: 2_000 },
      { startMicros: START, status: -1, durationMicros: 1_000 },
    ]);
    expect(countOk(requests)).toBe(1);
    expect(parseLog(`${line(0, 1)}\tmore`)).toEqual(parseLog(line(0, 1)));
  });

  it('refuses what is no log, or a line that is cut off', () => {
    for (const text of ['finished in 2s', `${START}\t200`, `${START}\t200\t`, '1\tx\t2']) {
      expect(() => parseLog(text)).toThrow(/not a line of h2load's log/);
    }
  });
});

describe('percentileOf', () => {
  it('is the smallest value that so many percent do not exceed', () => {
    const numbers = Array.from({ length: 200 }, (_, at) => at + 1);
    expect([50, 99, 99.5, 100].map((at) => percentileOf(numbers, at))).toEqual([100, 198, 199, 200]);
    expect(percentileOf([7], 1)).toBe(7);
    fc.assert(
      fc.property(fc.array(fc.nat(), { minLength: 1 }), fc.integer({ min: 1, max: 100 }), (values, at) => {
        const sorted = [...values].sort((a, b) => a - b);
        const found = percentileOf(sorted, at);
        const share = (numbersUpTo: number[]) => (100 * numbersUpTo.length) / sorted.length;
        expect(share(sorted.filter((value) => value <= found))).toBeGreaterThanOrEqual(at);
        expect(share(sorted.filter((value) => value < found))).toBeLessThan(at);
      }),
    );
  });
});

describe('figuresOfLog', () => {
  const run = { warmUpMs: 100, durationMs: 1_000, confirmed: 1_000 };

  it('leaves out what started in the warm-up, and counts in the throughput what ended in time', () => {
    const log = [line(0, 90), line(99, 50), line(100, 10), line(600, 20), line(1_090, 30)];
    const figures = figuresOfLog(parseLog(log.join('\n')), run);
    expect(figures).toEqual({
      ...{ count: 2, errors: 0, seconds: 1, throughput: 2 },
      ...{ mean: 20, p50: 20, p99: 30 },
    });
  });

  it('takes no failed request for a quick one', () => {
    const log = [line(0, 1), line(200, 10), line(300, 1, -1), line(400, 1, 503)];
    expect(figuresOfLog(parseLog(log.join('\n')), run)).toMatchObject({ count: 1, errors: 2, p50: 10 });
  });

  it('takes what the server does not confirm for failed, whatever HTTP says', () => {
    const log = [line(0, 1), line(200, 10), line(300, 10), line(400, 10)];
    const figures = figuresOfLog(parseLog(log.join('\n')), { ...run, confirmed: 2 });
    expect(figures).toMatchObject({ count: 1, errors: 2, throughput: 1 });
  });

  it('refuses a log without a success', () => {
    expect(() => figuresOfLog(parseLog(line(200, 1, 500)), run)).toThrow(/no success/);
    expect(() => figuresOfLog([], run)).toThrow(/no success/);
  });
});
