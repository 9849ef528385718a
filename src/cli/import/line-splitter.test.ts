import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { crc32c } from '../../common/crc32c.ts';
import { type Line, LineSplitter } from './line-splitter.ts';

function split(chunks: readonly Uint8Array[], lineBytesMax = 1_000): Line[] {
  const splitter = new LineSplitter(lineBytesMax);
  return [...chunks.flatMap((chunk) => [...splitter.push(chunk)]), ...splitter.finish()];
}

function texts(lines: readonly Line[]): (string | null)[] {
  return lines.map(({ bytes }) => (bytes === null ? null : Buffer.from(bytes).toString('utf8')));
}

/** Cuts bytes at the given places, in any order. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const at = [0, ...places.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length];
  return at.slice(1).map((end, index) => bytes.subarray(at[index], end));
}

describe('LineSplitter', () => {
  it('takes LF and CRLF, a byte order mark, blank lines and a last line without an end', () => {
    const input = Buffer.from('\ufeff{"a":1}\r\n\r\n{"b":2}\n\nlast', 'utf8');
    expect(texts(split([input]))).toEqual(['{"a":1}', '', '{"b":2}', '', 'last']);
  });

  it('keeps a byte order mark that is not at the start, and a CR that is not at the end', () => {
    expect(texts(split([Buffer.from('a\n\ufeffb\rc\n', 'utf8')]))).toEqual(['a', '\ufeffb\rc']);
  });

  it('yields nothing for an empty input and one empty line for a lone newline', () => {
    expect(split([])).toEqual([]);
    expect(texts(split([Buffer.from('\n')]))).toEqual(['']);
  });

  it('gives the same lines wherever the chunks are cut', () => {
    const lines = fc.array(fc.tuple(fc.string({ unit: 'grapheme' }), fc.constantFrom('\n', '\r\n')));
    fc.assert(
      fc.property(lines, fc.array(fc.nat()), fc.boolean(), (parts, places, mark) => {
        const clean = parts.map(([text, end]) => [text.replaceAll(/[\r\n\ufeff]/g, ''), end] as const);
        const text = `${mark ? '\ufeff' : ''}${clean.map(([line, end]) => line + end).join('')}`;
        const input = Buffer.from(text, 'utf8');
        const expected = clean.map(([line]) => line);
        if (mark && expected.length === 0) expected.push('');
        expect(texts(split(cut(input, places)))).toEqual(expected);
      }),
    );
  });

  it('tells where each line ends and the checksum up to there, so that a later splitter can go on', () => {
    const input = Buffer.from('one\r\ntwo\nthree\nfour', 'utf8');
    const lines = split([input.subarray(0, 7), input.subarray(7)]);
    for (const [index, { number, end, checksum }] of lines.entries()) {
      expect(number).toBe(index + 1);
      expect(checksum).toBe(crc32c(input.subarray(0, end)));
      const rest = new LineSplitter(1_000, { number, end, checksum });
      const after = [...rest.push(input.subarray(end)), ...rest.finish()];
      expect(after).toEqual(lines.slice(index + 1));
    }
    expect(lines.at(-1)?.end).toBe(input.length);
  });

  it('keeps nothing of a line that is too long, and goes on behind it', () => {
    const input = Buffer.from(`ok\n${'x'.repeat(500)}\nfine\n`, 'utf8');
    for (const size of [1, 7, 100, input.length]) {
      const chunks = cut(
        input,
        Array.from({ length: Math.ceil(input.length / size) }, (_, i) => i * size),
      );
      const lines = split(chunks, 100);
      expect(texts(lines)).toEqual(['ok', null, 'fine']);
      expect(lines.at(-1)?.checksum).toBe(crc32c(input));
    }
  });
});
