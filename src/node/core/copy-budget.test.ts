import { expect, it } from 'vitest';
import { CopyBudget, isMove } from './copy-budget.ts';

it('lets a second’s worth through, and then as much as time brings', () => {
  const budget = new CopyBudget(1_000_000, 100);
  budget.refill(1_000, 1_000);
  let sent = 0;
  for (let now = 1_000; now <= 11_000; now += 10) {
    budget.refill(now, 1_000);
    while (budget.send(100, true)) sent += 100;
  }
  // What the bucket held at first is a chunk less than two seconds' worth at most.
  expect(sent).toBeGreaterThanOrEqual(10_000);
  expect(sent).toBeLessThanOrEqual(12_000);
});

it('keeps what is urgent and the two directions of moves apart', () => {
  const budget = new CopyBudget(1_000, 500);
  budget.refill(0, 500);
  expect([budget.send(500, true), budget.send(500, true)]).toEqual([true, false]);
  expect([budget.receive(500), budget.receive(500)]).toEqual([true, false]);
  expect([budget.send(500, false), budget.send(500, false), budget.send(500, false)]).toEqual([
    true,
    true,
    false,
  ]);
});

it('lets a chunk through that is more than a second’s worth, in its time', () => {
  const budget = new CopyBudget(1_000_000, 1_000);
  budget.refill(0, 100);
  expect(budget.receive(1_000)).toBe(true);
  budget.refill(9_900, 100);
  expect(budget.receive(1_000)).toBe(false);
  budget.refill(10_000, 100);
  expect(budget.receive(1_000)).toBe(true);
});

it('takes a copy on the node of a voter for a replacement', () => {
  const voters = [{ id: 'a', node: 'n1' }];
  const learners = [
    { id: 'b', node: 'n1' },
    { id: 'c', node: 'n4' },
  ];
  expect(learners.map((learner) => isMove({ voters, learners }, learner))).toEqual([false, true]);
  expect(isMove({ voters, learners: [] }, voters[0]!)).toBe(false);
});
