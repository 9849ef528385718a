import { expect, it } from 'vitest';
import { type StoreRead, StoreReads } from './store-reads.ts';

/** A store that answers when it is told to. */
function bench(most: number) {
  const inStore: StoreRead[] = [];
  const finished: number[] = [];
  const reads = new StoreReads(most, (read) => inStore.push(read));
  const make = (n: number): StoreRead => ({
    kind: 'get',
    key: Uint8Array.of(n),
    done: () => finished.push(n),
  });
  const answer = (): void => inStore.shift()!.done(null, undefined);
  return { reads, inStore, finished, make, answer };
}

it('has at most so many reads with the store, and starts the others in their order', () => {
  const { reads, inStore, finished, make, answer } = bench(3);
  const count = 200;
  for (let n = 0; n < count; n += 1) reads.add(make(n), () => true);
  expect(inStore).toHaveLength(3);
  for (let n = 0; n < count; n += 1) {
    answer();
    expect(inStore.length).toBe(Math.min(3, count - n - 1));
  }
  expect(finished).toEqual(Array.from({ length: count }, (_, n) => n));
});

it('drops what nobody waits for any more, unread', () => {
  const { reads, inStore, finished, make, answer } = bench(1);
  const gone = new Set<number>();
  for (let n = 0; n < 6; n += 1) reads.add(make(n), () => !gone.has(n));
  for (const n of [1, 2, 4]) gone.add(n);
  answer();
  expect(inStore.map(({ key }) => key[0])).toEqual([3]);
  answer();
  answer();
  expect(finished).toEqual([0, 3, 5]);
  expect(inStore).toEqual([]);
});

it('starts what the log waits for before what clients wait for', () => {
  const { reads, finished, make, answer } = bench(1);
  for (const n of [0, 1, 2]) reads.add(make(n), () => true);
  for (const n of [7, 8]) reads.addUrgent(make(n));
  for (let n = 0; n < 5; n += 1) answer();
  expect(finished).toEqual([0, 7, 8, 1, 2]);
});

it('forgets thousands of started reads', () => {
  const { reads, finished, make, answer } = bench(1);
  for (let n = 0; n < 10_000; n += 1) reads.add(make(n % 256), () => true);
  for (let n = 0; n < 10_000; n += 1) answer();
  expect(finished.length).toBe(10_000);
  expect(finished.slice(9_000, 9_003)).toEqual([9_000 % 256, 9_001 % 256, 9_002 % 256]);
});
