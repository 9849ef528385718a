/** The checker that ships judges simulated histories too, as it would those of real clients. */
import { describe, expect, it } from 'vitest';
import type { HistoryOutput } from '../../src/common/history.ts';
import type { Operation } from './client-checks.ts';
import { describeKey, judge } from './history.ts';
import { DEFAULT_READ, SINGLE } from './workload.ts';

function operation(
  kind: Operation['kind'],
  call: number,
  end: number,
  result: HistoryOutput,
  input = '',
): Operation {
  return {
    client: 'u1',
    key: 'k0',
    partition: 0,
    kind,
    input,
    ack: 'quorum',
    condition: null,
    ttlMs: 0,
    ...DEFAULT_READ,
    ...SINGLE,
    seen: null,
    request: 'r',
    call,
    floor: 0,
    end,
    result,
    parts: [],
    pins: [],
  };
}

const written = (version: number): HistoryOutput => ({ result: 'ok', version, durability: 'quorum' });
const shown = (version: number, value: string): HistoryOutput => ({
  result: 'ok',
  found: true,
  version,
  value,
});

describe('the history of a run', () => {
  it('is linearizable when every read shows the last write', () => {
    const history = [
      operation('put', 0, 1, written(1), 'a'),
      operation('get', 2, 3, shown(1, 'a')),
      operation('put', 4, 5, { result: 'unknown', code: 'DEADLINE_EXCEEDED' }, 'b'),
      operation('get', 6, 7, shown(2, 'b')),
    ];
    expect(judge(history)).toEqual([]);
  });

  it('is not when a read shows what has been written over, and says where', () => {
    const history = [
      operation('put', 0, 1, written(1), 'a'),
      operation('put', 2, 3, written(2), 'b'),
      operation('get', 4, 5, shown(1, 'a')),
    ];
    const keys = judge(history);
    expect(keys).toHaveLength(1);
    expect(describeKey(keys[0]!)).toMatch(/^the history of k0 is not linearizable: .*get/);
  });

  it('is not when a write that was told not_applied is read', () => {
    const history = [
      operation('put', 0, 1, { result: 'not_applied', code: 'NOT_LEADER' }, 'a'),
      operation('get', 2, 3, shown(1, 'a')),
    ];
    expect(describeKey(judge(history)[0]!)).toContain('not_applied');
  });

  it('keeps the order of what the virtual clock can tell apart', () => {
    const history = [
      operation('put', 0, 1.0004, written(1), 'a'),
      operation('put', 1.003, 1.01, written(2), 'b'),
      operation('get', 1.02, 1.03, shown(1, 'a')),
    ];
    expect(judge(history)).toHaveLength(1);
  });
});
