/** Which faults come, how often, and which never together. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { isNamed, type PlannedKind, planRounds, type Round, SCENARIOS } from './plan.ts';

const KINDS: readonly PlannedKind[] = [
  { kind: 'split-one', group: 'split' },
  { kind: 'split-ring', group: 'split' },
  { kind: 'kill', group: 'restart' },
  { kind: 'wipe', group: 'restart', destroys: true },
  { kind: 'flip', destroys: true },
  { kind: 'pause' },
  { kind: 'delay' },
];

function take(count: number, seed: number, mixed: number, kinds = KINDS, together?: number): Round[] {
  const rounds: Round[] = [];
  for (const round of planRounds(seed, kinds, mixed, together === undefined ? {} : { together })) {
    rounds.push(round);
    if (rounds.length === count) break;
  }
  return rounds;
}

describe('a plan', () => {
  it('is the same for the same seed, and another for another', () => {
    expect(take(50, 7, 0.5)).toEqual(take(50, 7, 0.5));
    expect(take(50, 7, 0.5)).not.toEqual(take(50, 8, 0.5));
  });

  it('has every kind as often as every other', () => {
    const rounds = take(KINDS.length * 20, 1, 0);
    for (const { kind } of KINDS) expect(rounds.filter(({ kinds }) => kinds[0] === kind)).toHaveLength(20);
    expect(rounds.every(({ kinds }) => kinds.length === 1)).toBe(true);
  });

  it('never takes data from two at a time, nor has two that undo each other', () => {
    fc.assert(
      fc.property(fc.nat(), (seed) => {
        for (const { kinds } of take(40, seed, 1)) {
          const chosen = kinds.map((kind) => KINDS.find((one) => one.kind === kind)!);
          expect(new Set(kinds).size).toBe(kinds.length);
          expect(chosen.filter(({ destroys }) => destroys).length).toBeLessThanOrEqual(1);
          const groups = chosen.flatMap(({ group }) => group ?? []);
          expect(new Set(groups).size).toBe(groups.length);
        }
      }),
      { numRuns: 50 },
    );
  });

  it('has several at once in about the part of the rounds that was asked for', () => {
    const several = take(400, 3, 0.5).filter(({ kinds }) => kinds.length > 1).length;
    expect(several).toBeGreaterThan(140);
    expect(several).toBeLessThan(260);
  });

  it('has as many at once as it may', () => {
    const kinds = ['a', 'b', 'c', 'd', 'e', 'f'].map((kind) => ({ kind }));
    const most = (together?: number): number =>
      Math.max(...take(200, 3, 1, kinds, together).map((round) => round.kinds.length));
    expect([most(), most(2), most(5)]).toEqual([3, 2, 5]);
  });

  it('goes on with one kind alone', () => {
    expect(take(3, 1, 1, [{ kind: 'kill' }]).map(({ kinds }) => kinds)).toEqual([
      ['kill'],
      ['kill'],
      ['kill'],
    ]);
  });
});

describe('a name', () => {
  it('means a kind, a family, a beginning, or everything', () => {
    const fault = { kind: 'split-one', family: 'links' };
    for (const name of ['split-one', 'links', 'split-*', '*']) expect(isNamed(fault, name), name).toBe(true);
    for (const name of ['split', 'split-ring', 'kill*', 'link'])
      expect(isNamed(fault, name), name).toBe(false);
  });

  it('of a scenario is its own', () => {
    expect(new Set(SCENARIOS.map(({ name }) => name)).size).toBe(SCENARIOS.length);
  });
});
