/**
 * Which record an operation is about: YCSB's request distributions over the records that are there, those inserted meanwhile
 * included. A record is a number in [0, count()); which key it has is keys.ts.
 * INVARIANT: a record that is not there yet is never chosen.
 */
import type { Random } from '#src/common/random.ts';
import { fnvModulo, ScrambledZipfian, ZIPFIAN_CONSTANT, Zipfian } from './zipfian.ts';

/** Request distributions. `hotkey` sends a share of the requests to one record. */
export const DISTRIBUTIONS = ['uniform', 'zipfian', 'latest', 'hotspot', 'sequential', 'hotkey'] as const;

export type Distribution = (typeof DISTRIBUTIONS)[number];

export interface ChooserOptions {
  readonly distribution: Distribution;
  /** Records that will have been inserted at the end, about; a zipfian choice is spread over them from the beginning. */
  readonly expected: number;
  /** Of `zipfian`: the exponent. */
  readonly zipfianConstant?: number;
  /** Of `hotspot`: the share of the records that is hot, and the share of the requests that they get. */
  readonly hotspotDataFraction: number;
  readonly hotspotRequestFraction: number;
  /** Of `hotkey`: the share of the requests that the first record gets. */
  readonly hotKeyFraction: number;
}

/** Returns the next record, in [0, count), where `count` is at least 1 and never falls. */
export type Chooser = (count: number) => number;

function zipfianChooser(expected: number, random: Random): Chooser {
  const zipfian = new ScrambledZipfian(Math.max(1, expected));
  return (count) => {
    // As YCSB does: what is not inserted yet is drawn again, so that the popular records stay the same.
    let record = zipfian.next(random);
    while (record >= count) record = zipfian.next(random);
    return record;
  };
}

/** Another exponent than YCSB's: drawn from the records that are there, spread by the same hash. */
function steepChooser(constant: number, random: Random): Chooser {
  let zipfian: Zipfian | null = null;
  return (count) => {
    zipfian ??= new Zipfian(count, constant);
    return hottestRecord(zipfian.next(random, count), count);
  };
}

/** Returns the record of a rank, from 0 for the one that is chosen most, of a zipfian choice of `steepChooser`. */
export function hottestRecord(rank: number, count: number): number {
  return fnvModulo(rank, count);
}

function latestChooser(random: Random): Chooser {
  let zipfian: Zipfian | null = null;
  return (count) => {
    zipfian ??= new Zipfian(count);
    return count - 1 - zipfian.next(random, count);
  };
}

function hotspotChooser(options: ChooserOptions, random: Random): Chooser {
  const { hotspotDataFraction, hotspotRequestFraction } = options;
  return (count) => {
    const hot = Math.min(count, Math.max(1, Math.floor(count * hotspotDataFraction)));
    if (hot === count || random.next() < hotspotRequestFraction) return random.integer(hot);
    return hot + random.integer(count - hot);
  };
}

/** Creates a chooser; the same random numbers give the same choices. */
export function createChooser(options: ChooserOptions, random: Random): Chooser {
  switch (options.distribution) {
    case 'uniform':
      return (count) => random.integer(count);
    case 'zipfian':
      return (options.zipfianConstant ?? ZIPFIAN_CONSTANT) === ZIPFIAN_CONSTANT
        ? zipfianChooser(options.expected, random)
        : steepChooser(options.zipfianConstant!, random);
    case 'latest':
      return latestChooser(random);
    case 'hotspot':
      return hotspotChooser(options, random);
    case 'sequential': {
      let next = 0;
      return (count) => {
        const record = next % count;
        next = record + 1;
        return record;
      };
    }
    case 'hotkey': {
      const { hotKeyFraction } = options;
      return (count) => (random.next() < hotKeyFraction ? 0 : random.integer(count));
    }
  }
}

/** Ways to choose a number from a range. */
export const LENGTH_DISTRIBUTIONS = ['constant', 'uniform', 'zipfian'] as const;

export type LengthDistribution = (typeof LENGTH_DISTRIBUTIONS)[number];

/** Creates a function that returns lengths in [min, max]; `constant` is always `max`, `zipfian` prefers small ones. */
export function createLengths(
  distribution: LengthDistribution,
  min: number,
  max: number,
  random: Random,
): () => number {
  switch (distribution) {
    case 'constant':
      return () => max;
    case 'uniform':
      return () => min + random.integer(max - min + 1);
    case 'zipfian': {
      const zipfian = new Zipfian(max - min + 1);
      return () => min + zipfian.next(random);
    }
  }
}
