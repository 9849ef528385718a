import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { CODEC_TAGS, decodeValue, encodeValue } from '../client/codec.ts';
import { rowLine, valueLine } from './export.ts';
import { encodeInput } from './values.ts';

function row(value: Uint8Array, codec: number, key = 'k') {
  return { keyspace: '', key: Buffer.from(key, 'utf8'), value, codec, version: 7 };
}

describe('encodeInput', () => {
  const stored = (input: Uint8Array | string, codec: Parameters<typeof encodeInput>[1]) => {
    const encoded = encodeInput(typeof input === 'string' ? Buffer.from(input, 'utf8') : input, codec);
    return decodeValue(encoded.codec, encoded.bytes);
  };

  it('takes JSON for JSON, other text for text, and the rest for bytes', () => {
    expect(stored('{"a":1}', 'auto')).toEqual({ a: 1 });
    expect(stored('42\n', 'auto')).toBe(42);
    expect(stored('hello', 'auto')).toBe('hello');
    expect(stored('007', 'auto')).toBe('007');
    expect(stored('', 'auto')).toBe('');
    expect(stored(Uint8Array.of(0xff, 0xfe), 'auto')).toEqual(Uint8Array.of(0xff, 0xfe));
  });

  it('takes the codec that is named, and refuses what it cannot hold', () => {
    expect(stored('42', 'string')).toBe('42');
    expect(stored('42', 'bytes')).toEqual(Buffer.from('42'));
    expect(stored('{"a":[1]}', 'msgpack')).toEqual({ a: [1] });
    for (const codec of ['json', 'msgpack'] as const) {
      expect(() => stored('hello', codec)).toThrow(/INVALID_ARGUMENT/);
    }
    expect(() => stored(Uint8Array.of(0xff), 'string')).toThrow(/INVALID_ARGUMENT/);
  });
});

describe('a line of export', () => {
  it('is stored JSON as it was written, on one line', () => {
    const text = '{ "id": "a",\r\n "big": 12345678901234567890, "x": 1.0, "id": "b" }';
    expect(valueLine(row(Buffer.from(text), CODEC_TAGS.json))).toBe(text.replace('\r\n', ' '));
  });

  it('is one line of JSON for every codec, with the same value', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.constantFrom('json', 'msgpack'), (value, codec) => {
        const line = valueLine(
          row(encodeValue(codec as 'json' | 'msgpack', value), CODEC_TAGS[codec as 'json']),
        );
        expect(line).not.toMatch(/[\r\n]/);
        expect(JSON.parse(line)).toEqual(JSON.parse(JSON.stringify(value)));
      }),
    );
    expect(valueLine(row(Buffer.from('a\nb'), CODEC_TAGS.string))).toBe('"a\\nb"');
    expect(valueLine(row(Uint8Array.of(255), CODEC_TAGS.bytes))).toBe('{"$base64":"/w=="}');
    expect(valueLine(row(Uint8Array.of(255), 0))).toBe('{"$base64":"/w=="}');
  });

  it('carries key and version when asked for', () => {
    const line = rowLine(row(Buffer.from('v'), CODEC_TAGS.string, 'ключ"'), true);
    expect(JSON.parse(line)).toEqual({ key: 'ключ"', value: 'v', version: 7 });
  });
});
