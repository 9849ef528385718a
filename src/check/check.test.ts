import { describe, expect, it } from 'vitest';
import { get, makeHistory, put, type Recipe } from '../../test/support/histories.ts';
import type { HistoryEvent } from '../common/history.ts';
import { createRandom } from '../common/random.ts';
import { checkHistory } from './check.ts';

const RECIPE: Recipe = {
  operations: 60,
  clients: 4,
  values: 100,
  conditions: 0,
  unknown: 0.05,
  notApplied: 0.02,
  versions: 0.5,
  durationMax: 20,
  kinds: ['get', 'put'],
};

function at(key: string, events: readonly HistoryEvent[], keyspace = ''): HistoryEvent[] {
  return events.map((event) => ({ ...event, key, keyspace }));
}

describe('checkHistory', () => {
  const bad = [put('a', 1, [0, 1]), get('b', 2, [2, 3])];
  const good = [put('a', 1, [0, 1]), get('b', 1, [2, 3])];

  it('judges every key for itself, illegal ones first', async () => {
    const report = await checkHistory([
      ...at('z', good),
      ...at('m', bad),
      ...at('m', good, 'other'),
      ...at('a', good),
    ]);
    expect(report).toMatchObject({ result: 'illegal', operations: 8 });
    expect(report.keys.map(({ keyspace, key, result }) => [keyspace, key, result])).toEqual([
      ['', 'm', 'illegal'],
      ['', 'a', 'ok'],
      ['', 'z', 'ok'],
      ['other', 'm', 'ok'],
    ]);
  });

  it('does not depend on the order of the events', async () => {
    const events = Array.from({ length: 20 }, (_, n) =>
      at(`k${n}`, makeHistory(createRandom(n), RECIPE)),
    ).flat();
    const summary = async (some: readonly HistoryEvent[]) =>
      (await checkHistory(some)).keys.map(({ key, result, operations }) => ({ key, result, operations }));
    const random = createRandom(1);
    const shuffled = events.map((event) => ({ event, at: random.next() })).sort((a, b) => a.at - b.at);
    const expected = await summary(events);
    expect(expected.every(({ result }) => result === 'ok')).toBe(true);
    expect(await summary(shuffled.map(({ event }) => event))).toEqual(expected);
  });

  it('is unknown if a key is, unless another one is illegal', async () => {
    expect(await checkHistory(good, { timeoutMs: 0 })).toMatchObject({ result: 'unknown' });
    expect(await checkHistory(at('a', good), { stepsMax: 1 })).toMatchObject({ result: 'unknown' });
    const both = await checkHistory([...at('a', good), ...at('b', bad)], { stepsMax: 1 });
    expect(both.keys.map(({ result }) => result)).toEqual(['illegal', 'unknown']);
    expect(both.result).toBe('illegal');
  });

  it('takes an empty history for legal', async () => {
    expect(await checkHistory([])).toMatchObject({ result: 'ok', operations: 0, keys: [] });
  });
});
