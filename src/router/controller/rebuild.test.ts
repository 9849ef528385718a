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

  it('reserves nothing over what it remembers, however often it starts, before it has heard a quorum', () => {
    const cluster = new ScriptedCluster([...THREE, 'n4'], 1);
    const { controller } = cluster.start();
    cluster.until('first leader', () => cluster.settled());
    const backup = cluster.store.all();
    const { voters, leader } = cluster.store.record(0);
    const [followers, left] = [
      voters.filter(({ id }) => id !== leader!.replica),
      new Set(['n1', 'n2', 'n3', 'n4']),
    ];
    for (const { node } of voters) left.delete(node);
    const [newcomer] = [...left];
    const [stays, leaves] = followers;
    // The one that leaves never hears that it was left, and has sealed the epoch in which it was.
    cluster.passes = (kind, node) => kind !== 'push' || node !== leaves!.node;
    controller.moveVoter(0, leaves!.id, newcomer!);
    cluster.until('level', () => cluster.store.record(0).epoch === 2);
    cluster.linked = (a, b) => [a, b].every((node) => [leader!.node, newcomer].includes(node));
    cluster.until('second leader', () => cluster.settled() && cluster.store.record(0).epoch === 2);
    cluster.write(0, 3);
    cluster.run(200);
    expect(cluster.replica(leaves!.node, 0).promiseEpoch).toBe(2);

    for (const node of cluster.nodes.values()) node.up = false;
    cluster.passes = () => true;
    cluster.linked = () => true;
    cluster.stopControllers();
    cluster.store.restore(backup);
    for (let seed = 9; seed < 13; seed += 1) {
      cluster.stopControllers();
      cluster.start({}, seed);
      cluster.run(3_000);
    }
    expect(cluster.store.record(0).epoch).toBe(1);
    for (const { node } of [stays!, leaves!]) cluster.node(node).restart();
    cluster.run(5_000);
    expect(cluster.store.record(0).leader?.node).not.toBe(stays!.node);
    expect(cluster.runs[0]!.controller.status().partitions[0]!.unavailable).toMatch(/waiting for .*(n\d)/);
    for (const { node } of [leader!, { node: newcomer! }]) cluster.node(node).restart();
    cluster.until('rebuild', () => cluster.settled(), 5_000);
    expect(cluster.store.record(0).voters.map(({ node }) => node)).toContain(newcomer);
  });

  it.each([1, 2])(
    'gives up a change of voters whose target is lost, with %i of them, also after its start',
    (factor) => {
      const cluster = new ScriptedCluster(THREE, 1);
      cluster.replicationFactor = factor;
      const { controller } = cluster.start();
      cluster.until('first leader', () => cluster.settled());
      const before = cluster.store.record(0).voters;
      const target = THREE.find((node) => !before.some((voter) => voter.node === node))!;
      cluster.write(0, 3);
      controller.moveVoter(0, before[0]!.id, target);
      cluster.passes = (kind) => kind !== 'seal';
      cluster.until('new voters', () => cluster.store.record(0).previousVoters.length > 0);
      cluster.stopControllers();
      cluster.node(target).wipe();
      cluster.node(target).restart();
      cluster.passes = () => true;
      cluster.start({}, 9);
      cluster.until('the voters of before', () => cluster.settled(), 30_000);
      expect(cluster.store.record(0).led).toBe(true);
      expect(cluster.committedCount(0)).toBeGreaterThanOrEqual(3);
    },
  );

  it('takes leave of previous voters that have dropped their replicas by a record it has forgotten', () => {
    const cluster = new ScriptedCluster(THREE, 1);
    cluster.replicationFactor = 1;
    const { controller } = cluster.start();
    cluster.until('first leader', () => cluster.settled());
    const [before] = cluster.store.record(0).voters;
    const target = THREE.find((node) => node !== before!.node)!;
    cluster.write(0, 3);
    controller.moveVoter(0, before!.id, target);
    cluster.until('moved', () => cluster.settled() && cluster.store.record(0).voters[0]!.node === target);
    cluster.write(0, 3);
    cluster.run(200);
    expect(cluster.node(before!.node).replicas.size).toBe(0);
    const chosen = cluster.store.history.find(({ epoch, leader }) => epoch === 2 && leader !== null)!;
    expect(chosen.previousVoters).toEqual([before]);
    cluster.stopControllers();
    for (const node of cluster.nodes.values()) node.known = null;
    cluster.node(target).restart();
    cluster.store.restore([
      ...cluster.store.all().filter(({ key }) => key !== 'partition/0'),
      { key: 'partition/0', revision: chosen.revision, value: chosen },
    ]);
    cluster.start({}, 9);
    cluster.until('a leader with all entries', () => cluster.settled(), 5_000);
    expect(cluster.store.record(0)).toMatchObject({ epoch: 3, leader: { node: target } });
    expect(cluster.committedCount(0)).toBeGreaterThanOrEqual(6);
  });

  it('makes no voter anew by a record from before the first leader while others may know of one', () => {
    const cluster = settledCluster(1);
    const { voters, leader } = cluster.store.record(0);
    const [behind, holds] = voters.filter(({ id }) => id !== leader!.replica);
    cluster.linked = (a, b) => ![a, b].includes(behind!.node);
    cluster.write(0, 3);
    cluster.run(200);
    cluster.stopControllers();
    for (const node of cluster.nodes.values()) {
      node.known = null;
      node.up = false;
    }
    const reservation = cluster.store.history.find(({ epoch }) => epoch === 1)!;
    cluster.store.restore([
      ...cluster.store.all().filter(({ key }) => key !== 'partition/0'),
      { key: 'partition/0', revision: reservation.revision, value: reservation },
    ]);
    cluster.node(holds!.node).wipe();
    for (const { node } of [behind!, holds!]) cluster.node(node).restart();
    Object.assign(cluster.replica(behind!.node, 0), { log: [], commitIndex: 0 });
    cluster.start({}, 9);
    cluster.run(5_000);
    expect(cluster.store.record(0)).toEqual(reservation);
    cluster.node(leader!.node).restart();
    cluster.linked = () => true;
    cluster.until('rebuild', () => cluster.settled(), 5_000);
    expect(cluster.named('store_has_forgotten')).not.toEqual([]);
  });

  it('is noticed by promises of its own epoch for another reservation', () => {
    const cluster = settledCluster(1);
    cluster.stopControllers();
    const { revision, ...record } = cluster.store.record(0);
    for (const node of cluster.nodes.values()) {
      node.known = null;
      node.restart();
      Object.assign(cluster.replica(node.id, 0), { promiseEpoch: 2, reservationId: 'theirs' });
    }
    const found = { ...record, revision: revision + 1, epoch: 2, leader: null, established: false };
    cluster.store.restore([
      ...cluster.store.all().filter(({ key }) => key !== 'partition/0'),
      { key: 'partition/0', revision: found.revision, value: { ...found, reservationId: 'forgotten' } },
    ]);
    cluster.start({}, 9);
    cluster.until('rebuild', () => cluster.settled(), 5_000);
    expect(cluster.named('record_rebuilt')).toHaveLength(1);
    expect(cluster.store.record(0).epoch).toBe(3);
  });
});
