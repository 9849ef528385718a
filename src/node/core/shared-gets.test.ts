/** Gets of one key that wait for the same moment: how often the store is read for them, and what they are told. */
import { beforeEach, expect, it } from 'vitest';
import { CoreBench } from '../../../test/support/core-bench.ts';
import { LINEARIZABLE_GET, QUORUM_GET } from '../../common/reads.ts';
import type { GetOperation } from '../../common/wire/messages.ts';

let bench: CoreBench;
beforeEach(() => {
  bench = new CoreBench(['a', 'b', 'c']);
  bench.lead('a', 1);
  bench.advance(500);
});

/** Asks for the key of a sequence; returns what it is told: a value, a code, or `none`. */
function get(sequence: number, node = 'a', level: GetOperation = LINEARIZABLE_GET): () => string {
  const id = bench.put(node, { sequence, operation: 'get', put: null, get: level });
  return () => {
    const reply = bench.node(node).replies.find((one) => one.id === id);
    if (reply === undefined) return 'none';
    return reply.failure?.code ?? (reply.value?.found ? Buffer.from(reply.value.value).toString() : 'absent');
  };
}

function put(sequence: number, value: string): void {
  bench.put('a', { sequence, key: Buffer.from('k1') }, Buffer.from(value));
}

function shared(node = 'a'): number {
  return bench.node(node).core.hot.sharedReads;
}

it('read the store once for each key, and all are told', () => {
  put(1, 'first');
  bench.advance(200);
  const told = [...Array.from({ length: 10 }, () => get(1)), get(2), get(2)];
  bench.advance(20);
  expect(told.map((each) => each())).toEqual([...new Array(10).fill('first'), 'absent', 'absent']);
  expect(shared()).toBe(10);
});

it('do so at every level, also on a follower', () => {
  put(1, 'first');
  bench.advance(200);
  const stale: GetOperation = { ...LINEARIZABLE_GET, level: 'READ_STALE' };
  const told = [QUORUM_GET, QUORUM_GET, QUORUM_GET, stale, stale].map((level) => get(1, 'b', level));
  bench.advance(40);
  expect(told.map((each) => each())).toEqual(new Array(5).fill('first'));
  expect(shared('b')).toBe(3);
});

// What is shared is the moment, not what was read before.
it('that come later see what was written in between', () => {
  put(1, 'first');
  bench.advance(200);
  const before = [get(1), get(1)];
  bench.advance(20);
  put(2, 'second');
  bench.advance(20);
  const after = [get(1), get(1)];
  bench.advance(20);
  expect([...before, ...after].map((each) => each())).toEqual(['first', 'first', 'second', 'second']);
  expect(shared()).toBe(2);
});

it('are told that the replica is gone, if it is damaged before they are read', () => {
  put(1, 'first');
  bench.advance(200);
  const told = get(1, 'b', { ...LINEARIZABLE_GET, level: 'READ_STALE' });
  // In the same event, before anything is carried out.
  bench.node('b').replica.markDamaged('in a test');
  bench.advance(20);
  expect(told()).toBe('UNAVAILABLE');
});
