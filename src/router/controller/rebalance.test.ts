import { describe, expect, it } from 'vitest';
import {
  LIMIT_MS,
  lab,
  loads,
  PARTITIONS,
  plans,
  rebalanced,
  THREE,
  votersOn,
} from '../../../test/support/moves-lab.ts';
import type { PartitionRecord } from '../../common/topology.ts';

describe('a node that joins', () => {
  it('gets its fair share and no more, by itself, and nothing is lost', () => {
    const one = lab();
    one.cluster.join('n4');
    rebalanced(one);
    const { n4 } = loads(one.cluster);
    expect(n4).toBeGreaterThanOrEqual(Math.floor(9 / 1.25));
    expect(n4).toBeLessThanOrEqual(9);
    expect(one.cluster.named('learner_added')).toHaveLength(n4!);
    expect(one.controller.moves.status(one.cluster.now)).toMatchObject({
      state: 'done',
      reason: 'n4 has come',
      stuck: [],
    });
    // Nothing else moves afterwards.
    one.cluster.run(20_000);
    expect(plans(one.cluster)).toBe(1);
  });

  it('is planned for together with others that join meanwhile', () => {
    const one = lab();
    one.cluster.join('n4');
    one.cluster.run(1_000);
    one.cluster.join('n5');
    rebalanced(one);
    expect(plans(one.cluster)).toBe(1);
    expect(one.controller.moves.status(one.cluster.now).reason).toBe('n4 has come, n5 has come');
    for (const load of Object.values(loads(one.cluster))) expect(load).toBeLessThanOrEqual(9);
  });

  it('gets nothing where moves do not begin by themselves, until it is asked for', () => {
    const one = lab();
    one.controller.moves.configure({ automatic: false });
    one.cluster.until('stored', () => one.controller.moves.configured);
    one.cluster.join('n4');
    one.cluster.run(20_000);
    expect(plans(one.cluster)).toBe(0);
    one.controller.moves.run();
    rebalanced(one);
    expect(loads(one.cluster).n4).toBeGreaterThan(0);
  });
});

describe('a node that leaves', () => {
  it('gives everything away, leaderships too, and gets nothing back', () => {
    const one = lab([...THREE, 'n4']);
    one.controller.moves.setMembership(one.cluster.now, 'n1', 'NODE_LEAVING');
    one.cluster.until('stored', () => one.controller.moves.configured);
    rebalanced(one);
    expect(loads(one.cluster)).toEqual({ n1: 0, n2: 12, n3: 12, n4: 12 });
    one.cluster.run(20_000);
    expect(votersOn(one.cluster.store.records(), 'n1')).toBe(0);
    expect(one.cluster.node('n1').replicas.size).toBe(0);
    one.controller.moves.setMembership(one.cluster.now, 'n1', 'NODE_MEMBER');
    rebalanced(one, 1);
    expect(loads(one.cluster).n1).toBeGreaterThan(0);
  });

  it('leaves though it never answers again', () => {
    const one = lab([...THREE, 'n4']);
    one.controller.moves.setMembership(one.cluster.now, 'n1', 'NODE_LEAVING');
    one.cluster.until('a plan', () => plans(one.cluster) > 0, LIMIT_MS);
    one.cluster.node('n1').up = false;
    rebalanced(one);
    expect(loads(one.cluster).n1).toBe(0);
  });

  it('stays where nobody can take over, which is said', () => {
    const one = lab();
    one.controller.moves.setMembership(one.cluster.now, 'n1', 'NODE_LEAVING');
    one.cluster.run(20_000);
    expect(loads(one.cluster)).toEqual({ n1: 12, n2: 12, n3: 12 });
    expect(one.controller.moves.status(one.cluster.now).stuck).toHaveLength(PARTITIONS);
    expect(one.controller.moves.status(one.cluster.now).stuck[0]).toEqual({ partition: 0, node: 'n1' });
    one.cluster.join('n4');
    rebalanced(one);
    expect(loads(one.cluster)).toEqual({ n1: 0, n2: 12, n3: 12, n4: 12 });
    expect(one.controller.moves.status(one.cluster.now).stuck).toEqual([]);
  });

  it('must exist', () => {
    const { controller, cluster } = lab();
    expect(() => controller.moves.setMembership(cluster.now, 'n9', 'NODE_LEAVING')).toThrow(
      'there is no node n9',
    );
  });
});

