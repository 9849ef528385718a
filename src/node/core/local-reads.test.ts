/** Session reads at a leader: what they wait for, and what is lost. */
import { beforeEach, describe, expect, it } from 'vitest';
import { CoreBench } from '../../../test/support/core-bench.ts';
import type { GetOperation, SessionMark } from '../../common/wire/messages.ts';

let bench: CoreBench;
let sequence = 0;
beforeEach(() => {
  bench = new CoreBench(['a', 'b', 'c']);
  bench.lead('a', 1);
  bench.advance(500);
  sequence = 0;
});

function write(): void {
  sequence += 1;
  bench.put('a', { sequence });
  bench.advance(100);
}

/** Returns what a session read is told: `value`, a code, or `none`. */
function read(sessionIndex: number, early: SessionMark[] = [], node = 'a'): () => string {
  const get: GetOperation = { level: 'READ_SESSION', sessionIndex, early, maxStalenessMs: 0 };
  sequence += 1;
  const id = bench.put(node, { sequence, operation: 'get', put: null, get });
  return () => {
    const reply = bench.node(node).replies.find((one) => one.id === id);
    return reply === undefined ? 'none' : (reply.failure?.code ?? reply.result);
  };
}

/** What it is told within a few milliseconds. */
function soon(told: () => string): string {
  bench.advance(5);
  return told();
}

describe('a session read at the leader', () => {
  it('is answered when what the session has seen is decided', () => {
    write();
    const { log, machine } = bench.node('a').replica;
    expect(soon(read(machine.decidedIndex))).toBe('value');
    expect(soon(read(0, [{ index: log.lastIndex, epoch: 1 }]))).toBe('value');
  });

  it('is told that a write is lost if another one is in its place, or nothing can be', () => {
    write();
    const { log } = bench.node('a').replica;
    expect(soon(read(0, [{ index: log.lastIndex, epoch: 7 }]))).toBe('WRITE_LOST');
    expect(soon(read(0, [{ index: log.lastIndex + 1, epoch: 1 }]))).toBe('WRITE_LOST');
    // Committed once, so in the log of every leader: it was another log.
    expect(soon(read(log.lastIndex + 1))).toBe('WRITE_LOST');
    expect(soon(read(log.lastIndex))).toBe('value');
  });
});

describe('a session read at a follower', () => {
  it('waits for what it has not decided, and is sent elsewhere when that does not come', () => {
    write();
    const { log } = bench.node('b').replica;
    const waiting = read(log.lastIndex + 1, [], 'b');
    expect(soon(waiting)).toBe('none');
    write();
    bench.advance(500);
    expect(waiting()).toBe('value');
    const late = read(log.lastIndex + 9, [], 'b');
    bench.advance(1_000);
    expect(late()).toBe('UNAVAILABLE');
  });

  it('does not wait beside too many others', () => {
    write();
    const { log } = bench.node('b').replica;
    const reads = Array.from({ length: 1_025 }, () => read(log.lastIndex + 1, [], 'b'));
    bench.advance(5);
    expect(reads.slice(0, -1).every((told) => told() === 'none')).toBe(true);
    expect(reads.at(-1)!()).toBe('UNAVAILABLE');
  });
});
