/**
 * Zipf-distributed choices as YCSB makes them: item k, from 0, is chosen with probability proportional to 1 / (k + 1)^constant.
 * The scrambled form spreads the popular items over all of a key space by a hash.
 * Source: Gray et al., Quickly Generating Billion-Record Synthetic Databases, SIGMOD 1994; YCSB, ZipfianGenerator,
 * ScrambledZipfianGenerator and Utils.fnvhash64.
 */
import { assert } from '#src/common/errors.ts';
import type { Random } from '#src/common/random.ts';

export const ZIPFIAN_CONSTANT = 0.99;

/** The scrambled form always draws from this many items, whose zeta is known, so that nothing is summed up at its start. */
const SCRAMBLED_ITEMS = 10_000_000_000;
const SCRAMBLED_ZETA = 26.46902820178302;

const FNV_OFFSET_HIGH = 0xcbf29ce4;
const FNV_OFFSET_LOW = 0x84222325;
/** The 64-bit FNV prime is 2^40 + 435. */
const FNV_PRIME_LOW = 435;
const TWO_32 = 2 ** 32;

/** Returns the sum of 1 / k^constant for k in (from, to], on top of `sum`, which is that of [1, from]. */
export function zeta(from: number, to: number, constant: number, sum = 0): number {
  let result = sum;
  for (let k = from + 1; k <= to; k += 1) result += 1 / k ** constant;
  return result;
}

/** Chooses from [0, items); `items` may grow from one choice to the next. */
export class Zipfian {
  readonly #constant: number;
  readonly #alpha: number;
  readonly #secondBound: number;
  readonly #zeta2: number;
  #items: number;
  #zeta: number;
  #eta: number;

  constructor(items: number, constant: number = ZIPFIAN_CONSTANT, zetaOfItems?: number) {
    assert(Number.isSafeInteger(items) && items >= 1, 'a zipfian choice has at least one item');
    this.#constant = constant;
    this.#alpha = 1 / (1 - constant);
    this.#secondBound = 1 + 0.5 ** constant;
    this.#zeta2 = zeta(0, 2, constant);
    this.#items = items;
    this.#zeta = zetaOfItems ?? zeta(0, items, constant);
    this.#eta = this.#etaNow();
  }

  /** Returns the next item, in [0, items). `items` is at least as large as it was before. */
  next(random: Random, items: number = this.#items): number {
    if (items !== this.#items) this.#grow(items);
    const u = random.next();
    const uz = u * this.#zeta;
    if (uz < 1 || items === 1) return 0;
    if (uz < this.#secondBound) return 1;
    const item = Math.floor(items * (this.#eta * u - this.#eta + 1) ** this.#alpha);
    return Math.min(item, items - 1);
  }

  #grow(items: number): void {
    assert(items > this.#items, 'the items of a zipfian choice only grow');
    this.#zeta = zeta(this.#items, items, this.#constant, this.#zeta);
    this.#items = items;
    this.#eta = this.#etaNow();
  }

  #etaNow(): number {
    return (1 - (2 / this.#items) ** (1 - this.#constant)) / (1 - this.#zeta2 / this.#zeta);
  }
}

/** A 64-bit number as two unsigned halves. */
export interface Halves {
  readonly high: number;
  readonly low: number;
}

/** Returns YCSB's fnvhash64: FNV-1a of the eight octets of `value`, lowest first, without its sign. `value` is in [0, 2^53). */
export function fnvHash(value: number): Halves {
  let high = FNV_OFFSET_HIGH;
  let low = FNV_OFFSET_LOW;
  let octets = value % TWO_32;
  for (let octet = 0; octet < 8; octet += 1) {
    if (octet === 4) octets = Math.floor(value / TWO_32);
    low = (low ^ (octets & 0xff)) >>> 0;
    octets >>>= 8;
    // Below 2^41, so exact; the shifts take what is above 2^32 off.
    const product = low * FNV_PRIME_LOW;
    high = (Math.imul(high, FNV_PRIME_LOW) + Math.floor(product / TWO_32) + (low << 8)) >>> 0;
    low = product >>> 0;
  }
  if (high < 0x80000000) return { high, low };
  // Math.abs of a negative number of two's complement.
  const negated = (TWO_32 - low) % TWO_32;
  return { high: (TWO_32 - high - (low === 0 ? 0 : 1)) % TWO_32, low: negated };
}

/** Returns the hash of a number modulo `n`; `n` is below 2^53. */
export function fnvModulo(value: number, n: number): number {
  const { high, low } = fnvHash(value);
  // Exact: a product with a power of two, and remainders of doubles are.
  return (((high * TWO_32) % n) + (low % n)) % n;
}

/** Chooses from [0, items) with the frequencies of a zipf distribution, the popular items being spread by a hash. */
export class ScrambledZipfian {
  readonly #items: number;
  readonly #zipfian = new Zipfian(SCRAMBLED_ITEMS, ZIPFIAN_CONSTANT, SCRAMBLED_ZETA);

  constructor(items: number) {
    assert(Number.isSafeInteger(items) && items >= 1, 'a zipfian choice has at least one item');
    this.#items = items;
  }

  next(random: Random): number {
    return fnvModulo(this.#zipfian.next(random), this.#items);
  }
}
