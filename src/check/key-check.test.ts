import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { del, delIf, get, increment, lostIncrement, open, put, putIf } from '../../test/support/histories.ts';
import type { HistoryEvent } from '../common/history.ts';
import { isLinearizable } from './brute-force.ts';
import { parseEvent } from './history-file.ts';
import { checkKey, type KeyReport } from './key-check.ts';
import { SEARCH_LIMITS } from './search.ts';

function check(events: readonly HistoryEvent[]): KeyReport {
  const now = () => performance.now();
  return checkKey(events, { ...SEARCH_LIMITS, now, deadline: now() + 20_000, minimizeMs: 5_000 });
}

const UNKNOWN = { result: 'unknown' } as const;
const NOT_APPLIED = { result: 'not_applied' } as const;

const LEGAL: Readonly<Record<string, HistoryEvent[]>> = {
  'one client, one thing after the other': [
    put('a', 'x', [0, 1], { version: 3 }),
    get('a', 'x', [2, 3], 3),
    del('a', [4, 5], { version: 7 }),
    get('a', undefined, [6, 7]),
  ],
  'a read during a write may show either side of it': [
    put('a', 1, [0, 1]),
    put('a', 2, [2, 10]),
    get('b', 1, [3, 4]),
    get('c', 2, [5, 6]),
    get('b', 2, [7, 8]),
  ],
  'a return and a call at the same time overlap': [
    put('a', 1, [0, 5]),
    put('b', 2, [5, 9]),
    get('c', 1, [10, 11]),
  ],
  'an unknown write that shows up late': [
    put('a', 1, [0, 1]),
    put('b', 2, [2, 3], UNKNOWN),
    get('c', 1, [10, 11]),
    get('c', 1, [20, 21]),
    get('c', 2, [30, 31]),
  ],
  'an unknown write that never shows up': [
    put('a', 1, [0, 1]),
    open('b', 'put', 2, 2),
    get('c', 1, [10, 11]),
  ],
  'an unknown delete that takes effect between two reads': [
    put('a', 1, [0, 1]),
    open('b', 'delete', undefined, 2),
    get('c', 1, [10, 11]),
    get('c', undefined, [12, 13]),
  ],
  'a value that comes back because it was written again': [
    put('a', 1, [0, 1], { version: 1 }),
    put('a', 2, [2, 3], { version: 2 }),
    put('a', 1, [4, 5], { version: 3 }),
    get('b', 1, [6, 7], 3),
  ],
  'a write acknowledged by the leader only, and lost': [
    put('a', 1, [0, 1], { version: 1, durability: 'quorum' }),
    put('a', 2, [2, 3], { version: 2, durability: 'leader' }),
    get('b', 1, [4, 5], 1),
    put('b', 3, [6, 7], { version: 2, durability: 'quorum' }),
  ],
  'a write acknowledged by the leader only, and kept': [
    put('a', 2, [0, 1], { version: 2, durability: 'leader' }),
    get('b', 2, [4, 5], 2),
  ],
  'a failed read says nothing': [
    put('a', 1, [0, 1]),
    { ...get('b', 'x', [2, 3]), output: NOT_APPLIED },
    get('b', 1, [4, 5]),
  ],
  'a read at a weaker level may be stale': [
    put('a', 1, [0, 1]),
    put('a', 2, [2, 3]),
    { ...get('b', 1, [4, 5]), level: 'stale' },
    { ...get('b', undefined, [6, 7]), level: 'session' },
  ],
  'conditions that hold and that fail': [
    putIf('a', 1, { ifAbsent: true }, [0, 1], { version: 4 }),
    putIf('b', 2, { ifAbsent: true }, [2, 3], { applied: false, version: 4 }),
    putIf('b', 2, { ifVersion: 4 }, [4, 5], { version: 6 }),
    putIf('a', 3, { ifVersion: 4 }, [6, 7], { applied: false, version: 6 }),
    delIf('a', { ifExists: true }, [8, 9], { version: 8 }),
    delIf('a', { ifExists: true }, [10, 11], { applied: false, version: 0 }),
    get('a', undefined, [12, 13]),
  ],
  'an unknown conditional write explains why a later condition failed': [
    { ...putIf('a', 1, { ifAbsent: true }, [0, 1]), output: UNKNOWN },
    putIf('b', 2, { ifAbsent: true }, [2, 3], { applied: false, version: 9 }),
    get('b', 1, [4, 5], 9),
  ],
  'a counter under concurrent increments': [
    increment('a', 1, 2, [0, 10]),
    increment('b', 1, 1, [0, 10]),
    increment('a', 5, 7, [11, 12]),
    get('b', 7, [13, 14]),
  ],
  'an unknown increment that counts late': [
    increment('a', 1, 1, [0, 1]),
    lostIncrement('b', 10, [2, 3], UNKNOWN),
    get('a', 1, [4, 5]),
    increment('a', 1, 12, [6, 7]),
  ],
  'of unknown increments with the same sum, the ones that are left matter': [
    lostIncrement('a', 1, [0, 1], UNKNOWN),
    lostIncrement('a', 2, [0, 1], UNKNOWN),
    lostIncrement('a', 3, [0, 1], UNKNOWN),
    get('b', 3, [2, 3], 9),
    get('b', 4, [4, 5]),
  ],
  'a counter starts again after a delete': [
    increment('a', 4, 4, [0, 1]),
    del('a', [2, 3]),
    get('a', undefined, [4, 5]),
    increment('a', 4, 4, [6, 7]),
  ],
  'an increment that was refused changes nothing': [
    put('a', 'text', [0, 1]),
    lostIncrement('b', 1, [2, 3], { result: 'not_applied', code: 'NOT_A_COUNTER' }),
    get('b', 'text', [4, 5]),
  ],
  'a write that is applied, though it missed its level': [
    put('a', 1, [0, 1], { result: 'applied', code: 'ACK_NOT_REACHED' }),
    get('b', 1, [2, 3]),
  ],
  'a version told by a read leaves room for an unknown write before it': [
    put('a', 1, [0, 1], { version: 5 }),
    open('b', 'put', 2, 2),
    put('a', 3, [3, 4], { version: 7 }),
    get('c', 3, [5, 6], 7),
  ],
};

