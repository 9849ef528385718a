import { expect, it } from 'vitest';
import { FollowedStore } from './followed-store.ts';

it('follows the first store that has told a topology, and no other while its router is there', () => {
  const followed = new FollowedStore();
  expect(followed.current(0)).toBe('');
  expect(followed.allows('b', 0)).toBe(true);
  followed.joined('a');
  expect([followed.allows('a', 1_000_000), followed.allows('b', 1_000_000)]).toEqual([true, false]);
  expect(followed.current(1_000_000)).toBe('a');
});

it('turns to another store once the router of the first has been away for a while', () => {
  const followed = new FollowedStore();
  followed.joined('a');
  followed.joined('a');
  followed.left('a', 10_000);
  expect(followed.allows('b', 60_000)).toBe(false);
  followed.left('a', 60_000);
  expect(followed.allows('b', 62_999)).toBe(false);
  expect(followed.allows('b', 63_000)).toBe(true);
  followed.joined('b');
  expect([followed.allows('a', 63_001), followed.current(63_001)]).toEqual([false, 'b']);
  followed.left('a', 63_002);
  expect(followed.current(100_000)).toBe('b');
});
