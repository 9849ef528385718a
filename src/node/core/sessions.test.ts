import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { RequestId } from './entry.ts';
import { type SessionLimits, Sessions } from './sessions.ts';

const LIMITS: SessionLimits = { windowMs: 1_000, sequencesMax: 8, sessionsMax: 3 };
const id = (client: string, sequence: number, lowWater = 1, sessionTime = 100): RequestId => ({
  client: client.padEnd(16),
  sequence,
  lowWater,
  sessionTime,
});

describe('the deduplication table', () => {
  it('knows a request again, also out of order, until its low water passes', () => {
    const table = new Sessions(LIMITS);
    expect(table.lookup(id('a', 2), 150)).toEqual({ kind: 'new' });
    table.record(id('a', 2), 10, false, 150);
    table.record(id('a', 1), 11, true, 160);
    expect(table.lookup(id('a', 2), 170)).toEqual({ kind: 'seen', index: 10, stored: false });
    expect(table.lookup(id('a', 1), 170)).toEqual({ kind: 'seen', index: 11, stored: true });
    expect(table.record(id('a', 3, 3), 12, false, 180)).toEqual([1]);
    expect(table.lookup(id('a', 2), 190)).toEqual({ kind: 'expired' });
  });

  it('releases what the low water passes, however far it moves', () => {
    fc.assert(
      fc.property(
        fc.uniqueArray(fc.integer({ min: 1, max: 40 }), { minLength: 1, maxLength: 30 }),
        fc.integer({ min: 1, max: 60 }),
        (sequences, lowWater) => {
          const table = new Sessions({ ...LIMITS, sequencesMax: 100 });
          for (const sequence of sequences)
            table.record(id('a', sequence), sequence, sequence % 2 === 1, 150);
          const released = table.record(id('a', 61, lowWater), 61, false, 160);
          const stored = sequences.filter((sequence) => sequence < lowWater && sequence % 2 === 1);
          expect(released.toSorted((a, b) => a - b)).toEqual(stored.toSorted((a, b) => a - b));
          const kept = sequences.filter((sequence) => sequence >= lowWater).length + 1;
          expect(table.requests).toBe(kept);
          expect(Sessions.decode(table.encode(61), LIMITS).sessions.requests).toBe(kept);
          for (const sequence of sequences) {
            const { kind } = table.lookup(id('a', sequence, lowWater), 170);
            expect(kind).toBe(sequence < lowWater ? 'expired' : 'seen');
          }
        },
      ),
    );
  });

  it('opens a session only with a session time of less than one window ago', () => {
    const table = new Sessions(LIMITS);
    expect(table.lookup(id('a', 1, 1, 0), 100)).toEqual({ kind: 'unknown' });
    expect(table.lookup(id('a', 1, 1, 100), 1_100)).toEqual({ kind: 'new' });
    expect(table.lookup(id('a', 1, 1, 100), 1_101)).toEqual({ kind: 'expired' });
  });

  it('refuses a session beyond the bound and a sequence beyond the window', () => {
    const table = new Sessions(LIMITS);
    for (const client of ['a', 'b', 'c']) table.record(id(client, 1), 1, false, 100);
    expect(table.lookup(id('d', 1), 100)).toEqual({ kind: 'full' });
    expect(table.lookup(id('a', 17, 1), 100)).toEqual({ kind: 'expired' });
    expect(table.lookup(id('a', 17, 2), 100)).toEqual({ kind: 'new' });
  });

  it('never lets a request take effect twice, however late a retry comes', () => {
    // Log times only grow; an attempt's session time is the time of an entry that was committed before it was sent.
    const step = fc.record({
      client: fc.constantFrom('a', 'b'),
      sequence: fc.integer({ min: 1, max: 6 }),
      wait: fc.nat(900),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const table = new Sessions(LIMITS);
        const pinned = new Map<string, number>();
        const effects = new Set<string>();
        let now = 1;
        for (const [index, { client, sequence, wait }] of steps.entries()) {
          const name = `${client}${sequence}`;
          if (!pinned.has(name)) pinned.set(name, now);
          now += wait;
          const request = id(client, sequence, 1, pinned.get(name)!);
          if (table.lookup(request, now).kind === 'new') {
            expect(effects.has(name), `${name} at ${now}`).toBe(false);
            effects.add(name);
            table.record(request, index + 1, false, now);
          }
          table.expire(now - LIMITS.windowMs - 1);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('comes back from its encoding with the same answers', () => {
    const table = new Sessions(LIMITS);
    table.record(id('a', 5, 2), 40, true, 300);
    table.record(id('b', 1), 41, false, 310);
    const { sessions, index } = Sessions.decode(table.encode(41), LIMITS);
    expect(index).toBe(41);
    for (const request of [id('a', 5, 2), id('a', 1), id('a', 3), id('b', 1), id('c', 1)]) {
      expect(sessions.lookup(request, 320)).toEqual(table.lookup(request, 320));
    }
    expect(sessions.expire(305)).toEqual([{ client: 'a'.padEnd(16), sequence: 5 }]);
    expect(sessions.size).toBe(1);
  });
});
