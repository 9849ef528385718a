import { describe, expect, it } from 'vitest';
import { createRandom } from './random.ts';
import { goesToLeader, lessLoaded } from './replica-choice.ts';

describe('lessLoaded', () => {
  const random = createRandom(1);
  const choose = (loads: readonly number[]) =>
    lessLoaded(
      [...loads.keys()],
      (at) => loads[at]!,
      () => random.next(),
    );

  it('has no choice of none, and one of one', () => {
    expect(choose([])).toBeUndefined();
    expect(choose([7])).toBe(0);
  });

  it('never takes the most loaded of all, and all others', () => {
    const taken = new Set(Array.from({ length: 200 }, () => choose([3, 9, 1])));
    expect([...taken].sort()).toEqual([0, 2]);
  });

  it('spreads evenly over equal loads', () => {
    const counts = [0, 0, 0];
    for (let at = 0; at < 3_000; at++) counts[choose([5, 5, 5])!]! += 1;
    for (const count of counts) expect(count).toBeGreaterThan(800);
  });
});

it('every second attempt goes to the leader', () => {
  expect([1, 2, 3, 4].map(goesToLeader)).toEqual([false, true, false, true]);
});
