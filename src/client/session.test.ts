import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RingkeepError } from '../common/errors.ts';
import { SESSION_MARKS_MAX } from '../common/limits.ts';
import type { Receipt, Value } from '../common/wire/messages.ts';
import { Session } from './session.ts';

function receipt(
  partition: number,
  index: number,
  epoch: number,
  durability: Receipt['durability'],
): Receipt {
  const rest = { logTime: 1, duplicate: false, counter: 0, conditionFailed: false };
  return { partition, index, version: index, epoch, durability, ...rest, items: [], repeated: false };
}

function value(partition: number, seenIndex: number): Value {
  const rest = { value: Buffer.alloc(0), codec: 1, version: 1, epoch: 1, expiresAt: 0, stalenessMs: 0 };
  return { found: true, partition, seenIndex, ...rest };
}

describe('a session', () => {
  it('asks for the newest of what it has written and read, by partition', () => {
    const session = new Session();
    session.wrote(receipt(2, 10, 1, 'quorum'));
    session.wrote(receipt(2, 7, 1, 'all'));
    session.read(value(3, 5), null);
    expect(session.get(2)).toMatchObject({ level: 'READ_SESSION', sessionIndex: 10, early: [] });
    expect(session.get(3).sessionIndex).toBe(5);
    expect(session.get(4).sessionIndex).toBe(0);
  });

  it('asks for early writes by their epoch, until it was shown a state with them', () => {
    const session = new Session();
    session.wrote(receipt(1, 10, 4, 'leader'));
    session.wrote(receipt(1, 12, 4, 'leader'));
    session.wrote(receipt(1, 13, 5, 'leader'));
    const asked = session.get(1);
    expect(asked.early).toEqual([
      { index: 12, epoch: 4 },
      { index: 13, epoch: 5 },
    ]);
    // Another level has shown nothing of them.
    session.read(value(1, 20), null);
    expect(session.get(1)).toMatchObject({ sessionIndex: 20, early: asked.early });
    session.wrote(receipt(1, 21, 5, 'leader'));
    session.read(value(1, 22), asked);
    expect(session.get(1).early).toEqual([{ index: 21, epoch: 5 }]);
    session.wrote(receipt(1, 30, 6, 'leader'));
    const again = session.get(1);
    session.wrote(receipt(1, 31, 6, 'leader'));
    session.lost(1, 5, again);
    expect(session.get(1)).toMatchObject({ sessionIndex: 22, early: [{ index: 31, epoch: 6 }] });
    session.lost(1, 6, again);
    expect(session.get(1).early).toEqual([{ index: 31, epoch: 6 }]);
    session.wrote(receipt(1, 32, 6, 'quorum'));
    expect(session.get(1)).toMatchObject({ sessionIndex: 32, early: [] });
  });

  it('says when it was told of more than it can ask for', () => {
    const session = new Session();
    for (let epoch = 1; epoch <= SESSION_MARKS_MAX; epoch++)
      session.wrote(receipt(1, epoch, epoch, 'leader'));
    expect(session.hasForgotten(1)).toBe(false);
    session.wrote(receipt(1, 99, 99, 'leader'));
    expect(session.hasForgotten(1)).toBe(true);
    expect(Session.from(session.token).hasForgotten(1)).toBe(true);
    session.lost(1, 0, null);
    expect(session.hasForgotten(1)).toBe(false);
  });

  it('asks for a write that is in effect though not acknowledged, and no more for what is not there', () => {
    const session = new Session();
    session.applied(1, 12);
    session.wrote(receipt(1, 20, 4, 'leader'));
    expect(session.get(1)).toMatchObject({ sessionIndex: 12, early: [{ index: 20, epoch: 4 }] });
    session.lost(1, 0, session.get(1));
    expect(session.get(1)).toMatchObject({ sessionIndex: 0, early: [{ index: 20, epoch: 4 }] });
  });

  it('goes on elsewhere by its token', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(4_095), fc.nat(2 ** 40), fc.nat(99), fc.constantFrom('leader', 'quorum'))),
        (writes) => {
          const session = new Session();
          for (const [partition, index, epoch, durability] of writes)
            session.wrote(receipt(partition, index, epoch, durability as 'leader'));
          expect(session.token).toMatch(/^[\w-]*$/);
          const copy = Session.from(session.token);
          for (const [partition] of writes) expect(copy.get(partition)).toEqual(session.get(partition));
        },
      ),
    );
  });

  it('has a token of some ten characters for each partition', () => {
    const session = new Session();
    for (let partition = 0; partition < 256; partition += 1)
      session.wrote(receipt(partition, 1_000_000 + partition, 1, 'quorum'));
    expect(session.token.length / 256).toBeGreaterThan(8);
    expect(session.token.length / 256).toBeLessThan(16);
  });

  it('is not made of anything else', () => {
    const texts = ['', 'x', '!!', 'AAAA', Buffer.from([0x92, 2, 0x90]).toString('base64url')];
    for (const text of texts) expect(() => Session.from(text), text).toThrow(RingkeepError);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 40 }), (bytes) => {
        try {
          Session.from(Buffer.from(bytes).toString('base64url'));
        } catch (error) {
          expect(error).toBeInstanceOf(RingkeepError);
        }
      }),
    );
  });
});