/** A history, and how many of its operations are enough to show that it is illegal. */
const ILLEGAL: Readonly<Record<string, readonly [enough: number, events: HistoryEvent[]]>> = {
  'a stale read': [3, [put('a', 1, [0, 1]), get('b', 1, [2, 3]), put('a', 2, [4, 5]), get('b', 1, [6, 7])]],
  'a read that misses an acknowledged write': [2, [put('a', 1, [0, 1]), get('b', undefined, [2, 3])]],
  'a lost update: two writers both replace the same version': [
    3,
    [
      put('a', 0, [0, 1], { version: 1 }),
      putIf('a', 1, { ifVersion: 1 }, [2, 5], { version: 2 }),
      putIf('b', 2, { ifVersion: 1 }, [2, 5], { version: 3 }),
    ],
  ],
  'a dirty read: a value whose put was told not_applied': [
    2,
    [put('a', 1, [0, 1]), put('b', 2, [2, 3], NOT_APPLIED), get('c', 2, [4, 5])],
  ],
  'reads that go back': [
    4,
    [put('a', 1, [0, 1]), put('a', 2, [2, 20]), get('b', 2, [3, 4]), get('c', 1, [5, 6])],
  ],
  'an increment that counts twice': [2, [increment('a', 1, 1, [0, 1]), get('b', 2, [2, 3])]],
  'an increment that counts twice, after many others': [
    2,
    [
      ...Array.from({ length: 20 }, (_, n) => increment('a', 1, n + 1, [10 * n, 10 * n + 5])),
      increment('b', 1, 22, [300, 301]),
    ],
  ],
  'an unknown increment that counts twice': [
    3,
    [
      increment('a', 1, 1, [0, 1]),
      lostIncrement('b', 10, [2, 3], UNKNOWN),
      get('a', 11, [4, 5]),
      get('a', 21, [6, 7]),
    ],
  ],
  'two increments with the same answer': [2, [increment('a', 1, 1, [0, 5]), increment('b', 1, 1, [0, 5])]],
  'a read from the future': [1, [get('b', 1, [0, 1]), put('a', 1, [2, 3])]],
  'a value that nobody wrote': [1, [put('a', 1, [0, 1]), get('b', 9, [2, 3])]],
  'an unknown write that shows up and vanishes': [
    4,
    [put('a', 1, [0, 1]), put('b', 2, [2, 3], UNKNOWN), get('c', 2, [4, 5]), get('c', 1, [6, 7])],
  ],
  'deleted data that comes back': [
    3,
    [put('a', 1, [0, 1]), del('a', [2, 3]), get('b', undefined, [4, 5]), get('b', 1, [6, 7])],
  ],
  'a delete that does nothing': [3, [put('a', 1, [0, 1]), del('a', [2, 3]), get('b', 1, [4, 5])]],
  'ifAbsent holds on a key that is there': [
    2,
    [put('a', 1, [0, 1]), putIf('b', 2, { ifAbsent: true }, [2, 3]), get('b', 2, [4, 5])],
  ],
  'ifAbsent holds twice': [
    2,
    [putIf('a', 1, { ifAbsent: true }, [0, 5]), putIf('b', 2, { ifAbsent: true }, [0, 5])],
  ],
  'a condition fails with a version that is not there': [
    2,
    [
      put('a', 1, [0, 1], { version: 4 }),
      putIf('b', 2, { ifAbsent: true }, [2, 3], { applied: false, version: 5 }),
    ],
  ],
  'ifExists fails on a key that is there': [
    2,
    [put('a', 1, [0, 1]), delIf('b', { ifExists: true }, [2, 3], { applied: false, version: 0 })],
  ],
  'one version with two values': [
    4,
    [put('a', 1, [0, 9]), put('b', 2, [0, 9]), get('c', 1, [10, 30], 5), get('d', 2, [10, 30], 5)],
  ],
  'versions that fall': [2, [put('a', 1, [0, 1], { version: 5 }), put('a', 2, [2, 3], { version: 4 })]],
  'no room for a version between its neighbours': [
    3,
    [
      put('a', 1, [0, 1], { version: 5 }),
      put('a', 2, [2, 3]),
      put('a', 3, [4, 5], { version: 6 }),
      get('a', 3, [6, 7]),
    ],
  ],
  'a write that was told to be applied, and is not there': [
    3,
    [
      put('a', 1, [0, 1]),
      put('a', 2, [2, 3], { result: 'applied', code: 'ACK_NOT_REACHED' }),
      get('b', 1, [4, 5]),
    ],
  ],
  'a quorum read is not excused from order': [
    2,
    [put('a', 1, [0, 1]), { ...get('b', undefined, [2, 3]), level: 'quorum' }],
  ],
  'a leader write that was read, and lost': [
    3,
    [
      put('a', 1, [0, 1], { durability: 'leader', version: 1 }),
      get('b', 1, [2, 3]),
      get('b', undefined, [4, 5]),
    ],
  ],
};

