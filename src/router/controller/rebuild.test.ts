import { describe, expect, it } from 'vitest';
import { ScriptedCluster } from '../../../test/support/scripted-cluster.ts';

const THREE = ['n1', 'n2', 'n3'];

function settledCluster(partitions = 4): ScriptedCluster {
  const cluster = new ScriptedCluster(THREE, partitions);
  cluster.start();
  cluster.until('first leaders', () => cluster.settled());
  return cluster;
}

describe('a store that has lost everything', () => {
  it('is rebuilt from the promises of the nodes: same cluster, same voters, higher epochs', () => {
    const cluster = settledCluster();
    for (let partition = 0; partition < 4; partition += 1) cluster.write(partition, 2);
    cluster.run(200);
    const before = cluster.store.records();
    const { clusterId } = cluster.runs[0]!.controller.topology();
    cluster.stopControllers();
    cluster.store.restore([]);
    const { controller } = cluster.start({}, 9);
    cluster.until('rebuild', () => cluster.settled(), 5_000);
    expect(controller.topology()).toMatchObject({ clusterId, partitions: 4, replicationFactor: 3 });
    for (const old of before) {
      const record = cluster.store.record(old.partition);
      expect(record.voters).toEqual(old.voters);
      expect(record.epoch).toBeGreaterThan(old.epoch);
      expect(record.revision).toBeGreaterThan(old.revision);
      expect(cluster.replica(record.leader!.node, old.partition).log).toHaveLength(4);
    }
  });

  it('stays fenced, and says for whom it waits, until a quorum has been heard', () => {
    const cluster = settledCluster();
    cluster.stopControllers();
    cluster.store.restore([]);
    cluster.node('n2').up = false;
    cluster.node('n3').up = false;
    const { controller } = cluster.start({}, 9);
    cluster.run(10_000);
    expect(cluster.store.records()).toEqual([]);
    expect(controller.status().partitions[0]).toMatchObject({
      phase: 'rebuilding',
      unavailable: expect.stringMatching(
        /^fenced until rebuilt: 1 of 2 voters heard of; waiting for n\d, n\d$/,
      ),
    });
    cluster.node('n3').restart();
    cluster.until('rebuild', () => cluster.settled(), 5_000);
  });

  it('never starts a new cluster from a mix of fresh nodes and one that carries data', () => {
    const cluster = settledCluster();
    cluster.stopControllers();
    cluster.store.restore([]);
    for (const id of ['n2', 'n3']) {
      cluster.node(id).wipe();
      cluster.node(id).restart();
    }
    const { controller } = cluster.start({}, 9);
    cluster.run(10_000);
    expect(cluster.store.records()).toEqual([]);
    expect(controller.status().partitions.every(({ phase }) => phase === 'rebuilding')).toBe(true);
  });

  it('requires a quorum of both sets when the highest promise was a reconfiguration', () => {
    const cluster = settledCluster(1);
    cluster.stopControllers();
    cluster.store.restore([]);
    const [a, b, c] = THREE.map((id) => cluster.replica(id, 0));
    const old = [a!, b!, c!].map(({ id }, index) => ({ id, node: THREE[index]! }));
    const fresh = { id: 'n9.x.1.y', node: 'n9' };
    Object.assign(a!, { promiseEpoch: 7, reservationId: 'r7', configuration: 2 });
    Object.assign(a!, { voters: [old[0]!, fresh], previousVoters: old.slice(0, 2) });
    cluster.start({}, 9);
    cluster.run(3_000);
    const status = cluster.runs[0]!.controller.status().partitions[0]!;
    expect(status.unavailable).toMatch(/1 of 2 voters heard of; waiting for n9/);
    expect(cluster.store.records()).toEqual([]);
  });
});

describe('a store that went back in time', () => {
  it('is noticed by promises above its records and rebuilt above all of them', () => {
    const cluster = settledCluster();
    const backup = cluster.store.all();
    for (const id of ['n1', 'n2']) {
      cluster.node(id).up = false;
      cluster.until('failover', () => cluster.settled());
      cluster.node(id).restart();
      cluster.run(500);
    }
    const lost = cluster.store.records();
    cluster.stopControllers();
    cluster.store.restore(backup);
    cluster.start({}, 9);
    cluster.until('all served above the lost epochs', () => {
      return cluster.settled() && lost.every((old) => cluster.store.record(old.partition).epoch >= old.epoch);
    });
    expect(cluster.named('store_has_forgotten').length).toBeGreaterThan(0);
    for (const old of lost) {
      const record = cluster.store.record(old.partition);
      if (old.epoch > 1) expect(record.epoch).toBeGreaterThan(old.epoch);
    }
  });

  it('does not join the reservation it remembers, which may have had a leader', () => {
    const cluster = settledCluster(1);
    const old = cluster.store.record(0).leader!.node;
    cluster.linked = () => false;
    cluster.node(old).up = false;
    cluster.until(
      'second leader',
      () => cluster.store.record(0).epoch === 2 && cluster.store.record(0).leader !== null,
    );
    cluster.run(100);
    // Its entry of epoch 2 is on the second leader alone, which is now away; the others would answer epoch 2 again.
    cluster.node(cluster.store.record(0).leader!.node).up = false;
    cluster.node(old).restart();
    for (const node of cluster.nodes.values()) node.known = null;
    const reservation = cluster.store.history.find(({ epoch }) => epoch === 2)!;
    cluster.stopControllers();
    cluster.store.restore([
      ...cluster.store.all().filter(({ key }) => key !== 'partition/0'),
      { key: 'partition/0', revision: reservation.revision, value: reservation },
    ]);
    cluster.linked = () => true;
    cluster.start({}, 9);
    cluster.until('a later epoch', () => cluster.settled(), 5_000);
    expect(cluster.store.record(0).epoch).toBeGreaterThan(2);
  });
});
