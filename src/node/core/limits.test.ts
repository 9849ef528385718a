/** Limits of the deduplication table, at the limit and one beyond it: what a client is told when there is no room. */
import { describe, expect, it } from 'vitest';
import { CoreBench } from '../../../test/support/core-bench.ts';
import { MachineBench, put } from '../../../test/support/machine-bench.ts';
import { SESSION_SEQUENCES_MAX, SESSIONS_MAX } from '../../common/limits.ts';
import type { Failure } from '../../common/wire/messages.ts';

function leading(): CoreBench {
  const bench = new CoreBench(['a']);
  bench.lead('a', 1);
  bench.advance(500);
  return bench;
}

const clientOf = (number: number): Buffer => Buffer.from(`client ${number}`.padEnd(16));

function failureOf(bench: CoreBench, id: number): Failure {
  return bench.node('a').replies.find((reply) => reply.id === id)!.failure!;
}

describe('sessions of a partition', () => {
  it('are as many as 20,000; a further client is told OVERLOADED, and the others go on', () => {
    const bench = leading();
    let last = 0;
    for (let number = 1; number <= SESSIONS_MAX; number += 1) {
      last = bench.put('a', { sequence: 1, clientId: clientOf(number) });
      if (number % 1_000 === 0) bench.advance(20);
    }
    expect(bench.outcome('a', last)).toBe('quorum');
    const { sessions } = bench.node('a').replica.machine;
    expect(sessions.size).toBe(SESSIONS_MAX);
    const over = bench.put('a', { sequence: 1, clientId: clientOf(SESSIONS_MAX + 1) });
    const known = bench.put('a', { sequence: 2, clientId: clientOf(SESSIONS_MAX) });
    bench.advance(100);
    expect(failureOf(bench, over)).toMatchObject({
      ...{ code: 'OVERLOADED', outcome: 'not_applied', retryAfterMs: 1_000 },
    });
    expect(bench.outcome('a', known)).toBe('quorum');
    expect(sessions.size).toBe(SESSIONS_MAX);
  });

  it('are bounded by the log itself, whatever a leader let through', () => {
    const bench = new MachineBench();
    const most = 10;
    for (let number = 1; number <= most + 1; number += 1)
      bench.append(put(`k${number}`, 'v'), { client: `${number}`.padEnd(16), sequence: 1 });
    bench.append(put('again', 'v'), { client: '1'.padEnd(16), sequence: 2 });
    bench.advance();
    const kinds = bench.results.map((result) => result?.kind);
    expect(kinds).toEqual([...Array(most).fill('applied'), 'refused', 'applied']);
    expect(bench.results[most]).toEqual({ kind: 'refused', code: 'OVERLOADED' });
    expect(bench.read(`k${most + 1}`)).toBeNull();
  });
});

describe('sequences of a session', () => {
  it('reach 8,192 from the low water on; beyond, a write is refused before it is appended', () => {
    const bench = leading();
    const span = 2 * SESSION_SEQUENCES_MAX;
    const send = (client: number, sequence: number, lowWater: number): number =>
      bench.put('a', { sequence, lowWater, clientId: clientOf(client) });
    const first = send(1, span + 1, 1);
    const opened = send(2, span, 1);
    bench.advance(100);
    expect(failureOf(bench, first)).toMatchObject({ code: 'INVALID_ARGUMENT', outcome: 'not_applied' });
    expect(bench.outcome('a', opened)).toBe('quorum');
    const beyond = send(2, span + 1, 1);
    bench.advance(100);
    // It cannot be told any more from one whose place has passed.
    expect(failureOf(bench, beyond)).toMatchObject({ code: 'SESSION_EXPIRED', outcome: 'not_applied' });
    const moved = send(2, span + 1, 2);
    bench.advance(100);
    expect(bench.outcome('a', moved)).toBe('quorum');
  });
});
