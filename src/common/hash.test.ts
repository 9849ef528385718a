import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashKey, hashTag, partitionOf } from './hash.ts';

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Key, xxHash64 of its tag, partition of 48, partition of 4096. The first three are the published xxHash vectors. */
const GOLDEN: readonly (readonly [string, string, number, number])[] = [
  ['', 'ef46db3751d8e999', 9, 2457],
  ['a', 'd24ec4f1a98c6e5b', 11, 3675],
  ['abc', '44bc2cf5ad770999', 9, 2457],
  ['user:1', 'd9c7c4609e6080f3', 19, 243],
  ['{user:1}:cart', 'd9c7c4609e6080f3', 19, 243],
  ['x{user:1}y', 'd9c7c4609e6080f3', 19, 243],
  ['{}x', 'deda4be6641bd465', 21, 1125],
  ['{', 'ea9ca750a094f609', 9, 1545],
  ['}{', 'f4205b24e3092a44', 20, 2628],
  ['foo{}{bar}', '4a31504e13b4bde2', 34, 3554],
  ['foo{{bar}}zap', 'f3bed37bd4446368', 8, 872],
  ['foo{bar}{zap}', '48a37c90ad27a659', 25, 1625],
  ['ü', '01e03879e435793d', 13, 2365],
  ['Ringkeep hashes this line of more than thirty-two bytes by stripes.', 'bd42c4fab286d2d8', 8, 728],
];

describe('key to partition', () => {
  it.each(GOLDEN)('golden vector %j', (key, hash, of48, of4096) => {
    expect(hashKey(bytes(key)).toString(16).padStart(16, '0')).toBe(hash);
    expect(partitionOf(bytes(key), 48)).toBe(of48);
    expect(partitionOf(bytes(key), 4096)).toBe(of4096);
  });

  it('keeps all keys of one tag in one partition', () => {
    const plain = fc.string().filter((text) => !/[{}]/.test(text));
    fc.assert(
      fc.property(
        plain,
        plain.filter((tag) => tag.length > 0),
        fc.string(),
        (before, tag, after) => {
          const key = bytes(`${before}{${tag}}${after}`);
          expect(hashTag(key)).toEqual(bytes(tag));
          expect(partitionOf(key, 48)).toBe(partitionOf(bytes(tag), 48));
        },
      ),
    );
  });

  it('reads bytes that are not text, and a view into a larger buffer, the same', () => {
    const whole = Uint8Array.from([9, 255, 0, 254, 9]);
    expect(hashKey(whole.subarray(1, 4))).toBe(hashKey(Uint8Array.from([255, 0, 254])));
  });

  it('refuses a partition count out of range', () => {
    expect(() => partitionOf(bytes('a'), 0)).toThrow('partitions in range');
    expect(() => partitionOf(bytes('a'), 4097)).toThrow('partitions in range');
  });
});
