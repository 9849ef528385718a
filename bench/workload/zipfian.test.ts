import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createRandom } from '#src/common/random.ts';
import { fnvHash, fnvModulo, ScrambledZipfian, ZIPFIAN_CONSTANT, Zipfian, zeta } from './zipfian.ts';

const DRAWS = 200_000;

function frequencies(items: number, draw: () => number): number[] {
  const counts = new Array<number>(items).fill(0);
  for (let n = 0; n < DRAWS; n += 1) counts[draw()]! += 1;
  return counts.map((count) => count / DRAWS);
}

/** YCSB's Utils.fnvhash64, in big integers. */
function referenceHash(value: bigint): bigint {
  let hash = 0xcbf29ce484222325n;
  for (let octet = 0n; octet < 8n; octet += 1n) {
    hash ^= (value >> (8n * octet)) & 0xffn;
    hash = BigInt.asUintN(64, hash * 1_099_511_628_211n);
  }
  const signed = BigInt.asIntN(64, hash);
  return signed < 0n ? -signed : signed;
}

describe('Zipfian', () => {
  it('chooses with the frequencies of the analytic distribution', () => {
    const items = 1_000;
    const random = createRandom(7);
    const zipfian = new Zipfian(items);
    const sum = zeta(0, items, ZIPFIAN_CONSTANT);
    const seen = frequencies(items, () => zipfian.next(random));
    for (const item of [0, 1]) {
      const expected = 1 / (item + 1) ** ZIPFIAN_CONSTANT / sum;
      expect(Math.abs(seen[item]! / expected - 1)).toBeLessThan(0.03);
    }
    // The approximation of Gray et al. is exact for the first two items, less so right behind them, and close from there on.
    for (const [from, to, tolerance] of [
      [2, 10, 0.12],
      [10, 100, 0.06],
      [100, 1_000, 0.06],
    ] as const) {
      const expected = (zeta(0, to, ZIPFIAN_CONSTANT) - zeta(0, from, ZIPFIAN_CONSTANT)) / sum;
      const share = seen.slice(from, to).reduce((all, one) => all + one, 0);
      expect(Math.abs(share / expected - 1)).toBeLessThan(tolerance);
    }
  });

  it('is the same after growing as if it had been made with all items', () => {
    const grown = new Zipfian(10);
    grown.next(createRandom(1), 500);
    const made = new Zipfian(500);
    const [one, other] = [createRandom(3), createRandom(3)];
    for (let n = 0; n < 1_000; n += 1) expect(grown.next(one)).toBe(made.next(other));
  });

  it('stays within its items, however few', () => {
    for (const items of [1, 2, 3]) {
      const zipfian = new Zipfian(items);
      const random = createRandom(items);
      for (let n = 0; n < 1_000; n += 1) expect(zipfian.next(random)).toBeLessThan(items);
    }
  });
});

describe('fnvHash', () => {
  it('is that of YCSB, for every safe integer', () => {
    fc.assert(
      fc.property(fc.maxSafeNat(), fc.integer({ min: 1, max: Number.MAX_SAFE_INTEGER }), (value, n) => {
        const { high, low } = fnvHash(value);
        const expected = referenceHash(BigInt(value));
        expect((BigInt(high) << 32n) + BigInt(low)).toBe(expected);
        // The sum of two remainders is exact below 2^53 only.
        if (n < 2 ** 52) expect(BigInt(fnvModulo(value, n))).toBe(expected % BigInt(n));
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('ScrambledZipfian', () => {
  it('spreads the popular items over all of them and keeps their frequencies', () => {
    const items = 1_000;
    const random = createRandom(11);
    const zipfian = new ScrambledZipfian(items);
    const seen = frequencies(items, () => zipfian.next(random));
    const popular = seen
      .map((share, item) => ({ share, item }))
      .sort((a, b) => b.share - a.share)
      .slice(0, 3);
    // Of ten billion items, whose sum YCSB has worked out; what else falls on an item is little.
    expect(popular[0]!.item).toBe(fnvModulo(0, items));
    expect(popular[0]!.share).toBeGreaterThan(0.9 / 26.469);
    expect(popular[0]!.share).toBeLessThan(1.15 / 26.469);
    expect(popular[1]!.item).toBe(fnvModulo(1, items));
    expect(seen.filter((share) => share > 0).length).toBeGreaterThan(items * 0.95);
  });
});
