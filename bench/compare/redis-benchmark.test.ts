import { describe, expect, it } from 'vitest';
import { parseBenchmarkCsv } from './redis-benchmark.ts';

const HEAD =
  '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"';
const CSV = `${HEAD}\n"SET","12500.00","6.910","0.112","4.887","9.1","33.151","60.0"\n"GET","25000.50","3.2","0.1","2.5","5","9.25","11"\n`;

describe('parseBenchmarkCsv', () => {
  it('finds the figures of a test by the names in the first line', () => {
    expect(parseBenchmarkCsv(CSV, 'SET', 25_000)).toEqual({
      ...{ count: 25_000, errors: null, seconds: 2, throughput: 12_500 },
      ...{ mean: 6.91, p50: 4.887, p99: 33.151 },
    });
    expect(parseBenchmarkCsv(CSV.replaceAll('\n', '\r\n'), 'GET', 1)).toMatchObject({
      ...{ throughput: 25_000.5, p99: 9.25 },
    });
  });

  it('does not depend on what is printed around it, nor on the order of the columns', () => {
    const told = `WARNING: no CONFIG\n"test","p99_latency_ms","rps","p50_latency_ms","avg_latency_ms"\n"GET","4","3","2","1"\n`;
    expect(parseBenchmarkCsv(told, 'GET', 3)).toMatchObject({ mean: 1, p50: 2, throughput: 3, p99: 4 });
  });

  it('refuses a CSV that lacks the test or a figure of it', () => {
    expect(() => parseBenchmarkCsv(CSV, 'MSET', 1)).toThrow(/nothing of MSET/);
    expect(() => parseBenchmarkCsv('', 'SET', 1)).toThrow(/nothing of SET/);
    expect(() => parseBenchmarkCsv('"test","rps"\n"SET","5.0"\n', 'SET', 1)).toThrow(/no avg_latency_ms/);
  });
});
