import { describe, expect, it } from 'vitest';
import type { PartitionRecord, Replica } from '../../common/topology.ts';
import {
  bootstrapRecord,
  checkRebuilt,
  checkTransition,
  confirmEstablished,
  establish,
  isSingleStep,
  REVISION_JUMP,
  reserve,
  setsFor,
  transitionProblem,
  withLearners,
} from './record-rules.ts';

const [A, B, C, D, E] = ['a', 'b', 'c', 'd', 'e'].map((node) => ({ id: `${node}1`, node })) as [
  Replica,
  Replica,
  Replica,
  Replica,
  Replica,
];
const P = [A, B, C];
const V = [A, B, D];

function leaderOf(replica: Replica, boot = 1): { replica: string; node: string; boot: number } {
  return { replica: replica.id, node: replica.node, boot };
}

const first = bootstrapRecord(7, P);
const reserved = reserve(first, { epoch: 1, reservationId: 'r1' });
const recorded = establish(reserved, leaderOf(A));
const steady = confirmEstablished(recorded);
const learning = withLearners(steady, [D]);
/** V reserved over P, not led. */
const unled = reserve(learning, { epoch: 2, reservationId: 'r2', voters: V });
/** V led over P. */
const led = establish(unled, leaderOf(A));

function problem(old: PartitionRecord | null, next: Partial<PartitionRecord>): string {
  const base = old ?? first;
  return transitionProblem(old, { ...base, revision: base.revision + (old === null ? 0 : 1), ...next });
}

describe('the record, step by step', () => {
  it('allows bootstrap, reserve, establish, propagate, learners, reconfiguration', () => {
    checkTransition(null, first);
    checkTransition(first, reserved);
    checkTransition(reserved, recorded);
    checkTransition(recorded, steady);
    checkTransition(steady, learning);
    checkTransition(learning, unled);
    checkTransition(unled, led);
    checkTransition(led, confirmEstablished(led));
    expect(unled).toMatchObject({ voters: V, previousVoters: P, led: false, configuration: 2, learners: [] });
    expect(confirmEstablished(led)).toMatchObject({
      voters: V,
      previousVoters: [],
      led: true,
      established: true,
    });
  });

  it('stops the process on an illegal write', () => {
    expect(() => checkTransition(steady, { ...steady, revision: 5, leader: leaderOf(B) })).toThrow(
      'leader changed',
    );
  });
});

describe('every write', () => {
  it('grows the revision by one and never lowers the epoch', () => {
    expect(problem(steady, { revision: steady.revision })).toBe('revision must grow by one');
    expect(problem(steady, { revision: steady.revision + 2 })).toBe('revision must grow by one');
    expect(problem(steady, { epoch: 0, leader: null, established: false })).toBe('epoch went back');
  });

  it('keeps the shape: named once, one replica per node and set, learners do not vote', () => {
    expect(problem(steady, { voters: [] })).toBe('no voters');
    expect(problem(steady, { voters: [A, A, B] })).toBe('a replica is named twice');
    expect(problem(steady, { voters: [A, { id: 'a2', node: 'a' }] })).toBe(
      'two replicas of a set share a node',
    );
    expect(problem(steady, { learners: [B] })).toBe('a learner votes');
    expect(problem(steady, { previousVoters: [C, D, E] })).toBe('the pair is not a single step');
  });

  it('creates a partition only as epoch 0, never led', () => {
    expect(problem(null, { epoch: 1 })).toBe('not a first record');
    expect(problem(null, { led: true })).toBe('not a first record');
  });
});

describe('within an epoch', () => {
  it('writes the leader once, and never clears or changes it', () => {
    expect(problem(steady, { leader: leaderOf(B) })).toBe('leader changed within an epoch');
    expect(problem(steady, { leader: leaderOf(A, 2) })).toBe('leader changed within an epoch');
    expect(problem(steady, { leader: null, established: false })).toBe('leader changed within an epoch');
  });

  it('takes the leader from one of the two sets and nothing else with it', () => {
    expect(transitionProblem(unled, establish(unled, leaderOf(C)))).toBe('');
    expect(transitionProblem(unled, establish(unled, leaderOf(E)))).toBe('leader is in neither set');
    expect(problem(unled, { leader: leaderOf(A), led: true, previousVoters: [] })).toBe(
      'more than the leader changed',
    );
  });

  it('keeps the reservation, and everything while there is no leader', () => {
    expect(problem(reserved, { reservationId: 'other' })).toBe('reservation changed within an epoch');
    expect(problem(reserved, { learners: [D] })).toBe('nothing may change while an epoch has no leader');
  });

  it('clears the previous voters only with established', () => {
    expect(problem(led, { previousVoters: [] })).toBe('more than the learners changed');
    expect(problem(led, { established: true })).toBe('established with previous voters');
    expect(problem(steady, { established: false })).toBe('more than the learners changed');
  });

  it('changes learners only when established', () => {
    expect(problem(recorded, { learners: [D] })).toBe('learners change in established epochs only');
  });
});

