import { describe, expect, it } from 'vitest';
import { ScriptedCluster } from '../../../test/support/scripted-cluster.ts';
import { ACK_KEYSPACES_MAX, KEYSPACE_BYTES_MAX } from '../../common/limits.ts';
import { ACK_DEFAULTS, type AckDefaults } from '../../common/topology.ts';
import { withAck } from './acks.ts';

const ORDERS: AckDefaults = {
  cluster: 'ACK_LEADER',
  keyspaces: [{ keyspace: 'orders', ack: 'ACK_ALL' }],
};

function settledCluster(): ScriptedCluster {
  const cluster = new ScriptedCluster(['n1', 'n2', 'n3'], 2);
  cluster.start();
  cluster.until('first leaders', () => cluster.settled());
  return cluster;
}

function setOrders(cluster: ScriptedCluster): void {
  const { controller } = cluster.runs[0]!;
  controller.setAck('orders', 'ACK_ALL');
  controller.setAck('', 'ACK_LEADER');
  expect(controller.acks).toBeNull();
  cluster.until('the defaults to be stored', () => controller.acks !== null, 1_000);
}

describe('default acknowledgement levels', () => {
  it('are quorum until they are set, also in a record of a version that knew none', () => {
    const cluster = settledCluster();
    expect(cluster.runs[0]!.controller.topology().acks).toEqual(ACK_DEFAULTS);
    cluster.stopControllers();
    const old = cluster.store.all().map((entry) => {
      if (entry.key !== 'cluster') return entry;
      const { clusterId, partitions, replicationFactor } = entry.value;
      return { ...entry, value: { clusterId, partitions, replicationFactor } };
    });
    cluster.store.restore(old);
    const { controller } = cluster.start({}, 7);
    cluster.until('leaders again', () => cluster.settled());
    expect(controller.acks).toEqual(ACK_DEFAULTS);
    controller.setAck('orders', 'ACK_ALL');
    cluster.until('the default to be stored', () => controller.acks !== null, 1_000);
    expect(controller.acks!.keyspaces).toEqual(ORDERS.keyspaces);
  });

  it('are stored, told to every node, and found by the next controller', () => {
    const cluster = settledCluster();
    setOrders(cluster);
    for (const node of cluster.nodes.values()) expect(node.known!.acks).toEqual(ORDERS);
    cluster.stopControllers();
    const { controller } = cluster.start({}, 7);
    cluster.until('leaders again', () => cluster.settled());
    expect(controller.topology().acks).toEqual(ORDERS);
  });

  it('are brought back from the nodes when the store has lost everything', () => {
    const cluster = settledCluster();
    setOrders(cluster);
    cluster.stopControllers();
    cluster.store.restore([]);
    const { controller } = cluster.start({}, 9);
    cluster.until('rebuild', () => cluster.settled(), 5_000);
    expect(controller.topology().acks).toEqual(ORDERS);
  });

  it('are those of the options in a new cluster', () => {
    const cluster = new ScriptedCluster(['n1', 'n2', 'n3'], 2);
    cluster.ack = 'ACK_ALL';
    const { controller } = cluster.start();
    cluster.until('first leaders', () => cluster.settled());
    expect(controller.acks).toEqual({ cluster: 'ACK_ALL', keyspaces: [] });
  });

  it('survive a write whose outcome is unknown, and one that another controller has overtaken', () => {
    const cluster = settledCluster();
    const { controller } = cluster.runs[0]!;
    for (const fate of ['lost', 'done'] as const) {
      cluster.runs[0]!.paused = true;
      controller.setAck('orders', fate === 'lost' ? 'ACK_ALL' : 'ACK_LEADER');
      const [cas] = controller.take().cas;
      if (fate === 'done') cluster.store.cas(cas!);
      controller.casResult(cluster.now, cas!.tag, fate === 'lost' ? 'conflict' : 'unknown');
      expect(controller.acks).toBeNull();
      cluster.runs[0]!.paused = false;
      cluster.until('the default to be stored', () => controller.acks !== null, 1_000);
      expect(controller.acks!.keyspaces).toEqual([
        { keyspace: 'orders', ack: fate === 'lost' ? 'ACK_ALL' : 'ACK_LEADER' },
      ]);
    }
  });

  it('are sorted by name, and taken away again', () => {
    let acks = withAck(withAck(ACK_DEFAULTS, 'b', 'ACK_ALL'), 'a', 'ACK_LEADER');
    acks = withAck(acks, 'b', 'ACK_QUORUM');
    expect(acks.keyspaces).toEqual([
      { keyspace: 'a', ack: 'ACK_LEADER' },
      { keyspace: 'b', ack: 'ACK_QUORUM' },
    ]);
    expect(withAck(withAck(acks, 'a', 'ACK_DEFAULT'), 'b', 'ACK_DEFAULT')).toEqual(ACK_DEFAULTS);
    expect(withAck(withAck(ACK_DEFAULTS, '', 'ACK_ALL'), '', 'ACK_DEFAULT')).toEqual(ACK_DEFAULTS);
  });

  it('are refused beyond their limits', () => {
    const cluster = settledCluster();
    const { controller } = cluster.runs[0]!;
    for (let n = 0; n < ACK_KEYSPACES_MAX; n += 1) controller.setAck(`k${n}`, 'ACK_ALL');
    expect(() => controller.setAck('one more', 'ACK_ALL')).toThrow('at most 256 keyspaces');
    cluster.until('the defaults to be stored', () => controller.acks !== null, 1_000);
    expect(controller.acks!.keyspaces).toHaveLength(ACK_KEYSPACES_MAX);
    expect(() => controller.setAck('one more', 'ACK_ALL')).toThrow('at most 256 keyspaces');
    controller.setAck('k0', 'ACK_DEFAULT');
    controller.setAck('k'.repeat(KEYSPACE_BYTES_MAX), 'ACK_ALL');
    expect(() => controller.setAck('k'.repeat(KEYSPACE_BYTES_MAX + 1), 'ACK_ALL')).toThrow(
      'at most 64 bytes',
    );
    expect(() => controller.setAck('orders', 7 as never)).toThrow('unknown acknowledgement level');
  });
});
