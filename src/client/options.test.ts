import { describe, expect, it } from 'vitest';
import { checkKeyspaceName, encodeKey } from './options.ts';

describe('names and keys', () => {
  it('are refused when they hold a lone surrogate, for all of those would become the same bytes', () => {
    for (const text of ['\ud800', 'a\ud801b', '\udc00', '\udc00\ud800']) {
      expect(() => checkKeyspaceName(text)).toThrow(/INVALID_ARGUMENT.*keyspace is not well-formed text/);
      expect(() => encodeKey(text)).toThrow(/INVALID_ARGUMENT.*key is not well-formed text/);
    }
    for (const text of ['users', 'łąka', '\u{1f600}', '\ufffd']) {
      checkKeyspaceName(text);
      expect(Buffer.from(encodeKey(text)).toString('utf8')).toBe(text);
    }
  });
});
