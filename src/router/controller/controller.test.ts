import { describe, expect, it } from 'vitest';
import { ScriptedCluster } from '../../../test/support/scripted-cluster.ts';
import { parseReplicaId } from '../../common/replica-id.ts';
import { bootstrapRecord } from './record-rules.ts';

const THREE = ['n1', 'n2', 'n3'];

/** A formed, settled cluster of three nodes. */
function settledCluster(partitions = 6, nodes: readonly string[] = THREE): ScriptedCluster {
  const cluster = new ScriptedCluster(nodes, partitions);
  cluster.start();
  cluster.until('first leaders', () => cluster.settled());
  return cluster;
}

function leadersOf(cluster: ScriptedCluster): Map<string, number> {
  const counts = new Map([...cluster.nodes.keys()].map((id) => [id, 0]));
  for (const { leader } of cluster.store.records()) {
    if (leader !== null) counts.set(leader.node, counts.get(leader.node)! + 1);
  }
  return counts;
}

function spread(cluster: ScriptedCluster): number {
  const counts = [...leadersOf(cluster).values()];
  return Math.max(...counts) - Math.min(...counts);
}

describe('a new cluster', () => {
  it('is formed when the initial nodes are there, with leaders spread evenly in epoch 1', () => {
    const cluster = new ScriptedCluster(THREE, 12);
    cluster.node('n3').up = false;
    const { controller } = cluster.start();
    cluster.run(1_000);
    expect(controller.status()).toMatchObject({ mode: 'waiting', waitingFor: '1 more of 3 nodes' });
    expect(cluster.store.all()).toEqual([]);
    cluster.node('n3').up = true;
    cluster.until('first leaders', () => cluster.settled(), 2_000);
    expect(cluster.store.records().map((record) => record.epoch)).toEqual(new Array(12).fill(1));
    expect([...leadersOf(cluster).values()]).toEqual([4, 4, 4]);
    expect(controller.status().partitions.every(({ unavailable }) => unavailable === '')).toBe(true);
  });

  it('is not formed of nodes that were started to join one: where the store is lost, the others may be cut off', () => {
    const cluster = new ScriptedCluster(['n1'], 2);
    cluster.start();
    cluster.until('first leaders', () => cluster.settled());
    cluster.stopControllers();
    cluster.store.restore([]);
    cluster.node('n1').up = false;
    const { controller } = cluster.start();
    cluster.join('n2').joins = true;
    cluster.run(5_000);
    const waitingFor = '1 more of 1 nodes; n2 may only join a cluster that exists';
    expect(controller.status()).toMatchObject({ mode: 'waiting', waitingFor });
    expect(cluster.store.all()).toEqual([]);
    cluster.node('n1').restart();
    cluster.until('the old cluster', () => cluster.settled());
    expect(cluster.store.records().map(({ leader }) => leader?.node)).toEqual(['n1', 'n1']);
  });

  it('waits for ever rather than mixing the nodes of two clusters', () => {
    const cluster = new ScriptedCluster(THREE, 6);
    cluster.node('n1').clusterId = 'one';
    cluster.node('n2').clusterId = 'two';
    const { controller } = cluster.start();
    cluster.run(1_000);
    expect(controller.status()).toMatchObject({
      mode: 'fatal',
      waitingFor: 'nodes of different clusters: one, two',
    });
    expect(cluster.named('clusters_mixed')).toHaveLength(1);
    expect(cluster.store.all()).toEqual([]);
  });

  it('is not mixed with an old one whose nodes come back while it is being formed', () => {
    const cluster = settledCluster();
    cluster.stopControllers();
    const begun = cluster.store.records().map((record) => {
      const value = bootstrapRecord(record.partition, record.voters);
      return { key: `partition/${record.partition}` as const, revision: 1, value };
    });
    cluster.store.restore(begun);
    const { controller } = cluster.start();
    cluster.run(1_000);
    const { mode, waitingFor } = controller.status();
    expect(mode).toBe('fatal');
    expect(waitingFor).toMatch(/beginnings of a new cluster, but n\d carries data of cluster /);
    expect(cluster.store.all()).toEqual(begun);
  });

  it('refuses a node of another cluster', () => {
    const cluster = settledCluster();
    const { controller } = cluster.runs[0]!;
    controller.nodeAttached(cluster.now, 'n9', {
      incarnation: 'x',
      boot: 1,
      register: {
        address: 'a',
        clientAddress: 'b',
        zone: '',
        pid: 1,
        admittedBoot: 0,
        runs: ['r'],
        durableLsn: 0,
        joins: false,
      },
      clusterId: 'other',
      reports: [],
      knownTopology: null,
    });
    expect(controller.take().rejections).toMatchObject([{ node: 'n9', code: 'WRONG_CLUSTER' }]);
  });

  it('replaces voters that restarted before they were ever led, without a quorum of them', () => {
    const cluster = new ScriptedCluster(THREE, 3);
    cluster.passes = () => false;
    cluster.start();
    cluster.until('records', () => cluster.store.records().length === 3);
    for (const node of cluster.nodes.values()) node.restart();
    cluster.passes = () => true;
    cluster.until('first leaders', () => cluster.settled());
    for (const { voters, configuration } of cluster.store.records()) {
      expect(configuration).toBeGreaterThan(1);
      for (const { id, node } of voters) expect(parseReplicaId(id)).toMatchObject({ node, boot: 2 });
    }
  });
});

