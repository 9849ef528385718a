/**
 * The one source of randomness of the pure parts: a small seeded generator (sfc32), injected, never ambient, so that
 * the same seed gives the same trace. Not for secrets. It does not read a seed from anywhere: shells do.
 * Source: Chris Doty-Humphrey, PractRand, sfc32; seeded through splitmix32.
 */
import { assert } from './errors.ts';

/** A seeded stream of random numbers. */
export interface Random {
  /** Returns the next number in [0, 1), with 32 random bits. */
  next(): number;
  /** Returns an integer in [0, n); `n` is in [1, 2^32]. */
  integer(n: number): number;
  /** Returns 16 hexadecimal characters: 64 random bits. */
  id(): string;
}

/** Spreads a 32-bit seed over as many independent 32-bit words as are asked for (splitmix32). */
function splitmix(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x9e3779b9) | 0;
    let z = state ^ (state >>> 16);
    z = Math.imul(z, 0x21f0aaad);
    z ^= z >>> 15;
    z = Math.imul(z, 0x735a2d97);
    return (z ^ (z >>> 15)) >>> 0;
  };
}

/** Creates a generator. `seed` is a safe integer; both of its halves count, so 53-bit seeds are told apart. */
export function createRandom(seed: number): Random {
  assert(Number.isSafeInteger(seed), 'a random seed is a safe integer');
  const low = splitmix(seed);
  const high = splitmix(Math.floor(seed / 2 ** 32) ^ 0x5bf03635);
  let a = low();
  let b = low();
  let c = high();
  let counter = 1;
  const word = (): number => {
    const result = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + result;
    return result >>> 0;
  };
  for (let warmUp = 0; warmUp < 12; warmUp += 1) word();
  const hex = (): string => word().toString(16).padStart(8, '0');
  return {
    next: () => word() / 2 ** 32,
    integer: (n) => {
      assert(Number.isInteger(n) && n >= 1 && n <= 2 ** 32, 'random.integer takes 1 to 2^32');
      return Math.floor((word() / 2 ** 32) * n);
    },
    id: () => hex() + hex(),
  };
}

/** Returns 16 hexadecimal characters of what draws numbers in [0, 1). */
export function hexId(random: () => number): string {
  const word = (): string =>
    Math.floor(random() * 0x1_0000_0000)
      .toString(16)
      .padStart(8, '0');
  return word() + word();
}
