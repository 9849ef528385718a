import { expect, it } from 'vitest';
import { makeReplicaId, mayCreateReplica, parseReplicaId } from './replica-id.ts';

const run = { node: 'rack1.n1', incarnation: 'abc', boot: 3 };

it('round-trips the run an id was made for, dots in the node id included', () => {
  expect(parseReplicaId(makeReplicaId(run, 'ff00'))).toEqual(run);
});

it('lets only that very run create the replica', () => {
  const id = makeReplicaId(run, 'ff00');
  expect(mayCreateReplica(id, run)).toBe(true);
  expect(mayCreateReplica(id, { ...run, boot: 4 })).toBe(false);
  expect(mayCreateReplica(id, { ...run, incarnation: 'abd' })).toBe(false);
  expect(mayCreateReplica(id, { ...run, node: 'n1' })).toBe(false);
});

it('refuses text that is not a replica id', () => {
  for (const text of ['', 'n1', 'n1.a.1', 'n1.a.x.r', '.a.1.r', 'n1..1.r', 'n1.a.1.']) {
    expect(parseReplicaId(text)).toBeNull();
    expect(mayCreateReplica(text, run)).toBe(false);
  }
});
