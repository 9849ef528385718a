/** Quorum reads while the voters are being changed: whose answers count. */
import { expect, it } from 'vitest';
import { type BenchNode, CoreBench } from '../../../test/support/core-bench.ts';
import { QUORUM_GET } from '../../common/reads.ts';

/** A cluster of three with a value, and how to read it at the follower `a`: what it is told, `none` before. */
function withValue(): { bench: CoreBench; read: () => () => string } {
  const bench = new CoreBench(['a', 'b', 'c']);
  bench.lead('b', 1);
  bench.advance(500);
  bench.put('b', { sequence: 1 });
  bench.advance(100);
  const read = (): (() => string) => {
    const id = bench.put('a', { sequence: 1, operation: 'get', put: null, get: QUORUM_GET });
    return () => {
      const reply = bench.node('a').replies.find((one) => one.id === id);
      return reply === undefined ? 'none' : (reply.failure?.code ?? reply.result);
    };
  };
  return { bench, read };
}

/** The promise of a leader to come with other voters, which nobody else hears of. */
function promise(bench: CoreBench, nodes: readonly BenchNode[], voters: readonly string[]): void {
  for (const { core, replicaName } of nodes) {
    core.seal({
      ...{ partition: 0, replica: replicaName.id, epoch: 2, reservationId: 'e2', configuration: 2 },
      voters: voters.map((id) => bench.node(id).replicaName),
      previousVoters: bench.nodes.map((node) => node.replicaName),
    });
  }
  bench.pump();
}

it('are answered by voters of the same configuration', () => {
  const { bench, read } = withValue();
  const told = read();
  bench.advance(20);
  expect(told()).toBe('value');
});

it('count no voter that has promised another configuration', () => {
  const { bench, read } = withValue();
  promise(bench, [bench.node('b'), bench.node('c')], ['b', 'c']);
  const told = read();
  bench.advance(20);
  expect(told()).toBe('UNAVAILABLE');
});

it('count one other voter of the same configuration, whatever the third has promised', () => {
  const { bench, read } = withValue();
  promise(bench, [bench.node('c')], ['b', 'c']);
  const told = read();
  bench.advance(20);
  expect(told()).toBe('value');
});

it('are sent away at once when their own voter promises another configuration meanwhile', () => {
  const { bench, read } = withValue();
  for (const id of ['b', 'c']) bench.cut.add(id);
  const told = read();
  bench.advance(40);
  expect(told()).toBe('none');
  promise(bench, [bench.node('a')], ['a', 'b']);
  bench.advance(40);
  expect(told()).toBe('UNAVAILABLE');
});