describe('failover', () => {
  it('moves every leadership of a killed node within 600 ms and loses no committed entry', () => {
    const cluster = settledCluster(12);
    for (let partition = 0; partition < 12; partition += 1) cluster.write(partition, 3);
    cluster.run(100);
    cluster.node('n1').up = false;
    cluster.until('failover', () => cluster.settled(), 600);
    expect(leadersOf(cluster).get('n1')).toBe(0);
    const moved = cluster.store.records().filter((record) => record.epoch === 2);
    expect(moved).toHaveLength(4);
    expect(cluster.store.records().filter((record) => record.epoch === 1)).toHaveLength(8);
    expect(cluster.named('node_dead')[0]!.reason).toMatch(/control stream closed/);
  });

  it('does not react to an event-loop stall of 500 ms with the stream up, but to one of seconds', () => {
    const cluster = settledCluster();
    cluster.run(2_000);
    cluster.node('n1').stalled = true;
    cluster.run(500);
    cluster.node('n1').stalled = false;
    cluster.run(1_000);
    expect(cluster.store.records().every((record) => record.epoch === 1)).toBe(true);
    cluster.node('n1').stalled = true;
    cluster.until('failover', () => leadersOf(cluster).get('n1') === 0, 3_000);
    expect(cluster.named('node_dead')[0]!.reason).toMatch(/no heartbeat for \d+ ms, phi/);
  });

  it('does not count its own stall against the nodes', () => {
    const cluster = settledCluster();
    cluster.run(1_000);
    cluster.now += 5_000;
    cluster.run(1_000);
    expect(cluster.named('node_dead')).toEqual([]);
  });

  it('waits a moment for a restarted leader, which wins with its longer log under its new boot', () => {
    const cluster = settledCluster(1);
    const leader = cluster.store.record(0).leader!;
    cluster.linked = () => false;
    cluster.write(0, 2);
    cluster.node(leader.node).restart();
    cluster.until(
      'next epoch',
      () => cluster.store.record(0).leader !== null && cluster.store.record(0).epoch === 2,
    );
    expect(cluster.store.record(0).leader).toEqual({ ...leader, boot: 2 });
    cluster.linked = () => true;
    cluster.until('established', () => cluster.settled());
    expect(cluster.replica(leader.node, 0).log).toHaveLength(4);
  });

  it('goes on without a silent replica when the grace is over', () => {
    const cluster = settledCluster(1);
    const leader = cluster.store.record(0).leader!;
    cluster.node(leader.node).deaf = true;
    cluster.node(leader.node).restart();
    cluster.until('next leader', () => cluster.settled(), 1_000);
    expect(cluster.store.record(0).leader!.node).not.toBe(leader.node);
  });

  it('fails over a leader that does not lead, and one whose replica is damaged', () => {
    const cluster = settledCluster(1);
    const first = cluster.store.record(0).leader!.node;
    cluster.replica(first, 0).ledEpoch = 0;
    cluster.until('failover', () => cluster.settled() && cluster.store.record(0).epoch > 1, 4_000);
    const second = cluster.store.record(0).leader!.node;
    cluster.replica(second, 0).damaged = true;
    cluster.until(
      'failover',
      () => cluster.store.record(0).established && cluster.store.record(0).epoch > 2,
      4_000,
    );
    expect(cluster.store.record(0).leader!.node).not.toBe(second);
  });

  it('says why a partition has no leader when its quorum is gone, and recovers unaided', () => {
    const cluster = settledCluster(2);
    cluster.node('n1').up = false;
    cluster.node('n2').up = false;
    cluster.run(10_000);
    const { controller } = cluster.runs[0]!;
    expect(controller.status().partitions[0]!.unavailable).toMatch(/^1 of 2 voters answered; silent: /);
    const { epoch } = cluster.store.record(0);
    cluster.run(60_000);
    expect(cluster.store.record(0).epoch).toBe(epoch);
    cluster.node('n2').restart();
    cluster.until('recovery', () => cluster.settled(), 3_000);
  });
});

