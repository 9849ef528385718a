/** When every replica counts as whole. */
import { describe, expect, it } from 'vitest';
import type { PartitionRecord, Topology } from '../common/topology.ts';
import type { ReplicaReport } from '../common/wire/messages.ts';
import { missingIn } from './wholeness.ts';

const RECORD: PartitionRecord = {
  ...{ partition: 0, revision: 3, epoch: 1, reservationId: 'r', configuration: 1, previousVoters: [] },
  ...{ voters: ['n1', 'n2'].map((node) => ({ id: `${node}.a`, node })), led: true, learners: [] },
  established: true,
  leader: { replica: 'n1.a', node: 'n1', boot: 4 },
};
const BOOTS = new Map([
  ['n1', 4],
  ['n2', 7],
]);

function lack(more: Partial<PartitionRecord>, commits: Record<string, number> | null, boots = BOOTS) {
  const topology: Topology = {
    ...{ clusterId: 'c1', revision: 9, partitions: 1, replicationFactor: 2, full: true, nodes: [] },
    records: [{ ...RECORD, ...more }],
  };
  const reports =
    commits === null
      ? null
      : new Map(Object.entries(commits).map(([id, commitIndex]) => [id, { commitIndex } as ReplicaReport]));
  return missingIn(topology, boots, reports);
}

describe('a cluster', () => {
  const level = { 'n1.a': 5_000, 'n2.a': 4_500 };

  it('is whole when every partition is led by a process that runs and its voters are level', () => {
    expect(lack({}, level)).toBeNull();
    expect(lack({}, null)).toBeNull();
  });

  it('is not, while a partition has no leader that runs', () => {
    expect(lack({ established: false }, level)).toContain('no leader');
    expect(lack({ leader: null }, level)).toContain('no leader');
    expect(lack({}, level, new Map([['n1', 5]]))).toContain('no leader');
  });

  it('is not, while voters change or lack', () => {
    expect(lack({ voters: RECORD.voters.slice(1) }, level)).toContain('in change');
    expect(lack({ previousVoters: RECORD.voters }, level)).toContain('in change');
    expect(lack({ learners: [{ id: 'n3.a', node: 'n3' }] }, level)).toContain('in change');
  });

  it('is not, while a voter is behind, or one of them tells nothing', () => {
    expect(lack({}, { 'n1.a': 5_000, 'n2.a': 3_000 })).toContain('n2 is behind');
    expect(lack({}, { 'n1.a': 5_000 })).toContain('n2 is behind');
    expect(lack({}, { 'n2.a': 5_000 })).toContain('is behind');
  });
});