describe('checkKey', () => {
  it.each(Object.entries(LEGAL))('takes for legal: %s', (_, events) => {
    expect(check(events)).toMatchObject({ result: 'ok', operations: events.length });
    expect(isLinearizable(events)).toBe(true);
  });

  it.each(Object.entries(ILLEGAL))('takes for illegal: %s', (_, [enough, events]) => {
    const { result, illegal } = check(events);
    expect(result).toBe('illegal');
    // A dozen is the most that can be tried in all orders.
    if (events.length < 12) expect(isLinearizable(events)).toBe(false);
    const small = illegal!.events;
    expect(
      small.map((event) => JSON.stringify(event)),
      illegal!.reason,
    ).toHaveLength(enough);
    expect(check(small).result, 'what is reported is illegal by itself').toBe('illegal');
    expect(illegal!.stuck).toBeGreaterThanOrEqual(0);
    expect(illegal!.order).not.toContain(illegal!.stuck);
  });

  it('names the write that was said not to be applied, and is read', () => {
    const { illegal } = check(ILLEGAL['a dirty read: a value whose put was told not_applied']![1]);
    expect(illegal!.events.map(({ client, op }) => `${client} ${op}`)).toEqual(['b put', 'c get']);
    expect(illegal!.reason).toBe('get by c shows a value whose put was told not_applied');
  });

  it('gets stuck at the answer that does not fit', () => {
    const { illegal } = check(ILLEGAL['a stale read']![1]);
    expect(illegal!.events.map(({ op }) => op)).toEqual(['put', 'put', 'get']);
    expect(illegal).toMatchObject({
      order: [0, 1],
      stuck: 2,
      reason: 'no order explains the answer to get by b',
    });
  });

  it('holds no version against a counter that is salted and unsalted', () => {
    const add = (times: [number, number]) => ({
      ...lostIncrement('a', 1, times, { result: 'ok', durability: 'quorum' }),
      spread: true as const,
    });
    const salted = [
      add([0, 1]),
      get('b', 1, [2, 3], 4),
      // Written anew as it is, twice.
      get('b', 1, [4, 5], 7),
      add([6, 7]),
      get('b', 2, [8, 9], 7),
      putIf('b', 9, { ifVersion: 7 }, [10, 11], { applied: false, version: 8 }),
      get('b', 2, [12, 13], 8),
      delIf('b', { ifVersion: 8 }, [14, 15], { version: 9 }),
      delIf('b', { ifExists: true }, [16, 17], { applied: false, version: 0 }),
    ];
    expect(check(salted).result).toBe('ok');
    expect(check(salted.map(({ spread: _, ...event }) => event)).result).toBe('illegal');
    expect(check([...salted.slice(0, 5), get('b', 1, [12, 13], 8)]).result).toBe('illegal');
  });

  it('is unknown, never a pass, when it runs out of time or steps', () => {
    const events = LEGAL['a read during a write may show either side of it']!;
    const now = () => 5;
    const limits = { ...SEARCH_LIMITS, now, deadline: 100, minimizeMs: 0 };
    expect(checkKey(events, { ...limits, deadline: 5 })).toMatchObject({ result: 'unknown', steps: 0 });
    const short = checkKey(events, { ...limits, stepsMax: 2 });
    expect(short).toMatchObject({ result: 'unknown', unknown: 'undecided after 3 steps' });
    expect(checkKey(events, limits).result).toBe('ok');
  });
});

describe('histories of the simulation that took millions of steps', () => {
  it.each([
    ['many conditions and writes that were never answered', 69935, 'conditions-and-open-writes'],
    ['many times to live', 1403, 'times-to-live'],
  ])('decides %s in a few steps per operation (seed %d)', (_, _seed, name) => {
    const path = new URL(`../../test/support/recorded/${name}.jsonl`, import.meta.url);
    const lines = readFileSync(path, 'utf8').trim().split('\n');
    const events = lines.map((line, at) => parseEvent(line, at + 1)!);
    const { result, steps } = check(events);
    expect(result).toBe('ok');
    expect(steps).toBeLessThan(4 * events.length);
  });
});
