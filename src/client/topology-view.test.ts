import { describe, expect, it } from 'vitest';
import { nodeRecord, partitionRecord, topologyOf } from '../../test/support/client-network.ts';
import { TopologyView } from './topology-view.ts';

const NODES = [nodeRecord('n1'), nodeRecord('n2'), nodeRecord('n3')];

function viewOf(leader: string | null, epoch = 5): TopologyView {
  const view = new TopologyView();
  view.apply(topologyOf(NODES, [partitionRecord(0, epoch, leader)]));
  return view;
}

describe('TopologyView', () => {
  it('knows where the leader is, and nothing of partitions without one', () => {
    expect(viewOf('n2').leaderOf(0)).toEqual({ node: 'n2', address: 'n2.test:1' });
    expect(viewOf(null).leaderOf(0)).toBeNull();
    expect(viewOf('n2').leaderOf(1)).toBeNull();
  });

  it('names the voters that are missing for a quorum of a partition without a leader', () => {
    const voters = NODES.map(({ id }) => ({ id: `${id}.0`, node: id }));
    const down = (...ids: string[]) => {
      const view = new TopologyView();
      view.apply(topologyOf(NODES, [{ ...partitionRecord(0, 5, null), voters }]));
      const nodes = NODES.map((node) => (ids.includes(node.id) ? { ...node, alive: false } : node));
      view.apply(topologyOf(nodes, [], false));
      return view;
    };
    expect(down('n3').missingQuorum(0)).toBe('');
    expect(down('n2', 'n3').missingQuorum(0)).toMatch(/2 of 3 voters are down \(n2, n3\)/);
    const led = down('n2', 'n3');
    led.apply(topologyOf([], [partitionRecord(0, 6, 'n1')], false));
    expect(led.missingQuorum(0)).toBe('');
    expect(led.missingQuorum(1)).toBe('');
  });

  it('drops a node that was forgotten', () => {
    const view = viewOf('n2');
    view.apply(topologyOf([{ ...NODES[2]!, membership: 'NODE_GONE' }], [], false));
    expect(view.addresses()).toEqual(['n1.test:1', 'n2.test:1']);
  });

  it('takes newer records only, whatever order they come in', () => {
    const view = viewOf('n2', 5);
    expect(view.apply(topologyOf([], [partitionRecord(0, 4, 'n1', 99)], false))).toEqual([]);
    expect(view.leaderOf(0)?.node).toBe('n2');
    expect(view.apply(topologyOf([], [partitionRecord(0, 6, null)], false))).toEqual([0]);
    expect(view.leaderOf(0)).toBeNull();
    expect(view.apply(topologyOf([], [partitionRecord(0, 6, 'n3', 10)], false))).toEqual([0]);
    expect(view.leaderOf(0)?.node).toBe('n3');
  });

  it('follows a hint of a newer epoch until a record of that epoch names the leader', () => {
    const view = viewOf('n2', 5);
    view.hint(0, 'n3', 6);
    expect(view.leaderOf(0)?.node).toBe('n3');
    view.apply(topologyOf([], [partitionRecord(0, 6, null)], false));
    expect(view.leaderOf(0)?.node).toBe('n3');
    view.apply(topologyOf([], [partitionRecord(0, 6, 'n3', 10)], false));
    view.apply(topologyOf([], [partitionRecord(0, 7, 'n1')], false));
    expect(view.leaderOf(0)?.node).toBe('n1');
  });

  it('ignores hints that are no newer, and nodes that it does not know', () => {
    const view = viewOf('n2', 5);
    view.hint(0, 'n3', 5);
    view.hint(0, 'n1', 4);
    view.hint(0, 'stranger', 9);
    expect(view.leaderOf(0)?.node).toBe('n2');
    view.hint(0, 'n3', 7);
    view.hint(0, 'n1', 6);
    expect(view.leaderOf(0)?.node).toBe('n3');
  });

  it('drops a hint when a later epoch begins', () => {
    const view = viewOf('n2', 5);
    view.hint(0, 'n3', 6);
    view.apply(topologyOf([], [partitionRecord(0, 7, null)], false));
    expect(view.leaderOf(0)).toBeNull();
  });

  it('lists addresses of nodes, those alive first, and drops nodes that a full topology leaves out', () => {
    const view = new TopologyView();
    view.apply(topologyOf([{ ...nodeRecord('n1'), alive: false }, nodeRecord('n2')], []));
    expect(view.addresses()).toEqual(['n2.test:1', 'n1.test:1']);
    view.apply(topologyOf([nodeRecord('n2')], []));
    expect(view.addresses()).toEqual(['n2.test:1']);
  });
});
