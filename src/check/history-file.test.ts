import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeHistory } from '../../test/support/histories.ts';
import type { HistoryEvent } from '../common/history.ts';
import { createRandom } from '../common/random.ts';
import { toJson } from '../common/text.ts';
import { parseEvent, readHistory } from './history-file.ts';

const GOOD = {
  client: 'a',
  keyspace: '',
  key: 'k',
  op: 'put',
  input: 1,
  call: 1,
  return: 2,
  output: { result: 'ok' },
};
const READ = { ...GOOD, op: 'get', input: undefined, output: { result: 'ok', found: true, value: 1 } };

async function* chunksOf(bytes: Uint8Array, size: number) {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

async function read(bytes: Uint8Array, size = 7): Promise<HistoryEvent[]> {
  const events: HistoryEvent[] = [];
  for await (const event of readHistory(chunksOf(bytes, size))) events.push(event);
  return events;
}

describe('readHistory', () => {
  it('gives back what was written, however it is cut into chunks', async () => {
    const kinds = ['get', 'put', 'delete', 'increment'] as const;
    const recipe = { operations: 30, clients: 3, values: 3, conditions: 0.3, unknown: 0.2, notApplied: 0.1 };
    const rest = { versions: 0.5, durationMax: 5, kinds };
    await fc.assert(
      fc.asyncProperty(fc.nat(), fc.integer({ min: 1, max: 500 }), async (seed, size) => {
        const events = makeHistory(createRandom(seed), { ...recipe, ...rest });
        const text = events.map((event) => `${toJson(event)}\n`).join('');
        expect(await read(Buffer.from(text), size)).toEqual(events);
      }),
      { numRuns: 50 },
    );
  });

  it('takes CRLF, a byte order mark, a last line without its end, line separators within texts', async () => {
    const odd = toJson({ ...GOOD, client: 'ż\u2028' });
    const events = await read(Buffer.from(`\ufeff${odd}\r\n\r\n${toJson(READ)}`), 3);
    expect(events.map(({ client, op }) => [client, op])).toEqual([
      ['ż\u2028', 'put'],
      ['a', 'get'],
    ]);
  });

  it('skips remarks, and takes an operation that has not ended', async () => {
    const remark = '{"event":"split","time":12}\n';
    const open = { ...GOOD, return: undefined, output: undefined, keyspace: undefined };
    expect(await read(Buffer.from(remark + toJson(open)))).toEqual([
      { client: 'a', keyspace: '', key: 'k', op: 'put', input: 1, call: 1, return: null, output: null },
    ]);
  });

  it('names the line that it does not understand', async () => {
    await expect(read(Buffer.from(`${toJson(GOOD)}\n\nnonsense\n`))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: expect.stringContaining('line 3: it is not JSON'),
    });
    const broken = Buffer.concat([Buffer.from(`${toJson(GOOD)}\n`), Uint8Array.of(0xff, 0x0a)]);
    await expect(read(broken, 1_000)).rejects.toThrow(
      'line 1: there are bytes behind here that are not UTF-8',
    );
  });
});

describe('parseEvent', () => {
  const condition = { ifAbsent: true };
  it.each<[string, object]>([
    ['op', { ...GOOD, op: 'scan' }],
    ['client', { ...GOOD, client: 7 }],
    ['key', { ...GOOD, key: '' }],
    ['keyspace', { ...GOOD, keyspace: 1 }],
    ['input', { ...GOOD, input: undefined }],
    ['input', { ...GOOD, op: 'increment', input: 1.5 }],
    ['spread', { ...GOOD, spread: true }],
    ['spread', { ...GOOD, op: 'increment', input: 1, spread: false }],
    ['call', { ...GOOD, call: null }],
    ['return', { ...GOOD, return: 0 }],
    ['return and output', { ...GOOD, return: null }],
    ['return and output', { ...GOOD, output: null }],
    ['result', { ...GOOD, output: { result: 'fine' } }],
    ['code', { ...GOOD, output: { result: 'unknown', code: 'NO_SUCH' } }],
    ['version', { ...GOOD, output: { result: 'ok', version: 0 } }],
    ['durability', { ...GOOD, output: { result: 'ok', durability: 'some' } }],
    ['level', { ...READ, level: 'any' }],
    ['found', { ...READ, output: { result: 'ok' } }],
    ['value', { ...READ, output: { result: 'ok', found: true } }],
    ['condition', { ...READ, condition }],
    ['condition', { ...GOOD, condition: {} }],
    ['condition', { ...GOOD, condition: { ifAbsent: true, ifExists: true } }],
    ['ifVersion', { ...GOOD, condition: { ifVersion: 0 } }],
    ['without a condition', { ...GOOD, output: { result: 'ok', applied: false, version: 1 } }],
    ['tells the version', { ...GOOD, condition, output: { result: 'ok', applied: false } }],
    ['counter', { ...GOOD, op: 'increment', output: { result: 'ok', value: 'x' } }],
  ])('refuses a line whose %s is wrong', (what, fields) => {
    expect(() => parseEvent(toJson(fields), 12)).toThrow(`line 12: `);
    expect(() => parseEvent(toJson(fields), 12)).toThrow(what);
  });

  it('ignores fields that it does not know', () => {
    expect(parseEvent(toJson({ ...GOOD, note: 'x' }), 1)).toMatchObject(GOOD);
  });
});