describe('the store', () => {
  it.each(['lost', 'landed'] as const)(
    'survives writes that end unknown and %s, without repeating one',
    (how) => {
      const cluster = settledCluster(4);
      let count = 0;
      cluster.store.script = () => {
        count += 1;
        return count % 2 === 1 ? how : 'ok';
      };
      cluster.node('n1').up = false;
      cluster.until('failover', () => cluster.settled(), 3_000);
      const written = cluster.store.history.map((record) => `${record.partition}/${record.revision}`);
      expect(new Set(written).size).toBe(written.length);
      expect(leadersOf(cluster).get('n1')).toBe(0);
    },
  );

  it('settles a duel of two controllers in few epochs', () => {
    const cluster = settledCluster(6);
    cluster.start({}, 77);
    cluster.node('n2').up = false;
    cluster.until('failover', () => cluster.settled(), 3_000);
    cluster.run(3_000);
    expect(cluster.settled()).toBe(true);
    for (const record of cluster.store.records()) expect(record.epoch).toBeLessThanOrEqual(3);
  });

  it('lets a controller that slept through failovers wake up harmlessly', () => {
    const cluster = settledCluster(6);
    const sleeper = cluster.start({}, 77);
    cluster.run(200);
    sleeper.paused = true;
    cluster.node('n1').up = false;
    cluster.until('failover', () => cluster.settled());
    cluster.node('n1').restart();
    cluster.run(8_000);
    sleeper.paused = false;
    cluster.run(8_000);
    expect(cluster.settled()).toBe(true);
  });
});

describe('planned changes', () => {
  it('drains a node: all its leaderships move, with every entry, also uncommitted ones', () => {
    const cluster = settledCluster(12);
    cluster.linked = () => false;
    for (let partition = 0; partition < 12; partition += 1) cluster.write(partition, 2);
    cluster.run(100);
    cluster.linked = () => true;
    cluster.node('n1').draining = true;
    cluster.until('drain', () => cluster.settled() && leadersOf(cluster).get('n1') === 0, 5_000);
    for (const { partition, leader } of cluster.store.records()) {
      expect(cluster.replica(leader!.node, partition).log.length).toBeGreaterThanOrEqual(3);
    }
    expect(cluster.named('planned_change_finished').every(({ reached }) => reached === true)).toBe(true);
    expect(cluster.named('failover_started')).toEqual([]);
  });

  it('spreads leaders by what they take, without changing how many each node leads', () => {
    const cluster = settledCluster(12);
    const hot = new Set(
      cluster.store
        .records()
        .filter(({ leader }) => leader?.node === 'n1')
        .map(({ partition }) => partition),
    );
    expect(hot.size).toBeGreaterThan(1);
    const loadOf = (partition: number): number => (hot.has(partition) ? 1_000 : 10);
    for (const node of cluster.nodes.values()) node.loadOf = loadOf;
    const ofNode = (id: string): number =>
      cluster.store
        .records()
        .filter(({ leader }) => leader?.node === id)
        .reduce((sum, { partition }) => sum + loadOf(partition), 0);
    const most = (): number => Math.max(...[...cluster.nodes.keys()].map(ofNode));
    const before = most();
    cluster.until('the load is spread', () => cluster.settled() && most() < before, 120_000);
    cluster.run(60_000);
    expect(spread(cluster)).toBeLessThanOrEqual(1);
    const moves = cluster.named('planned_change_started').filter(({ reason }) => reason === 'balance').length;
    cluster.run(120_000);
    // It has come to rest.
    expect(cluster.named('planned_change_started').filter(({ reason }) => reason === 'balance').length).toBe(
      moves,
    );
  });

  it('balances leaders again after a node has come back', () => {
    const cluster = settledCluster(12);
    cluster.node('n1').up = false;
    cluster.until('failover', () => cluster.settled());
    cluster.node('n1').restart();
    cluster.until('balance', () => cluster.settled() && spread(cluster) <= 1, 15_000);
    expect(leadersOf(cluster).get('n1')).toBe(4);
  });

  it('reserves an epoch even when the target does not become level: the old leader leads on', () => {
    const cluster = settledCluster(1);
    const old = cluster.store.record(0).leader!;
    cluster.node(old.node).draining = true;
    cluster.linked = () => false;
    cluster.until('next epoch', () => cluster.store.record(0).epoch === 2, 5_000);
    cluster.linked = () => true;
    cluster.write(0);
    cluster.until('established', () => cluster.settled());
    expect(cluster.named('planned_change_not_level')).not.toEqual([]);
    expect(cluster.named('planned_change_finished')[0]).toMatchObject({ unplanned: false });
  });

  it('says so when the old leader does not answer the Seal of a planned change', () => {
    const cluster = settledCluster(1);
    const old = cluster.store.record(0).leader!;
    cluster.node(old.node).draining = true;
    cluster.node(old.node).deaf = true;
    cluster.until('hand-over', () => cluster.settled() && cluster.store.record(0).epoch === 2, 8_000);
    expect(cluster.named('planned_change_became_unplanned')).toHaveLength(1);
    expect(cluster.store.record(0).leader!.node).not.toBe(old.node);
  });

  it('gives a leader that an earlier controller has paused a new epoch', () => {
    const cluster = settledCluster(1);
    const { node } = cluster.store.record(0).leader!;
    cluster.stopControllers();
    cluster.replica(node, 0).paused = true;
    cluster.start({}, 5);
    cluster.until('next epoch', () => cluster.settled() && cluster.store.record(0).epoch === 2, 3_000);
    expect(cluster.replica(node, 0).paused).toBe(false);
  });
});

