import { describe, expect, it } from 'vitest';
import { SALT_HINT_MS, SALT_HINTS_MAX } from './limits.ts';
import { isHomeward, SaltHints, saltedWay } from './salt-hints.ts';

describe('hints of copies', () => {
  it('hold for a while after the home has named them, and are what it has named last', () => {
    const hints = new SaltHints();
    hints.note('a', [1, 2], 100);
    expect(hints.of('a', 100 + SALT_HINT_MS - 1)).toEqual([1, 2]);
    hints.note('a', [2, 3], 200);
    expect(hints.of('a', 200 + SALT_HINT_MS - 1)).toEqual([2, 3]);
    expect(hints.of('a', 200 + SALT_HINT_MS)).toEqual([]);
    expect(hints.size).toBe(0);
    hints.note('a', [1], 300);
    hints.note('a', [], 301);
    expect(hints.of('a', 302)).toEqual([]);
    expect(hints.size).toBe(0);
  });

  it('lose what was struck, until the home names it again', () => {
    const hints = new SaltHints();
    hints.strike('a', 1);
    hints.note('a', [1, 2], 0);
    hints.strike('a', 1);
    expect(hints.of('a', 1)).toEqual([2]);
    hints.strike('a', 2);
    expect(hints.size).toBe(0);
    hints.note('a', [1], 2);
    expect(hints.of('a', 3)).toEqual([1]);
  });

  it('are bounded: the key that was confirmed longest ago goes', () => {
    const hints = new SaltHints();
    for (let n = 0; n < SALT_HINTS_MAX; n++) hints.note(`${n}`, [1], 0);
    hints.note('0', [1], 1);
    hints.note('more', [1], 1);
    expect(hints.size).toBe(SALT_HINTS_MAX);
    expect([hints.of('0', 2), hints.of('1', 2), hints.of('more', 2)]).toEqual([[1], [], [1]]);
  });
});

describe('the way of a salted read', () => {
  const loads: Record<string, number> = { n1: 5, n2: 3, n3: 3 };
  const leaders = ['n1', 'n2', 'n3', 'n1', 'n2'];
  const way = (copies: number[], random: number[], closed: string[] = []) => {
    const draws = [...random];
    const linkOf = (partition: number) => {
      const leader = leaders[partition];
      return leader === undefined || closed.includes(leader) ? null : leader;
    };
    return saltedWay(
      0,
      copies,
      linkOf,
      (node) => loads[node]!,
      () => draws.shift()!,
    );
  };

  it('is the less loaded of two random ones of home and copies', () => {
    expect(way([1, 2], [0, 0])).toEqual({ saltIn: 2, link: 'n2' });
    expect(way([1, 2], [0, 0.9])).toEqual({ saltIn: 3, link: 'n3' });
    loads.n1 = 0;
    expect(way([1, 2], [0, 0.9])).toEqual({ saltIn: 0, link: 'n1' });
  });

  it('is one of those that are open, and each node is one of them', () => {
    expect(way([3], [])).toEqual({ saltIn: 0, link: 'n1' });
    expect(way([1, 4], [], ['n1'])).toEqual({ saltIn: 2, link: 'n2' });
    expect(way([7], [], ['n1'])).toBeUndefined();
  });
});

it('sends home what a copy cannot answer, and what is too much or too late there to its caller', () => {
  expect(['NOT_LEADER', 'UNAVAILABLE', 'SHUTTING_DOWN'].map(isHomeward)).toEqual([true, true, true]);
  expect(['', 'OVERLOADED', 'DEADLINE_EXCEEDED', 'CANCELLED'].map(isHomeward)).toEqual(
    new Array(4).fill(false),
  );
});
