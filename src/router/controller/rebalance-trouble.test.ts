/** Moves while something else goes wrong: who takes over knows what the last controller knew, and one partition's trouble stays its own. */
import { describe, expect, it } from 'vitest';
import {
  configure,
  type Lab,
  LIMIT_MS,
  lab,
  loads,
  plans,
  rebalanced,
  THREE,
} from '../../../test/support/moves-lab.ts';
import type { Controller } from './controller.ts';

const FIVE = [...THREE, 'n4', 'n5'];

/** Another controller, which knows nothing but the store. */
function takeOver({ cluster }: Lab, seed: number): Controller {
  cluster.stopControllers();
  cluster.run(300);
  return cluster.start({}, seed).controller;
}

describe('a lost node', () => {
  it('stays lost for the next controller, wherever the last one stops: nothing is put on it, or copied twice', () => {
    for (let stop = 0; stop < 3_000; stop += 500) {
      const one = lab(FIVE);
      configure(one, { lostAfterSeconds: 5, perNode: 1 });
      const { n5 } = loads(one.cluster);
      one.cluster.node('n5').up = false;
      one.cluster.until('a plan', () => plans(one.cluster) > 0, LIMIT_MS);
      one.cluster.run(stop);
      const controller = takeOver(one, 70 + stop);
      one.cluster.until('the end', () => controller.moves.status(one.cluster.now).state === 'done', LIMIT_MS);
      one.cluster.run(20_000);
      expect(loads(one.cluster).n5).toBe(0);
      expect(one.cluster.named('learner_added')).toHaveLength(n5!);
      expect(plans(one.cluster)).toBe(1);
    }
  });

  it('gets its share when the next controller hears of it', () => {
    const one = lab(FIVE);
    configure(one, { lostAfterSeconds: 5 });
    one.cluster.node('n5').up = false;
    rebalanced(one);
    const controller = takeOver(one, 7);
    one.cluster.node('n5').restart();
    rebalanced({ ...one, controller }, 1);
    expect(loads(one.cluster).n5).toBeGreaterThan(0);
  });
});

describe('a plan', () => {
  it.each([true, false])(
    'is gone on with though the nodes are others meanwhile; its target is not heard of yet: %s',
    (stalled) => {
      const one = lab();
      // Copies to n4 do not come to their end before the controller does.
      one.cluster.linked = (_from, to) => to !== 'n4';
      const n4 = one.cluster.join('n4');
      const learning = (): number[] =>
        one.cluster.store
          .records()
          .filter(({ learners }) => learners.some(({ node }) => node === 'n4'))
          .map(({ partition }) => partition);
      one.cluster.until('copies', () => learning().length === 2, LIMIT_MS);
      const begun = learning();
      n4.stalled = stalled;
      one.cluster.stopControllers();
      one.cluster.run(300);
      one.cluster.join('n5');
      const { controller } = one.cluster.start({}, 5);
      one.cluster.run(100);
      n4.stalled = false;
      one.cluster.run(2_000);
      expect(plans(one.cluster)).toBe(2);
      expect(learning()).toEqual(begun);
      one.cluster.linked = () => true;
      rebalanced({ ...one, controller }, 1);
      const copies = one.cluster
        .named('learner_added')
        .map(({ partition, instead }) => `${partition} ${instead}`);
      expect(new Set(copies).size).toBe(copies.length);
    },
  );
});

describe('a node that is lost while it is moved to', () => {
  it('gets its share when it comes back, though nothing was left of the plan without it', () => {
    const one = lab();
    configure(one, { lostAfterSeconds: 5 });
    const n4 = one.cluster.join('n4');
    one.cluster.linked = (_from, to) => to !== 'n4';
    one.cluster.until('a plan', () => plans(one.cluster) > 0, LIMIT_MS);
    n4.up = false;
    one.cluster.linked = () => true;
    const status = () => one.controller.moves.status(one.cluster.now);
    one.cluster.until('nothing to do', () => status().state === 'done', LIMIT_MS);
    n4.restart();
    rebalanced(one, 1);
    expect(loads(one.cluster).n4).toBeGreaterThanOrEqual(7);
  });
});