describe('replacing a voter', () => {
  it.each(['wiped', 'damaged'] as const)(
    'brings a %s one back under a new id on the same node, in one step',
    (how) => {
      const cluster = settledCluster(3);
      const before = cluster.store.record(0).voters.find(({ node }) => node === 'n3')!;
      if (how === 'damaged') cluster.replica('n3', 0).damaged = true;
      else {
        cluster.node('n3').up = false;
        cluster.node('n3').wipe();
        cluster.run(1_000);
        cluster.node('n3').restart();
      }
      const isReplaced = (): boolean =>
        cluster.settled() && cluster.store.record(0).voters.every(({ id }) => id !== before.id);
      cluster.until('replacement', isReplaced, 10_000);
      const record = cluster.store.record(0);
      expect(record.voters.map(({ node }) => node).sort()).toEqual(THREE);
      expect(record).toMatchObject({ configuration: 2, previousVoters: [], learners: [] });
      cluster.run(1_000);
      const after = record.voters.find(({ node }) => node === 'n3')!;
      expect(cluster.replica('n3', 0)).toMatchObject({ id: after.id, log: cluster.replica('n1', 0).log });
    },
  );

  it('keeps a learner, and what it has copied, while its node is silent for a moment', () => {
    const cluster = settledCluster(3);
    cluster.node('n3').up = false;
    cluster.node('n3').wipe();
    cluster.run(1_000);
    // Catching up takes until the cut is healed.
    cluster.linked = (a, b) => a !== 'n3' && b !== 'n3';
    cluster.node('n3').restart();
    const learners = (): string[] =>
      cluster.store.records().flatMap((record) => record.learners.map(({ id }) => id));
    cluster.until('learners', () => learners().length === 3, 3_000);
    const before = learners();
    cluster.node('n3').stalled = true;
    cluster.run(2_000);
    expect(cluster.named('node_dead').length).toBeGreaterThan(1);
    expect(learners()).toEqual(before);
    cluster.node('n3').stalled = false;
    cluster.linked = () => true;
    const areVoters = (): boolean =>
      cluster.settled() &&
      before.every((id) =>
        cluster.store.records().some(({ voters }) => voters.some((voter) => voter.id === id)),
      );
    cluster.until('replacement by the same learners', areVoters, 15_000);
    expect(learners()).toEqual([]);
  });

  it('moves a voter to another node, and the old replica is dropped', () => {
    const cluster = settledCluster(1, ['n1', 'n2', 'n3', 'n4']);
    const { voters } = cluster.store.record(0);
    const spare = [...cluster.nodes.keys()].find((id) => !voters.some(({ node }) => node === id))!;
    const { controller } = cluster.runs[0]!;
    expect(controller.moveVoter(0, voters[2]!.id, voters[0]!.node)).toBe(false);
    expect(controller.moveVoter(0, voters[2]!.id, spare)).toBe(true);
    cluster.until('move', () => cluster.settled() && cluster.store.record(0).configuration === 2, 5_000);
    expect(cluster.store.record(0).voters.map(({ node }) => node)).toContain(spare);
    expect(cluster.node(voters[2]!.node).replicas.has(0)).toBe(false);
  });
});

