import fc from 'fast-check';
import { expect, it } from 'vitest';
import { middleOf } from './range-removal.ts';

const key = fc.uint8Array({ maxLength: 20 });

it('finds keys between two keys, until there is none left that is short', () => {
  fc.assert(
    fc.property(key, key, fc.array(fc.boolean(), { maxLength: 200 }), (one, other, turns) => {
      let [low, high]: [Uint8Array, Uint8Array] =
        Buffer.compare(one, other) < 0 ? [one, other] : [other, one];
      for (const up of turns) {
        const middle = middleOf(low, high);
        if (middle === null) return;
        expect(Buffer.compare(low, middle)).toBeLessThan(0);
        expect(Buffer.compare(middle, high)).toBeLessThan(0);
        if (up) low = middle;
        else high = middle;
      }
    }),
  );
});

it('gets to every place in a range, however much the keys there have in common', () => {
  const wanted = Buffer.from('a long prefix that all of the keys have, and 17');
  const place = Buffer.concat([wanted, Buffer.of(0x55)]);
  let [low, high]: [Uint8Array, Uint8Array] = [Buffer.from('a'), Buffer.from('b')];
  for (let step = 0; step < 8 * place.length; step += 1) {
    const middle = middleOf(low, high)!;
    if (Buffer.compare(middle, place) <= 0) low = middle;
    else high = middle;
  }
  expect(Buffer.from(low).subarray(0, wanted.length).equals(wanted)).toBe(true);
});
