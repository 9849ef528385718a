import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ROTATION_DEFAULTS, Rotation } from './rotation.ts';

describe('Rotation', () => {
  it('tries every address before it pauses', () => {
    const rotation = new Rotation(['a', 'b', 'c'], 1);
    const tried: (string | null)[] = [];
    for (let i = 0; i < 3; i += 1) {
      tried.push(rotation.candidate(0));
      rotation.failed(0, 0);
    }
    expect(tried).toEqual(['b', 'c', 'a']);
    expect(rotation.candidate(0)).toBeNull();
    expect(rotation.candidate(ROTATION_DEFAULTS.backoffMs)).toBe('b');
  });

  it('pauses for half of a growing bound to all of it, until something works', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 60 }),
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (rounds, random) => {
          const rotation = new Rotation(['a']);
          for (let i = 0; i < rounds; i += 1) rotation.failed(1_000, random);
          const { backoffMs, backoffMsMax } = ROTATION_DEFAULTS;
          const bound = Math.min(backoffMsMax, backoffMs * 2 ** (rounds - 1));
          expect(rotation.candidate(1_000 + bound / 2 - 1)).toBeNull();
          expect(rotation.candidate(1_000 + bound)).toBe('a');
          rotation.succeeded();
          expect(rotation.candidate(1_000)).toBe('a');
        },
      ),
    );
  });

  it('stays at the current address when the list is replaced', () => {
    const rotation = new Rotation(['a', 'b']);
    rotation.advance();
    rotation.replace(['x', 'b', 'y']);
    expect(rotation.candidate(0)).toBe('b');
    rotation.replace(['x', 'y']);
    expect(rotation.candidate(0)).toBe('x');
  });
});