describe('a reconfiguration that is not established in time', () => {
  /** Moves a voter to the spare node while another voter is down, and kills the spare when the new epoch is reserved, or cuts it off from replication when it is led. */
  function failingMove(stage: 'reserved' | 'led'): { cluster: ScriptedCluster; before: readonly string[] } {
    const cluster = settledCluster(1, ['n1', 'n2', 'n3', 'n4']);
    const { voters, leader } = cluster.store.record(0);
    const spare = [...cluster.nodes.keys()].find((id) => !voters.some(({ node }) => node === id))!;
    const [out, down] = voters.filter(({ id }) => id !== leader!.replica);
    cluster.node(down!.node).up = false;
    cluster.run(1_000);
    cluster.store.script = (effect) => {
      const entry = effect.changes[0]!.entry;
      if (entry.key === 'partition/0') {
        const next = cluster.store.record(0);
        const value = entry.value as typeof next;
        if (value.configuration === 2 && (value.leader !== null) === (stage === 'led')) {
          if (stage === 'reserved') cluster.node(spare).up = false;
          else cluster.linked = (a, b) => a !== spare && b !== spare;
        }
      }
      return 'ok';
    };
    expect(cluster.runs[0]!.controller.moveVoter(0, out!.id, spare)).toBe(true);
    cluster.until('reconfiguration', () => cluster.store.record(0).configuration === 2, 5_000);
    return { cluster, before: voters.map(({ id }) => id) };
  }

  it('goes back to the previous voters and clears them when the new ones were never led', () => {
    const { cluster, before } = failingMove('reserved');
    cluster.until('revert', () => cluster.settled(), 20_000);
    const record = cluster.store.record(0);
    expect(record.voters.map(({ id }) => id)).toEqual(before);
    expect(record.configuration).toBe(3);
    const reverted = cluster.store.history.find(({ configuration }) => configuration === 3)!;
    expect(reverted.previousVoters).toEqual([]);
    expect(cluster.named('reconfiguration_reverted')[0]).toMatchObject({ led: false });
  });

  it('elects nobody without a quorum of the previous voters', () => {
    const cluster = settledCluster(1, ['n1', 'n2', 'n3', 'n4']);
    const { voters, leader } = cluster.store.record(0);
    const spare = [...cluster.nodes.keys()].find((id) => !voters.some(({ node }) => node === id))!;
    const [out, down] = voters.filter(({ id }) => id !== leader!.replica);
    expect(cluster.runs[0]!.controller.moveVoter(0, out!.id, spare)).toBe(true);
    cluster.store.script = () => {
      const { learners } = cluster.store.record(0);
      if (learners.length > 0) {
        cluster.node(down!.node).up = false;
        cluster.node(out!.node).deaf = true;
      }
      return 'ok';
    };
    cluster.until('reconfiguration', () => cluster.store.record(0).configuration === 2, 5_000);
    cluster.run(5_000);
    expect(cluster.store.record(0)).toMatchObject({ configuration: 2, leader: null });
    const status = cluster.runs[0]!.controller.status().partitions[0]!;
    expect(status.unavailable).toMatch(/^1 of 2 previous voters answered/);
    cluster.node(out!.node).deaf = false;
    cluster.until('both quorums', () => cluster.settled(), 30_000);
  });

  it('swaps the sets and keeps both when the new ones were led', () => {
    const { cluster, before } = failingMove('led');
    cluster.until('revert', () => cluster.settled(), 60_000);
    const swapped = cluster.store.history.find(({ configuration }) => configuration === 3)!;
    expect(swapped.voters.map(({ id }) => id)).toEqual(before);
    expect(swapped).toMatchObject({ led: true, leader: null });
    expect(swapped.previousVoters).toHaveLength(3);
    expect(cluster.named('reconfiguration_reverted')[0]).toMatchObject({ led: true });
  });
});
