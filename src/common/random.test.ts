import { describe, expect, it } from 'vitest';
import { createRandom } from './random.ts';

describe('createRandom', () => {
  it('repeats its stream for the same seed and differs for another one', () => {
    const take = (seed: number): string[] => {
      const random = createRandom(seed);
      return Array.from({ length: 8 }, () => random.id());
    };
    expect(take(7)).toEqual(take(7));
    expect(take(7)).not.toEqual(take(8));
    expect(take(7)).not.toEqual(take(7 + 2 ** 32));
  });

  it('keeps its ranges and reaches every value', () => {
    const random = createRandom(1);
    const seen = new Set<number>();
    for (let i = 0; i < 2000; i += 1) {
      const unit = random.next();
      expect(unit >= 0 && unit < 1).toBe(true);
      seen.add(random.integer(10));
    }
    expect([...seen].sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    expect(random.id()).toMatch(/^[0-9a-f]{16}$/);
    expect(() => random.integer(0)).toThrow('random.integer');
  });

  it('is even: 16 buckets of 64,000 draws are each within 5% of their share', () => {
    const random = createRandom(99);
    const buckets = new Array<number>(16).fill(0);
    for (let i = 0; i < 64_000; i += 1) buckets[random.integer(16)]! += 1;
    for (const count of buckets) expect(Math.abs(count - 4000)).toBeLessThan(200);
  });
});
