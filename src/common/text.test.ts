import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { keyJson, keyText, toJson } from './text.ts';

describe('toJson', () => {
  it('is JSON.stringify for everything that JSON has', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        expect(toJson(value)).toBe(JSON.stringify(value));
      }),
    );
  });

  it('has a form for bytes and big integers, at any depth, and leaves undefined fields out', () => {
    const value = { photo: Uint8Array.of(1, 2, 3), ids: [2n ** 63n], none: undefined };
    expect(toJson(value)).toBe('{"photo":{"$base64":"AQID"},"ids":[9223372036854775808]}');
    expect(keyJson(Uint8Array.of(0xff))).toBe('{"$base64":"/w=="}');
  });
});

describe('keyText', () => {
  it('is the text of a key, and another one for every other key', () => {
    expect(keyText(Buffer.from('ключ'))).toBe('ключ');
    expect(keyText(Uint8Array.of(0xff))).toBe('0xff');
    expect(keyText(Buffer.from('0xff'))).toBe('0x30786666');
  });
});
