import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { SESSION_SEQUENCES_MAX } from '../common/limits.ts';
import { PartitionSequences, type SessionPin } from './sequences.ts';

function write(fields: Partial<SessionPin> = {}): SessionPin {
  return { sequence: 1, sessionTime: 0, sessionGeneration: 0, maybeApplied: false, ...fields };
}

describe('PartitionSequences', () => {
  it('keeps the low water at the smallest unfinished sequence, and the window bounded', () => {
    const step = fc.oneof(
      { weight: 3, arbitrary: fc.constant('acquire' as const) },
      { weight: 2, arbitrary: fc.nat(1_000_000) },
    );
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
        const sequences = new PartitionSequences();
        const open: number[] = [];
        let last = 0;
        for (const choice of steps) {
          if (choice === 'acquire') {
            const sequence = sequences.acquire();
            expect(sequence).toBe(last + 1);
            last = sequence;
            open.push(sequence);
          } else if (open.length > 0) {
            sequences.end(open.splice(choice % open.length, 1)[0]!);
          }
          expect(sequences.unfinished).toBe(open.length);
          expect(sequences.lowWater).toBe(open.length === 0 ? last + 1 : Math.min(...open));
        }
      }),
    );
  });

  it('gives out no more than half the window unfinished, and no more than the window in all', () => {
    const sequences = new PartitionSequences();
    for (let i = 1; i <= SESSION_SEQUENCES_MAX / 2; i += 1) expect(sequences.acquire()).toBe(i);
    expect(sequences.acquire()).toBe(0);
    // The first one stays unfinished: the others may go on only to the end of the window.
    let given = SESSION_SEQUENCES_MAX / 2;
    for (let i = 2; i <= given; i += 1) {
      sequences.end(i);
      if (sequences.acquire() !== 0) given += 1;
    }
    expect(given).toBe(SESSION_SEQUENCES_MAX);
    expect(sequences.available).toBe(false);
    sequences.end(1);
    expect(sequences.lowWater).toBe(SESSION_SEQUENCES_MAX + 1);
    expect(sequences.acquire()).toBe(SESSION_SEQUENCES_MAX + 1);
  });

  it('refuses to end a sequence twice', () => {
    const sequences = new PartitionSequences();
    const first = sequences.acquire();
    sequences.acquire();
    sequences.end(first + 1);
    expect(() => sequences.end(first + 1)).toThrow(/once/);
    sequences.end(first);
    expect(() => sequences.end(first)).toThrow(/once/);
  });

  it('pins the newest log time for a new write, and leaves it pinned', () => {
    const sequences = new PartitionSequences();
    sequences.observe(50);
    sequences.observe(70);
    sequences.observe(60);
    const pinned = write();
    expect(sequences.pin(pinned)).toBe(true);
    expect(pinned.sessionTime).toBe(70);
    sequences.observe(90);
    expect(sequences.pin(pinned)).toBe(true);
    expect(pinned.sessionTime).toBe(70);
  });

  it('pins the oldest time of the session for a write that was lost without one', () => {
    const sequences = new PartitionSequences();
    const lost = write();
    sequences.pin(lost);
    expect(lost.sessionTime).toBe(0);
    lost.maybeApplied = true;
    sequences.observe(50);
    sequences.observe(80);
    expect(sequences.pin(lost)).toBe(true);
    expect(lost.sessionTime).toBe(50);
  });

  it('finds no safe time for such a write once the session was refused as too old', () => {
    const sequences = new PartitionSequences();
    const lost = write();
    sequences.pin(lost);
    lost.maybeApplied = true;
    sequences.observe(50);
    sequences.forget(50);
    sequences.observe(900);
    expect(sequences.pin(lost)).toBe(false);
  });

  it('forgets a refused time, but not a newer one', () => {
    const sequences = new PartitionSequences();
    sequences.observe(50);
    sequences.forget(40);
    expect(sequences.logTime).toBe(50);
    sequences.forget(50);
    expect(sequences.logTime).toBe(0);
  });
});
