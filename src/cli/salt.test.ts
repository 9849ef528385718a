import { expect, it } from 'vitest';
import { saltedText } from './salt.ts';

it('says where the copies are, and why there are fewer than asked for', () => {
  const one = { partition: 7, node: 'n2' };
  const two = { partition: 9, node: null };
  expect(saltedText('k', { partition: 5, copies: [one, two] }, 2)).toBe(
    'salted k (partition 5): 2 copies, at n2 (partition 7), the leader (partition 9)',
  );
  expect(saltedText('k', { partition: 5, copies: [one, two] }, 3)).toBe(
    'salted k (partition 5): 2 copies, at n2 (partition 7), the leader (partition 9)\n' +
      '2 copies, not 3: there are only 2 other nodes that can hold one',
  );
  expect(saltedText('k', { partition: 5, copies: [one] }, 2)).toContain(
    '1 copy, not 2: there is only 1 other node that',
  );
});
