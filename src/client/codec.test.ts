import { runInNewContext } from 'node:vm';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RingkeepError } from '../common/errors.ts';
import { CODEC_TAGS, type CodecName, decodeValue, encodeValue } from './codec.ts';

function roundTrip(codec: CodecName, value: unknown): unknown {
  return decodeValue(CODEC_TAGS[codec], encodeValue(codec, value));
}

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof RingkeepError) return `${error.code} ${error.outcome}`;
  }
  return 'no RingkeepError';
}

const REFUSED = 'INVALID_ARGUMENT not_applied';

describe('codecs', () => {
  it('bring JSON values back, through json and msgpack', () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false }), (value) => {
        const expected = JSON.parse(JSON.stringify(value)) as unknown;
        expect(roundTrip('json', value)).toEqual(expected);
        if (!JSON.stringify(value).includes('"__proto__"')) {
          expect(roundTrip('msgpack', expected)).toEqual(expected);
        }
      }),
    );
  });

  it('never let stored bytes replace a prototype', () => {
    const value = JSON.parse('{"__proto__":{"admin":true}}') as unknown;
    expect(roundTrip('json', value)).toEqual(value);
    const unpacked = roundTrip('msgpack', value) as { admin?: boolean };
    expect(Object.keys(unpacked)).toEqual(['__proto_']);
    expect(unpacked.admin).toBeUndefined();
  });

  it('bring text and bytes back', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.uint8Array(), (text, bytes) => {
        expect(roundTrip('string', text)).toBe(text);
        expect(roundTrip('bytes', bytes)).toEqual(bytes);
        expect(roundTrip('msgpack', bytes)).toEqual(Buffer.from(bytes));
      }),
    );
  });

  it('keep a leading byte order mark', () => {
    expect(roundTrip('string', '\ufefftext')).toBe('\ufefftext');
  });

  it('bring what only msgpack carries back', () => {
    const value = {
      big: 2n ** 60n,
      small: 7,
      when: new Date(1_000),
      deep: [new Uint8Array([1, 2])],
      none: null,
    };
    expect(roundTrip('msgpack', value)).toEqual({ ...value, deep: [Buffer.from([1, 2])] });
  });

  it('share no memory with the value, nor with what is packed next', () => {
    const bytes = new Uint8Array([1, 2, 3]);
    const encoded = encodeValue('bytes', bytes);
    bytes[0] = 9;
    expect([...encoded]).toEqual([1, 2, 3]);
    const first = encodeValue('msgpack', 'first');
    const before = [...first];
    for (let i = 0; i < 1_000; i += 1) encodeValue('msgpack', `other ${i}`);
    expect([...first]).toEqual(before);
    const decoded = decodeValue(CODEC_TAGS.bytes, encoded) as Uint8Array;
    encoded[0] = 7;
    expect(decoded[0]).toBe(1);
  });

  it('read untagged values as bytes', () => {
    expect(decodeValue(0, new Uint8Array([5]))).toEqual(new Uint8Array([5]));
  });

  it('refuse what they cannot carry', () => {
    const circular: Record<string, unknown> = {};
    circular.self = circular;
    expect(codeOf(() => encodeValue('json', circular))).toBe(REFUSED);
    expect(codeOf(() => encodeValue('json', () => 1))).toBe(REFUSED);
    expect(codeOf(() => encodeValue('string', 5))).toBe(REFUSED);
    expect(codeOf(() => encodeValue('string', 'a\ud800'))).toBe(REFUSED);
    expect(codeOf(() => encodeValue('bytes', 'text'))).toBe(REFUSED);
    for (const codec of Object.keys(CODEC_TAGS) as CodecName[]) {
      expect(codeOf(() => encodeValue(codec, undefined))).toBe(REFUSED);
    }
  });

  it('refuse, with its place, what msgpack would read back as something else', () => {
    class Account {
      readonly x = 1;
    }
    const sub = new (class Table extends Map {})();
    for (const [value, message] of [
      [() => 1, 'a function cannot be stored (at value)'],
      [{ a: [1, { f() {} }] }, 'a function cannot be stored (at value.a[1].f)'],
      [{ 'x-y': Symbol('s') }, 'a symbol cannot be stored (at value["x-y"])'],
      [['ok', 'a\ud800'], 'text with a lone surrogate cannot be stored (at value[1])'],
      [{ b: { '\udc00': 1 } }, 'a name with a lone surrogate cannot be stored (at value.b["\\udc00"])'],
      [{ tags: new Set([1]) }, 'an object of class Set cannot be stored (at value.tags)'],
      [new Map([['a', 1]]), 'an object of class Map cannot be stored (at value)'],
      [sub, 'an object of class Table cannot be stored (at value)'],
      [{ re: /a/ }, 'an object of class RegExp cannot be stored (at value.re)'],
      [new TypeError('x'), 'an object of class TypeError cannot be stored (at value)'],
      [[new Account()], 'an object of class Account cannot be stored (at value[0])'],
      [new Float64Array([1]), 'an object of class Float64Array cannot be stored (at value)'],
      [new Uint8ClampedArray(1), 'an object of class Uint8ClampedArray cannot be stored (at value)'],
      [new ArrayBuffer(1), 'an object of class ArrayBuffer cannot be stored (at value)'],
      [new URL('http://a/'), 'an object of class URL cannot be stored (at value)'],
    ] as const) {
      expect(() => encodeValue('msgpack', value), message).toThrow(
        `INVALID_ARGUMENT: codec msgpack: ${message}`,
      );
      expect(codeOf(() => encodeValue('msgpack', value))).toBe(REFUSED);
    }
    const circular: Record<string, unknown> = {};
    circular.self = [circular];
    expect(codeOf(() => encodeValue('msgpack', circular))).toBe(REFUSED);
  });

  it('bring back through msgpack what is plain, in whatever realm it was made', () => {
    const foreign = runInNewContext('({ a: [1, { b: "c" }], n: null })') as unknown;
    expect(roundTrip('msgpack', foreign)).toEqual({ a: [1, { b: 'c' }], n: null });
    const bare = Object.assign(Object.create(null) as object, { a: 1, constructor: 'x', toString: 'y' });
    expect(roundTrip('msgpack', bare)).toEqual({ a: 1, constructor: 'x', toString: 'y' });
    expect(roundTrip('msgpack', { constructor: 'x', toJSON: 1 })).toEqual({ constructor: 'x', toJSON: 1 });
    expect(roundTrip('msgpack', [{ constructor: null }])).toEqual([{ constructor: null }]);
    const kept = roundTrip('msgpack', { none: undefined, list: [undefined, '\u{1f600}'] });
    expect(kept).toStrictEqual({ none: undefined, list: [undefined, '\u{1f600}'] });
  });

  it('refuse bytes that are not what their tag says, and tags of a later version', () => {
    expect(codeOf(() => decodeValue(CODEC_TAGS.json, Buffer.from('{')))).toBe(REFUSED);
    expect(codeOf(() => decodeValue(CODEC_TAGS.string, new Uint8Array([0xff])))).toBe(REFUSED);
    expect(codeOf(() => decodeValue(CODEC_TAGS.msgpack, new Uint8Array([0x92, 0x01])))).toBe(REFUSED);
    expect(codeOf(() => decodeValue(200, new Uint8Array([1])))).toBe(REFUSED);
  });
});
