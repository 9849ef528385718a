import { expect, it } from 'vitest';
import { GiveWay, LATE_MS } from './give-way.ts';

const MIB = 1024 * 1024;
const RATE = 16 * MIB;
const LEAST = 512 * 1024;

/** Ticks of 20 ms, `seconds` long, that are all so late; copies use all that they may. Returns what they had. */
function run(
  giveWay: GiveWay,
  from: { now: number; moved: number },
  seconds: number,
  lateMs: number,
  part = 1,
) {
  let { now, moved } = from;
  for (const end = now + seconds * 1_000; now < end; now += 20) {
    giveWay.tick(now, lateMs, RATE, moved);
    moved += (part * giveWay.limit * 20) / 1_000;
  }
  return { now, moved };
}

it('begins slowly, and has the whole rate after some seconds in which nothing is late', () => {
  const giveWay = new GiveWay(LEAST);
  let at = run(giveWay, { now: 1_000, moved: 0 }, 0.2, 0);
  expect(giveWay.limit).toBeLessThanOrEqual(RATE / 8);
  at = run(giveWay, at, 5, LATE_MS);
  expect(giveWay.limit).toBe(RATE);
  // Nothing to copy: the next one begins slowly.
  run(giveWay, at, 1, 0, 0);
  expect(giveWay.limit).toBe(RATE / 8);
});

it('gives way at once by a part of what was used, and in the end to the least, where it stays', () => {
  const giveWay = new GiveWay(LEAST);
  let at = run(giveWay, { now: 1_000, moved: 0 }, 5, 0);
  // A third of what it may is all that others take.
  at = run(giveWay, at, 1, 0, 0.3);
  expect(giveWay.limit).toBe(RATE);
  at = run(giveWay, at, 0.26, LATE_MS + 1, 0.3);
  expect(giveWay.limit).toBeLessThan(0.3 * RATE);
  expect(giveWay.limit).toBeGreaterThan(0.1 * RATE);
  at = run(giveWay, at, 10, 1_000);
  expect(giveWay.limit).toBe(LEAST);
  at = run(giveWay, at, 1, 0);
  expect(giveWay.limit).toBeGreaterThan(1.9 * LEAST);
});

it('has no least above the rate, and one of a part of a large rate', () => {
  const [small, large] = [new GiveWay(LEAST), new GiveWay(LEAST)];
  for (let now = 0; now < 10_000; now += 20) {
    small.tick(now, 100, LEAST / 2, now);
    large.tick(now, 100, 1_024 * MIB, now);
  }
  expect(small.limit).toBe(LEAST / 2);
  expect(large.limit).toBe(32 * MIB);
});
