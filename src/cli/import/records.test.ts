import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parseRecord } from './records.ts';

function keyOf(line: string, field = 'id'): string | undefined {
  return parseRecord(Buffer.from(line, 'utf8'), field, 'json')?.key;
}

describe('parseRecord', () => {
  it('refuses numbers that would become the key of another number', () => {
    const numbers = [
      '9007199254740993',
      '9007199254740992',
      '-9007199254740993',
      '1e2',
      '1.0',
      '-0',
      '1.5',
      '1E400',
    ];
    for (const number of numbers) {
      expect(() => keyOf(`{"id":${number}}`), number).toThrow(
        `INVALID_ARGUMENT: field "id" is the number ${number}, which is not exact as a key: quote it`,
      );
      expect(keyOf(`{"id":"${number}"}`)).toBe(number);
    }
    for (const number of ['0', '100', '-7', '9007199254740991', '-9007199254740991']) {
      expect(keyOf(`{ "id" : ${number} }`)).toBe(number);
    }
  });

  it('judges a number by the field that counts: the last of that name, at the top, however it is written', () => {
    expect(keyOf('{"id":1e2,"x":{"id":1e2},"y":["id",{"id":1.0}],"z":"id","id":100}')).toBe('100');
    expect(() => keyOf('{"id":100,"\\u0069d":1e2}')).toThrow(/the number 1e2/);
    expect(keyOf('{"a\\\\":"\\"id\\":1e2","id":\t5\t,"b":"\\\\"}')).toBe('5');
  });

  it('takes every safe integer as its digits, whatever else the record holds', () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), fc.string(), fc.jsonValue(), (id, field, before) => {
        fc.pre(field !== '__proto__');
        const line = `{${JSON.stringify(`${field}x`)}:${JSON.stringify(before)},${JSON.stringify(field)}:${id}}`;
        expect(keyOf(line, field)).toBe(String(id));
      }),
    );
  });
});
