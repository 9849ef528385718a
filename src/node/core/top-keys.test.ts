import { expect, it } from 'vitest';
import { createRandom } from '../../common/random.ts';
import { TopKeys } from './top-keys.ts';

it('counts exactly while there is room', () => {
  const sketch = new TopKeys(3);
  for (const key of ['a', 'b', 'a', 'c', 'a', 'b']) sketch.add(key, 1, 0);
  sketch.add('c', 0, 5);
  expect(sketch.top(2)).toEqual([
    { key: 'c', reads: 1, writes: 5, led: 0, error: 0 },
    { key: 'a', reads: 3, writes: 0, led: 0, error: 0 },
  ]);
});

it('gives the place of the least one to a new key, with its count as the error', () => {
  const sketch = new TopKeys(2);
  sketch.add('a', 5, 0);
  sketch.add('b', 3, 0);
  sketch.add('c', 1, 0);
  expect(sketch.top(9)).toEqual([
    { key: 'a', reads: 5, writes: 0, led: 0, error: 0 },
    { key: 'c', reads: 1, writes: 0, led: 0, error: 3 },
  ]);
  // Four together, so the other one is the least now.
  sketch.add('c', 4, 0);
  sketch.add('d', 1, 1);
  expect(sketch.top(9)).toEqual([
    { key: 'c', reads: 5, writes: 0, led: 0, error: 3 },
    { key: 'd', reads: 1, writes: 1, led: 0, error: 5 },
  ]);
});

it('halves all, and goes on with the order that it had', () => {
  const sketch = new TopKeys(2);
  sketch.add('a', 8, 0);
  sketch.add('b', 0, 4);
  sketch.halve();
  sketch.add('b', 1, 0);
  expect(sketch.top(9)).toEqual([
    { key: 'a', reads: 4, writes: 0, led: 0, error: 0 },
    { key: 'b', reads: 1, writes: 2, led: 0, error: 0 },
  ]);
  sketch.add('c', 1, 0);
  expect(sketch.top(9).map(({ key }) => key)).toEqual(['a', 'c']);
});

// Against exact counts, which are halved with it.
it.each([1, 2, 3, 4, 5])(
  'tells no more than there was, at most the error less, and leaves no heavy key out (seed %i)',
  (seed) => {
    const random = createRandom(seed);
    const capacity = 1 + random.integer(40);
    const sketch = new TopKeys(capacity);
    const truth = new Map<string, number>();
    let total = 0;
    for (let at = 0; at < 20_000; at += 1) {
      const key = `${Math.floor(500 * random.next() ** 4)}`;
      const writes = random.integer(2);
      sketch.add(key, 1 - writes, writes);
      truth.set(key, (truth.get(key) ?? 0) + 1);
      total += 1;
      if (random.next() < 0.001) {
        sketch.halve();
        total /= 2;
        for (const [each, count] of truth) truth.set(each, count / 2);
      }
      if (at % 1_000 !== 999) continue;
      const told = sketch.top(capacity);
      for (const { key: name, reads, writes: written, error } of told) {
        expect(reads + written).toBeLessThanOrEqual(truth.get(name)! + 1e-6);
        expect(reads + written + error).toBeGreaterThanOrEqual(truth.get(name)! - 1e-6);
      }
      const names = new Set(told.map(({ key: name }) => name));
      for (const [name, count] of truth) if (count > total / capacity + 1e-6) expect(names).toContain(name);
    }
  },
);
