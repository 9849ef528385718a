/** What a record shows to be wrong, and what it must not be taken for. */
import { describe, expect, it } from 'vitest';
import type { KeyReport } from '../check/key-check.ts';
import { partitionOf } from '../common/hash.ts';
import type { HistoryEvent } from '../common/history.ts';
import {
  boundlessMemory,
  illegalHistories,
  inventedValues,
  type RouterlessFacts,
  unansweredWithoutRouter,
  uncountedLosses,
} from './breaches.ts';

const SECOND = 1_000_000;
const KEY: KeyReport = { keyspace: '', key: 'k', result: 'ok', operations: 100, steps: 1, elapsedMs: 1 };

function event(op: HistoryEvent['op'], key: string, more: Partial<HistoryEvent> = {}): HistoryEvent {
  return { client: 'd', keyspace: '', key, op, call: 0, return: 1, output: { result: 'ok' }, ...more };
}

function shows(key: string, value: unknown, level?: HistoryEvent['level']): HistoryEvent {
  const output = { result: 'ok', found: true, value, version: 1 } as const;
  return event('get', key, { output, ...(level === undefined ? {} : { level }) });
}

it('has a breach for every illegal history, by its key', () => {
  const illegal = { events: [], order: [], stuck: 0, reason: 'a read goes back' };
  const keys: KeyReport[] = [KEY, { ...KEY, key: 'bad', result: 'illegal', illegal }];
  expect(illegalHistories({ keys })).toEqual([{ guarantee: 'G2', key: 'bad', text: 'a read goes back' }]);
});

describe('a value that was read', () => {
  const unknown = { output: { result: 'unknown', code: 'DEADLINE_EXCEEDED' } } as const;

  it('was written, by whatever write, also one whose outcome is unknown', () => {
    const history = [
      event('put', 'a', { input: 'one' }),
      event('put', 'a', { input: { two: [2] }, ...unknown }),
      shows('a', 'one'),
      shows('a', { two: [2] }, 'stale'),
      event('get', 'a', { output: { result: 'ok', found: false } }),
    ];
    expect(inventedValues(history)).toEqual([]);
  });

  it('is a breach by its key if nobody wrote it, at any level, once for a key', () => {
    const history = [
      event('put', 'a', { input: 'one' }),
      event('put', 'b', { input: 'ond' }),
      shows('a', 'ond', 'stale'),
      shows('a', 'xne'),
    ];
    expect(inventedValues(history)).toEqual([
      { guarantee: 'G8', key: 'a', text: '"ond" was read, which nobody wrote' },
    ]);
  });

  it('is no breach of counters, nor of keys whose writers keep no record', () => {
    const history = [event('increment', 'c', { input: 1 }), shows('c', 7), shows('long value', 'xxx')];
    expect(inventedValues(history)).toEqual([]);
  });
});

describe('losses at leader', () => {
  const split = { family: 'links', destroys: false };

  it('are counted by nodes, or a breach', () => {
    expect(uncountedLosses({ lost: [], counted: 0 }, [split])).toEqual([]);
    expect(uncountedLosses({ lost: ['e1', 'e2'], counted: 2 }, [split])).toEqual([]);
    expect(uncountedLosses({ lost: ['e1', 'e2'], counted: 1 }, [split])).toEqual([
      {
        guarantee: 'G3',
        key: 'e1',
        text: '2 writes acknowledged at leader are gone, and nodes have counted 1',
      },
    ]);
  });

  it('cannot be counted by who has lost its log', () => {
    for (const fault of [
      { family: 'disk', destroys: true },
      { family: 'disk', destroys: false },
    ])
      expect(uncountedLosses({ lost: ['e1'], counted: 0 }, [split, fault])).toEqual([]);
  });
});

describe('while the router is away', () => {
  const partitions = 2;
  const keyOf = (partition: number): string => {
    for (let number = 0; ; number += 1)
      if (partitionOf(Buffer.from(`k${number}`), partitions) === partition) return `k${number}`;
  };
  /** An operation of a direct client at some second, answered after some more. */
  const asked = (partition: number, at: number, forSeconds: number): HistoryEvent =>
    event('get', keyOf(partition), { call: at * SECOND, return: (at + forSeconds) * SECOND });
  const facts = (history: HistoryEvent[], more: Partial<RouterlessFacts> = {}): RouterlessFacts => ({
    windows: [{ from: 10 * SECOND, to: 14 * SECOND }],
    history,
    direct: new Set(['d']),
    partitions,
    leaderChanges: [],
    ...more,
  });

  it('a partition that answers some of what it is asked is there', () => {
    const history = [asked(0, 10.6, 5), asked(0, 11.2, 0.1), asked(1, 11, 1)];
    expect(unansweredWithoutRouter(facts(history))).toEqual([]);
  });

  it('one that answers nothing is a breach, by a key that was asked for', () => {
    // Answers from before the router was gone, and from after its return, are none.
    const history = [asked(0, 9.9, 0.2), asked(0, 10.1, 9), asked(0, 11, 3), asked(1, 10.8, 0.1)];
    expect(unansweredWithoutRouter(facts(history))).toEqual([
      {
        guarantee: 'G10',
        key: keyOf(0),
        text: '2 operations of direct clients on partition 0 have no answer without a router',
      },
    ]);
  });

  it.each([
    ['of clients that go through it', { direct: new Set(['other']) }],
    ['when it was away too shortly', { windows: [{ from: 10 * SECOND, to: 12 * SECOND }] }],
    ['of a leadership that was being handed over', { leaderChanges: [{ at: 15 * SECOND, partition: 0 }] }],
  ])('nothing is demanded %s', (_, more) => {
    expect(unansweredWithoutRouter(facts([asked(0, 10.7, 5)], more))).toEqual([]);
  });
});

it('memory beyond its bound is a breach, where it can be seen', () => {
  expect(boundlessMemory(2 ** 30, 2 ** 30)).toEqual([]);
  expect(boundlessMemory(null, 2 ** 30)).toEqual([]);
  expect(boundlessMemory(2 ** 31, 2 ** 30)).toEqual([
    { guarantee: 'G9', key: null, text: 'a process has taken 2048 MiB, more than 1024 MiB' },
  ]);
});