describe('a node that is lost', () => {
  it('is replaced after its time, and gets a share when it comes back', () => {
    const one = lab([...THREE, 'n4']);
    one.controller.moves.configure({ lostAfterSeconds: 5 });
    one.cluster.until('stored', () => one.controller.moves.configured);
    one.cluster.node('n2').up = false;
    one.cluster.run(4_000);
    expect(plans(one.cluster)).toBe(0);
    rebalanced(one);
    expect(loads(one.cluster).n2).toBe(0);
    one.cluster.node('n2').restart();
    rebalanced(one, 1);
    expect(loads(one.cluster).n2).toBeGreaterThan(0);
  });

  it('is waited for without end where that is set', () => {
    const one = lab([...THREE, 'n4']);
    one.controller.moves.configure({ lostAfterSeconds: 0 });
    one.cluster.until('stored', () => one.controller.moves.configured);
    one.cluster.node('n2').up = false;
    one.cluster.run(60_000);
    expect(plans(one.cluster)).toBe(0);
  });
});

describe('the goal', () => {
  it('has zones: a node that changes its zone is followed', () => {
    const nodes = ['n1', 'n2', 'n3', 'n4', 'n5', 'n6'];
    const one = lab(nodes, {}, ['a', 'b', 'c', 'a', 'b', 'c']);
    const zonesOf = ({ voters }: PartitionRecord): number =>
      new Set(voters.map(({ node }) => one.cluster.node(node).zone)).size;
    const n4 = one.cluster.node('n4');
    one.cluster.run(5_000);
    n4.up = false;
    one.cluster.run(2_000);
    n4.zone = 'b';
    n4.restart();
    rebalanced(one);
    expect(one.controller.moves.status(one.cluster.now).reason).toBe('n4 is in zone b now');
    expect(one.cluster.store.records().map(zonesOf)).toEqual(new Array(PARTITIONS).fill(3));
  });

  it('has a replication factor, which goes up and down', () => {
    const one = lab([...THREE, 'n4', 'n5']);
    for (const [at, factor] of [5, 1, 2, 3].entries()) {
      one.controller.moves.configure({ replicationFactor: factor });
      one.cluster.until('stored', () => one.controller.moves.configured);
      rebalanced(one, at);
      for (const { voters } of one.cluster.store.records()) expect(voters).toHaveLength(factor);
      for (let partition = 0; partition < PARTITIONS; partition += 1) one.cluster.write(partition);
    }
  });

  it('is checked', () => {
    const { controller } = lab();
    expect(() => controller.moves.configure({ replicationFactor: 4 })).toThrow(
      'needs as many nodes, there are 3',
    );
    for (const change of [
      { replicationFactor: 0 },
      { bytesPerSecond: 1 },
      { perNode: 0 },
      { lostAfterSeconds: 1 },
    ])
      expect(() => controller.moves.configure(change)).toThrow('a whole number from');
  });
});