describe('a new epoch', () => {
  const next = { epoch: 9, leader: null, established: false, reservationId: 'r9' };

  it('has a fresh reservation and no leader', () => {
    expect(problem(steady, next)).toBe('');
    expect(problem(steady, { ...next, leader: steady.leader })).toBe('a new epoch starts without a leader');
    expect(problem(steady, { ...next, reservationId: steady.reservationId })).toBe(
      'reservation id is not fresh',
    );
    expect(problem(steady, { ...next, reservationId: '' })).toBe('reservation id is not fresh');
  });

  it('keeps the previous voters until they are done with', () => {
    expect(problem(unled, { ...next, previousVoters: [] })).toBe('previous voters are wrong');
    expect(problem(led, { ...next, previousVoters: [] })).toBe('previous voters are wrong');
    expect(problem(led, { ...next, led: false })).toBe('led is wrong');
  });

  it('changes one voter at a time, to a replica that was a learner, under a new configuration id', () => {
    expect(setsFor(steady, [A, D, E])).toBe('voters change by more than one replica');
    const sets = { voters: V, previousVoters: P, led: false };
    expect(problem(learning, { ...next, ...sets, configuration: 2, learners: [] })).toBe('');
    expect(problem(learning, { ...next, ...sets, learners: [] })).toMatch(/^configuration id/);
    expect(problem(steady, { ...next, ...sets, configuration: 2 })).toBe('a new voter was not a learner');
    expect(problem(steady, { ...next, configuration: 2 })).toMatch(/^configuration id/);
  });

  it('lets unled voters be replaced while the previous ones stay, and ends the pair by returning to them', () => {
    expect(setsFor(unled, [A, B, E])).toEqual({ voters: [A, B, E], previousVoters: P, led: false });
    expect(setsFor(unled, [A, D, E])).toBe('voters differ from the previous ones by more than one replica');
    const back = reserve(unled, { epoch: 3, reservationId: 'r3', voters: P });
    checkTransition(unled, back);
    expect(back).toMatchObject({ voters: P, previousVoters: [], led: true, configuration: 3, learners: [D] });
  });

  it('lets led voters only be swapped or kept, and counts the set swapped in as led', () => {
    expect(setsFor(led, [A, B, E])).toBe('voters were led: only the two sets of the pair are allowed');
    const swapped = reserve(led, { epoch: 3, reservationId: 'r3', voters: P });
    checkTransition(led, swapped);
    expect(swapped).toMatchObject({
      voters: P,
      previousVoters: V,
      led: true,
      configuration: 3,
      learners: [],
    });
    expect(setsFor(swapped, V)).toEqual({ voters: V, previousVoters: P, led: true });
    expect(setsFor(swapped, [A, B, E])).toMatch(/only the two sets/);
  });

  it('lets voters be made anew freely before anything was ever led', () => {
    const anew = reserve(reserved, { epoch: 2, reservationId: 'r2', voters: [A, D, E] });
    checkTransition(reserved, anew);
    expect(anew).toMatchObject({ voters: [A, D, E], previousVoters: [], led: false, configuration: 2 });
  });

  it('adds or removes one voter as well', () => {
    expect(isSingleStep(P, [A, B, C, D])).toBe(true);
    expect(isSingleStep(P, [A, B])).toBe(true);
    expect(isSingleStep(P, [A, D, E])).toBe(false);
    expect(isSingleStep(P, P)).toBe(false);
  });
});

describe('a rebuilt record', () => {
  const rebuilt: PartitionRecord = {
    ...{ ...unled, epoch: 9, led: true, reservationId: 'r9' },
    ...{ revision: led.revision + REVISION_JUMP },
  };

  it('has no leader, was led, and is newer than what is replaced', () => {
    expect(() => checkRebuilt(led, rebuilt)).not.toThrow();
    expect(() => checkRebuilt(null, rebuilt)).not.toThrow();
    expect(() => checkRebuilt(led, { ...rebuilt, led: false })).toThrow('never led');
    expect(() => checkRebuilt(led, { ...rebuilt, epoch: led.epoch })).toThrow('not new');
    expect(() => checkRebuilt(led, { ...rebuilt, revision: led.revision + 1 })).toThrow('others may reach');
    expect(() => checkRebuilt(led, { ...rebuilt, reservationId: '' })).toThrow('no reservation');
    expect(() => checkRebuilt(led, { ...rebuilt, learners: [E] })).toThrow('learners');
    expect(() => checkRebuilt(led, { ...rebuilt, leader: leaderOf(A) })).toThrow('a leader');
  });
});
