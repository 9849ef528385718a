import { describe, expect, it } from 'vitest';
import { type CpuProfile, kindOf, sharesOf } from './budget.ts';

const FRAMES = [
  ['(idle)', ''],
  ['(garbage collector)', ''],
  ['flush', 'file:///x/dist/node/core/leadership.js'],
  ['crc32c', 'file:///x/dist/common/crc32c.js'],
  ['sendMessage', 'file:///x/node_modules/@grpc/grpc-js/build/src/server-call.js'],
  ['processTimers', 'node:internal/timers'],
] as const;

function profile(samples: readonly number[], startTime = 0): CpuProfile {
  const nodes = FRAMES.map(([functionName, url], id) => ({
    id,
    callFrame: { functionName, url, lineNumber: 9 },
  }));
  return { nodes, startTime, endTime: startTime + samples.length, samples, timeDeltas: samples.map(() => 1) };
}

describe('a profile', () => {
  it('tells the kind of its process', () => {
    expect(kindOf(profile([]))).toBe('node');
    expect(kindOf({ ...profile([]), nodes: [] })).toBe('other');
  });

  it('is added up over its busy time, by parts and by functions', () => {
    const { busy, parts, functions } = sharesOf(
      [profile([0, 0, 0, 0, 1, 2, 2, 3]), profile([2, 0, 4, 5])],
      0,
      100,
    );
    expect(busy).toBeCloseTo(7 / 12);
    expect([...parts]).toEqual([
      ['core', 3 / 7],
      ['garbage collection', 1 / 7],
      ['checksums and hashes', 1 / 7],
      ['gRPC', 1 / 7],
      ['Node.js and the rest', 1 / 7],
    ]);
    expect([...functions][0]).toEqual(['flush node/core/leadership.js:10', 3 / 7]);
    expect(functions.get('(garbage collector) ')).toBeCloseTo(1 / 7);
  });

  it('counts what is in the window, on the clock of the machine', () => {
    const { busy, parts } = sharesOf([profile([2, 2, 3, 0, 2], 1_000)], 1_003, 1_005);
    expect(busy).toBeCloseTo(1 / 2);
    expect([...parts]).toEqual([['checksums and hashes', 1]]);
  });

  it('of nothing is nothing', () => {
    expect(sharesOf([], 0, 1)).toEqual({ busy: 0, parts: new Map(), functions: new Map() });
  });
});
