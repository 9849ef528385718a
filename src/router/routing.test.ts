import { beforeEach, describe, expect, it } from 'vitest';
import type { NodeRecord, PartitionRecord, Topology } from '../common/topology.ts';
import { bootstrapRecord, confirmEstablished, establish, reserve } from './controller/record-rules.ts';
import { Routing } from './routing.ts';

const VOTERS = ['n1', 'n2', 'n3'].map((node) => ({ id: `${node}.i.1.r`, node }));

function nodeRecord(id: string, address = `${id}:1`): NodeRecord {
  return {
    id,
    incarnation: 'i',
    boot: 1,
    address,
    clientAddress: `${id}:2`,
    zone: '',
    alive: true,
    reason: '',
    pid: 1,
    run: 'r',
    formerRuns: [],
  };
}

function topology(revision: number, records: PartitionRecord[], nodes: NodeRecord[] = []): Topology {
  return { clusterId: 'c', revision, partitions: 4, replicationFactor: 3, full: false, nodes, records };
}

function ledBy(record: PartitionRecord, index: number): PartitionRecord {
  const reserved = reserve(record, { epoch: record.epoch + 1, reservationId: `r${record.epoch + 1}` });
  const voter = VOTERS[index]!;
  return confirmEstablished(establish(reserved, { replica: voter.id, node: voter.node, boot: 1 }));
}

const first = ledBy(bootstrapRecord(0, VOTERS), 0);
const second = ledBy(first, 1);

describe('Routing', () => {
  let routing: Routing;
  beforeEach(() => {
    routing = new Routing();
    routing.apply(topology(10, [first], [nodeRecord('n1'), nodeRecord('n2')]));
  });

  it('names the leader and its address, and nobody while none is known', () => {
    expect(routing.leader(0)).toEqual({ node: 'n1', address: 'n1:1', epoch: 1, recorded: true });
    expect(routing.leader(1)).toBeNull();
    routing.apply(topology(11, [reserve(first, { epoch: 2, reservationId: 'x' })]));
    expect(routing.leader(0)).toBeNull();
  });

  it('ignores an older record, whatever the order', () => {
    routing.apply(topology(12, [second]));
    routing.apply(topology(13, [first]));
    expect(routing.leader(0)).toMatchObject({ node: 'n2', epoch: 2 });
  });

  it('takes a rebuilt record of a higher epoch even if its revision is lower', () => {
    const rebuilt = { ...second, epoch: 9, revision: 1 };
    routing.apply(topology(14, [rebuilt]));
    expect(routing.record(0)).toEqual(rebuilt);
  });

  it('refuses the topology of another cluster', () => {
    expect(routing.apply({ ...topology(99, [second]), clusterId: 'other' })).toBe(false);
    expect(routing.leader(0)).toMatchObject({ node: 'n1' });
  });

  it('ignores an older address', () => {
    routing.apply(topology(20, [], [nodeRecord('n1', 'new:1')]));
    routing.apply(topology(15, [], [nodeRecord('n1', 'old:1')]));
    expect(routing.leader(0)!.address).toBe('new:1');
  });

  it('follows a hint of a newer epoch until a record says better', () => {
    routing.hint(0, 'n2', 2);
    expect(routing.leader(0)).toEqual({ node: 'n2', address: 'n2:1', epoch: 2, recorded: false });
    routing.apply(topology(16, [second]));
    expect(routing.leader(0)).toMatchObject({ node: 'n2', recorded: true });
  });

  it('ignores hints that are not newer than the record, or name unknown nodes', () => {
    routing.hint(0, 'n2', 1);
    routing.hint(0, 'n9', 5);
    expect(routing.leader(0)).toMatchObject({ node: 'n1', recorded: true });
  });

  it('hands on everything it knows', () => {
    routing.apply(topology(17, [second]));
    expect(routing.topology()).toMatchObject({ full: true, revision: 17, partitions: 4, records: [second] });
    expect(routing.topology().nodes).toHaveLength(2);
  });
});
