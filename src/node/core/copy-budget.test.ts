import { expect, it } from 'vitest';
import { CopyBudget, isMove } from './copy-budget.ts';

const [X, Y, Z] = [{}, {}, {}];

/** Sends all that is let through for so long, in chunks as they should be; returns the bytes. */
function sendAll(budget: CopyBudget, from: number, ms: number, rate: number, lateMs = 0): number {
  const before = budget.sentBytes;
  for (let now = from; now < from + ms; now += 20) {
    budget.refill(now, rate, lateMs);
    const chunk = budget.chunkBytes(true);
    while (budget.send(chunk, true, X)) budget.sentBytes += chunk;
  }
  return budget.sentBytes - before;
}

it('lets a quarter of a second’s worth through, and then as much as time brings', () => {
  const budget = new CopyBudget(1_000_000, 100);
  // It begins slowly.
  expect(sendAll(budget, 1_000, 1_000, 16_000)).toBeLessThan(8_000);
  sendAll(budget, 2_000, 5_000, 16_000);
  // And again after a pause.
  budget.refill(17_000, 16_000);
  expect(sendAll(budget, 17_000, 5_000, 16_000)).toBeGreaterThanOrEqual(60_000);
  const sent = sendAll(budget, 22_000, 10_000, 16_000);
  expect(sent).toBeGreaterThanOrEqual(159_000);
  expect(sent).toBeLessThanOrEqual(164_100);
});

it('gives way where timers run late, with smaller chunks, down to two whole chunks a second', () => {
  const budget = new CopyBudget(1_000_000, 1_600);
  sendAll(budget, 1_000, 10_000, 1_000_000);
  expect([budget.moveLimit, budget.chunkBytes(true)]).toEqual([1_000_000, 1_600]);
  sendAll(budget, 11_000, 10_000, 50_000, 20);
  expect([budget.moveLimit, budget.chunkBytes(true)]).toEqual([3_200, 100]);
  const sent = sendAll(budget, 21_000, 10_000, 50_000, 20);
  expect(sent).toBeGreaterThan(31_000);
  expect(sent).toBeLessThan(34_000);
  // What was lost has to be replaced all the same.
  expect(budget.chunkBytes(false)).toBe(1_600);
  expect([1, 2, 3].map(() => budget.send(80_000, false, X))).toEqual([true, true, true]);
});

it('keeps what is urgent and the two directions of moves apart', () => {
  const budget = new CopyBudget(4_000, 500);
  budget.refill(0, 500);
  expect([budget.send(500, true, X), budget.send(500, true, X)]).toEqual([true, false]);
  expect([budget.receive(500, X), budget.receive(500, X)]).toEqual([true, false]);
  expect([1, 2, 3].map(() => budget.send(500, false, X))).toEqual([true, true, false]);
});

it('holds to a rate of moves above its own, for what is urgent as well', () => {
  const budget = new CopyBudget(1_000, 100);
  budget.refill(0, 5_000);
  budget.refill(10_000, 5_000);
  for (const moves of [true, false]) {
    let sent = 0;
    while (budget.send(100, moves, X)) sent += 100;
    // Moves begin with an eighth.
    expect(sent).toBe(moves ? 100 : 1_200);
  }
});

it('lets a chunk through that is more than a second’s worth, in its time', () => {
  const budget = new CopyBudget(1_000_000, 1_000);
  budget.refill(0, 100);
  expect(budget.receive(1_000, X)).toBe(true);
  budget.refill(9_900, 100);
  expect(budget.receive(1_000, X)).toBe(false);
  budget.refill(10_000, 100);
  expect(budget.receive(1_000, X)).toBe(true);
});

it('serves those who wait in turns, whoever asks first', () => {
  const budget = new CopyBudget(1_000_000, 1_000);
  const served = new Map([X, Y, Z].map((who) => [who, 0]));
  for (let now = 20; now <= 60_000; now += 20) {
    budget.refill(now, 1_000);
    for (const who of served.keys()) if (budget.send(1_000, true, who)) served.set(who, served.get(who)! + 1);
  }
  const counts = [...served.values()];
  expect(Math.min(...counts)).toBeGreaterThanOrEqual(19);
  expect(Math.max(...counts) - Math.min(...counts)).toBeLessThanOrEqual(1);
});

it('lets nobody wait behind one who has gone, nor where there is enough for all', () => {
  const budget = new CopyBudget(1_000_000, 1_000);
  budget.refill(0, 1_000);
  expect([budget.receive(1_000, X), budget.receive(1_000, Y)]).toEqual([true, false]);
  budget.refill(1_000, 1_000);
  // It is the turn of Y, which asks no more.
  expect(budget.receive(1_000, X)).toBe(false);
  budget.refill(2_001, 1_000);
  expect(budget.receive(1_000, X)).toBe(true);
  budget.refill(3_001, 12_000);
  expect(budget.receive(600, Y)).toBe(true);
  expect(budget.receive(400, X)).toBe(true);
});

it('counts what was really sent and received', () => {
  const budget = new CopyBudget(1_000_000, 1_000);
  budget.refill(0, 1_000);
  expect(budget.send(1_000, true, X)).toBe(true);
  budget.sentLess(900, true);
  expect([budget.send(900, true, X), budget.send(1, true, X)]).toEqual([true, false]);
  expect(budget.receive(1_000, X)).toBe(true);
  budget.receivedLess(-1_000);
  budget.refill(1_500, 1_000);
  expect(budget.receive(1_000, X)).toBe(false);
  budget.refill(2_000, 1_000);
  expect(budget.receive(1_000, X)).toBe(true);
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
