import { describe, expect, it } from 'vitest';
import type { NodeRecord, PartitionRecord, Topology } from '../../common/topology.ts';
import { whatIsMissing } from './readiness.ts';

const PIDS = new Map([
  ['n1', 101],
  ['n2', 102],
]);

function node(id: string, pid: number, boot: number, more: Partial<NodeRecord> = {}): NodeRecord {
  const address = `127.0.0.1:${pid}`;
  return {
    ...{ id, pid, boot, address, clientAddress: address, zone: '', incarnation: id, alive: true, reason: '' },
    ...{ run: `run ${pid}`, formerRuns: [] },
    ...more,
  };
}

function record(partition: number, node: string, boot: number, established = true): PartitionRecord {
  return {
    ...{ partition, revision: 3, epoch: 1, reservationId: 'r', configuration: 1, previousVoters: [] },
    ...{ voters: [{ id: `${node}.a`, node }], led: true, learners: [], established },
    leader: { replica: `${node}.a`, node, boot },
  };
}

function topology(more: Partial<Topology> = {}): Topology {
  return {
    ...{ clusterId: 'c1', revision: 9, partitions: 2, replicationFactor: 2, full: true },
    nodes: [node('n1', 101, 4), node('n2', 102, 7)],
    records: [record(0, 'n1', 4), record(1, 'n2', 7)],
    ...more,
  };
}

describe('whatIsMissing', () => {
  it('is nothing when every node is here and every partition has an established leader', () => {
    expect(whatIsMissing(topology(), PIDS)).toBeNull();
  });

  it('is the cluster, before it is formed', () => {
    expect(whatIsMissing(null, PIDS)).toMatch(/not formed/);
    expect(whatIsMissing(topology({ clusterId: '' }), PIDS)).toMatch(/not formed/);
    expect(whatIsMissing(topology({ partitions: 0, records: [] }), PIDS)).toMatch(/no leader/);
  });

  it('is a node that is dead, absent, or known by the pid of an earlier run', () => {
    for (const other of [node('n2', 102, 7, { alive: false }), node('n3', 102, 7), node('n2', 55, 7)]) {
      expect(whatIsMissing(topology({ nodes: [node('n1', 101, 4), other] }), PIDS)).toMatch(/n2/);
    }
  });

  it('is a partition whose leader is not established, or led in an earlier run', () => {
    for (const second of [
      record(1, 'n2', 7, false),
      record(1, 'n2', 6),
      { ...record(1, 'n2', 7), leader: null },
    ]) {
      expect(whatIsMissing(topology({ records: [record(0, 'n1', 4), second] }), PIDS)).toMatch(/1 of 2/);
    }
    const one = topology({ records: [record(0, 'n1', 4)] });
    expect(whatIsMissing(one, PIDS)).toMatch(/1 of 2/);
    const reasons = new Map([[1, 'fenced: waiting for n2']]);
    expect(whatIsMissing(one, PIDS, reasons)).toMatch(/1 of 2.*partition 1: fenced: waiting for n2/);
  });
});