describe('a voter is given up', () => {
  it('not while another one is dead, though it was chosen when all were well', () => {
    const one = lab(THREE, { plannedMax: 1 });
    configure(one, { replicationFactor: 2, lostAfterSeconds: 0 });
    one.cluster.until('a plan', () => plans(one.cluster) > 0, LIMIT_MS);
    // All are chosen, one is begun.
    one.cluster.run(40);
    one.cluster.node('n2').up = false;
    one.cluster.run(15_000);
    const started = (): number =>
      one.cluster.named('planned_change_started').filter(({ reason }) => reason === 'move').length;
    const before = started();
    one.cluster.run(120_000);
    expect(started()).toBe(before);
    // Whoever may lead leads: no partition is taken down by what cannot be.
    for (const { voters, previousVoters, established } of one.cluster.store.records())
      expect({ pending: previousVoters.length, established, least: voters.length >= 2 }).toEqual({
        ...{ pending: 0, established: true, least: true },
      });
    const { moves } = one.controller.moves.status(one.cluster.now);
    const reasons = new Set(moves.filter(({ state }) => state !== 'done').map(({ reason }) => reason));
    expect([...reasons]).toEqual(['n2 has to be well before a voter is given up']);
    one.cluster.node('n2').restart();
    rebalanced(one);
    for (const { voters } of one.cluster.store.records()) expect(voters).toHaveLength(2);
  });
});

describe('a partition without a quorum', () => {
  /** Of five nodes two are down for good, so that some partitions have lost their quorum, and a sixth joins. */
  function halfDown(): Lab {
    const one = lab(FIVE);
    configure(one, { lostAfterSeconds: 0 });
    for (const id of ['n1', 'n2']) one.cluster.node(id).up = false;
    one.cluster.run(3_000);
    one.cluster.join('n6');
    one.cluster.until('a plan', () => plans(one.cluster) > 0, LIMIT_MS);
    return one;
  }

  it('holds the moves of others up no longer, and says why its own wait', () => {
    const one = halfDown();
    one.cluster.run(30_000);
    const { state, moves } = one.controller.moves.status(one.cluster.now);
    const served = new Set(
      one.cluster.store
        .records()
        .filter((record) => one.cluster.isServed(record))
        .map(({ partition }) => partition),
    );
    expect(served.size).toBeLessThan(12);
    expect(state).toBe('running');
    for (const move of moves) {
      if (served.has(move.partition)) expect(move).toMatchObject({ state: 'done', reason: '' });
      else
        expect(move).toMatchObject({ state: 'waiting', reason: expect.stringContaining('voters answered') });
    }
  });

  it('does not keep an abort from its end', () => {
    const one = halfDown();
    one.controller.moves.abort();
    one.cluster.until(
      'aborted',
      () => one.controller.moves.status(one.cluster.now).state === 'aborted',
      LIMIT_MS,
    );
    for (const { learners } of one.cluster.store.records()) expect(learners).toEqual([]);
  });
});

describe('a target whose disk gets full while it is copied to', () => {
  it('is given its room back, told, and tried again later and later', () => {
    const one = lab();
    const n4 = one.cluster.join('n4');
    // Nothing arrives there, so that copies go on until the disk is full.
    one.cluster.linked = (_from, to) => to !== 'n4';
    const learning = (): number =>
      one.cluster.store.records().filter(({ learners }) => learners.length > 0).length;
    one.cluster.until('copies', () => learning() > 0, LIMIT_MS);
    for (let round = 1; round <= 4; round += 1) {
      n4.diskFull = true;
      one.cluster.until('rolled back', () => learning() === 0);
      expect(one.cluster.named('move_rolled_back').at(-1)).toMatchObject({
        ...{ target: 'n4', reason: 'the disk of n4 is full' },
      });
      // The room is back at once, and filled again by nobody for a while.
      n4.diskFull = false;
      one.cluster.run(1_000);
      expect(learning()).toBe(0);
      const { moves } = one.controller.moves.status(one.cluster.now);
      for (const { reason } of moves)
        expect(reason).toMatch(/^the disk of n4 was full, it is tried again in \d+ s$/);
      const before = one.cluster.now;
      one.cluster.until('another try', () => learning() > 0, LIMIT_MS);
      expect(one.cluster.now - before).toBeGreaterThanOrEqual(2_000 * 2 ** (round - 1) - 1_200);
    }
    one.cluster.linked = () => true;
    rebalanced(one);
    expect(loads(one.cluster).n4).toBeGreaterThanOrEqual(7);
  });
});
