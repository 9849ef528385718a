import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ERROR_CODES, type ErrorCode, RingkeepError } from './errors.ts';
import { fromFailure, toFailure } from './failure.ts';
import type { Failure } from './wire/messages.ts';

describe('failures', () => {
  it('carry every code, outcome and detail there and back', () => {
    const codes = fc.constantFrom(...(Object.keys(ERROR_CODES) as ErrorCode[]));
    const outcomes = fc.constantFrom('applied' as const, 'not_applied' as const, 'unknown' as const);
    const positive = fc.integer({ min: 1 });
    const details = fc.record(
      { retryAfterMs: positive, leader: fc.string({ minLength: 1 }), epoch: positive, logTime: positive },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(codes, fc.string(), outcomes, details, (code, message, outcome, given) => {
        const error = new RingkeepError(code, message, outcome, given);
        const back = fromFailure(toFailure(error));
        expect(back).toMatchObject({ code, message: error.message, outcome });
        for (const name of ['retryAfterMs', 'leader', 'epoch', 'logTime'] as const) {
          expect(back[name]).toBe(given[name]);
        }
      }),
    );
  });

  it('tell partition 0 together with an epoch or a leader only', () => {
    const located = new RingkeepError('NOT_LEADER', 'x', 'not_applied', { partition: 0, leader: 'n' });
    expect(fromFailure(toFailure(located)).partition).toBe(0);
    expect(fromFailure(toFailure(new RingkeepError('OVERLOADED', 'x'))).partition).toBeUndefined();
  });

  it('withhold what is not an operating error', () => {
    const failure = toFailure(new TypeError('secret path'));
    expect(failure).toMatchObject({ code: 'INTERNAL', outcome: 'unknown' });
    expect(failure.message).not.toContain('secret');
  });

  it('keep the name of a code of a newer version, as INTERNAL with outcome unknown', () => {
    const base = toFailure(new RingkeepError('INTERNAL', 'm'));
    const newer = { ...base, code: 'TOO_HOT', outcome: 'perhaps' as Failure['outcome'] };
    const error = fromFailure(newer);
    expect(error).toMatchObject({ code: 'INTERNAL', outcome: 'unknown' });
    expect(error.message).toContain('TOO_HOT');
  });
});