describe('a plan', () => {
  it('is gone on with by another controller, wherever the first one stops, without a copy made twice', () => {
    for (let stop = 0; stop < 3_000; stop += 140) {
      const one = lab();
      one.cluster.join('n4');
      one.cluster.until('a plan', () => plans(one.cluster) > 0, LIMIT_MS);
      one.cluster.run(stop);
      one.cluster.stopControllers();
      one.cluster.run(300);
      const { controller } = one.cluster.start({}, 77);
      one.cluster.until('the end', () => controller.moves.status(one.cluster.now).state === 'done', LIMIT_MS);
      expect(loads(one.cluster).n4).toBeGreaterThanOrEqual(7);
      expect(one.cluster.named('learner_added').length).toBe(loads(one.cluster).n4);
    }
  });

  it('is carried out by two controllers that both believe to be the one', () => {
    const one = lab();
    one.cluster.start({}, 99);
    one.cluster.join('n4');
    rebalanced(one);
    expect(loads(one.cluster).n4).toBeGreaterThanOrEqual(7);
  });

  it('ends at a safe point when it is aborted, and stays so until it is asked for or the nodes are others', () => {
    for (const stop of [0, 20, 40, 60, 80, 100, 120, 140]) {
      const one = lab();
      one.cluster.join('n4');
      one.cluster.until('a plan', () => plans(one.cluster) > 0, LIMIT_MS);
      one.cluster.run(stop);
      expect(one.controller.moves.status(one.cluster.now).state).toBe('running');
      one.controller.moves.abort();
      one.cluster.until(
        'aborted',
        () => one.controller.moves.status(one.cluster.now).state === 'aborted',
        LIMIT_MS,
      );
      for (const { learners, established } of one.cluster.store.records())
        expect({ learners, established }).toEqual({ learners: [], established: true });
      const { n4 } = loads(one.cluster);
      expect(n4).toBeLessThan(7);
      one.cluster.run(20_000);
      expect(loads(one.cluster).n4).toBe(n4);
      one.controller.moves.run();
      rebalanced(one, 1);
      expect(loads(one.cluster).n4).toBeGreaterThanOrEqual(7);
    }
  });

  it('is made anew when a target goes for good, around what goes on', () => {
    const one = lab();
    one.controller.moves.configure({ lostAfterSeconds: 5 });
    one.cluster.join('n4');
    one.cluster.join('n5');
    one.cluster.until('a plan', () => plans(one.cluster) > 0, LIMIT_MS);
    one.cluster.run(100);
    one.cluster.node('n5').up = false;
    rebalanced(one);
    const { n4, n5 } = loads(one.cluster);
    expect(n4).toBeGreaterThanOrEqual(7);
    expect(n5).toBe(0);
  });

  it('is made anew when voters are others than it goes by', () => {
    const one = lab([...THREE, 'n4', 'n5']);
    one.controller.moves.setMembership(one.cluster.now, 'n1', 'NODE_LEAVING');
    one.cluster.node('n5').diskFull = true;
    one.cluster.until('a plan', () => plans(one.cluster) > 0, LIMIT_MS);
    one.cluster.run(2_000);
    // By hand, a voter gets to where the plan wanted another one.
    const open = one.controller.moves.status(one.cluster.now).moves.find(({ state }) => state === 'waiting')!;
    const record = one.cluster.store.records()[open.partition]!;
    const other = record.voters.find(({ node }) => node !== open.from)!;
    one.cluster.node('n5').diskFull = false;
    expect(one.controller.moveVoter(open.partition, other.id, open.to!)).toBe(true);
    rebalanced(one);
    expect(loads(one.cluster).n1).toBe(0);
  });

  it('waits for a target whose disk is full or that is away, says so, and holds the others up no longer', () => {
    const one = lab();
    one.cluster.join('n4');
    one.cluster.join('n5');
    one.cluster.node('n5').diskFull = true;
    one.cluster.until('a plan', () => plans(one.cluster) > 0, LIMIT_MS);
    one.cluster.run(20_000);
    const { moves } = one.controller.moves.status(one.cluster.now);
    for (const { to, state, reason } of moves)
      expect({ to, state, reason }).toEqual(
        to === 'n5'
          ? { to, state: 'waiting', reason: 'the disk of n5 is full' }
          : { to, state: 'done', reason: '' },
      );
    one.cluster.node('n5').diskFull = false;
    one.cluster.node('n5').up = false;
    one.cluster.run(5_000);
    expect(
      one.controller.moves.status(one.cluster.now).moves.find(({ to }) => to === 'n5')?.reason,
    ).toContain('n5 does not answer');
    one.cluster.node('n5').restart();
    rebalanced(one);
    expect(loads(one.cluster).n5).toBeGreaterThan(0);
  });

  it('moves as much at a time as nodes may take part in', () => {
    const one = lab();
    one.controller.moves.configure({ perNode: 1 });
    one.cluster.until('stored', () => one.controller.moves.configured);
    one.cluster.join('n4');
    one.cluster.until('a plan', () => plans(one.cluster) > 0, LIMIT_MS);
    while (one.controller.moves.status(one.cluster.now).state === 'running') {
      const learning = one.cluster.store.records().filter(({ learners }) => learners.length > 0);
      expect(learning.length).toBeLessThanOrEqual(1);
      one.cluster.run(20);
    }
  });
});
