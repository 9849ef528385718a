import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ERROR_CODES, type ErrorCode } from '../common/errors.ts';
import {
  attemptTimeMs,
  backoffDelayMs,
  RETRY_DEFAULTS,
  RetryBudget,
  type RetryOptions,
  retryClass,
} from './retry-policy.ts';

const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('retryClass', () => {
  it('never repeats what a repetition cannot cure', () => {
    const never: ErrorCode[] = [
      'INVALID_ARGUMENT',
      'KEY_TOO_LARGE',
      'VALUE_TOO_LARGE',
      'MESSAGE_TOO_LARGE',
      'VERSION_MISMATCH',
      'WRONG_CLUSTER',
      'DISK_FULL',
      'NOT_A_COUNTER',
      'COUNTER_OVERFLOW',
      'CONDITION_UNSUPPORTED',
      'SESSION_EXPIRED',
      'CLOSED',
      'INTERNAL',
    ];
    expect(never.map(retryClass)).toEqual(never.map(() => 'never'));
  });

  it('repeats what passes by itself, and knows a class for every code', () => {
    const later: ErrorCode[] = [
      'UNAVAILABLE',
      'NO_QUORUM',
      'OVERLOADED',
      'SHUTTING_DOWN',
      'NOT_READY',
      'DAMAGED',
      'ACK_NOT_REACHED',
    ];
    expect(later.map(retryClass)).toEqual(later.map(() => 'backoff'));
    expect(retryClass('NOT_LEADER')).toBe('redirect');
    for (const code of Object.keys(ERROR_CODES)) {
      expect(['redirect', 'backoff', 'never']).toContain(retryClass(code as ErrorCode));
    }
  });
});

describe('backoffDelayMs', () => {
  it('lies between retryAfterMs and that plus the bound, which doubles up to its maximum', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5_000 }), random, fc.nat(10_000), (failures, r, retryAfterMs) => {
        const delay = backoffDelayMs(RETRY_DEFAULTS, failures, r, retryAfterMs);
        const bound = Math.min(RETRY_DEFAULTS.backoffMsMax, RETRY_DEFAULTS.backoffMs * 2 ** (failures - 1));
        expect(delay).toBeGreaterThanOrEqual(retryAfterMs);
        expect(delay).toBeLessThanOrEqual(retryAfterMs + bound);
      }),
    );
  });

  it('uses the whole range: full jitter', () => {
    expect(backoffDelayMs(RETRY_DEFAULTS, 3, 0, 0)).toBe(0);
    expect(backoffDelayMs(RETRY_DEFAULTS, 3, 0.5, 0)).toBe(40);
  });
});

describe('attemptTimeMs', () => {
  it('is never longer than what is left and never shorter than the minimum if there is that much', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 300_000 }), fc.boolean(), (remainingMs, whole) => {
        const time = attemptTimeMs(RETRY_DEFAULTS, remainingMs, whole);
        expect(time).toBeLessThanOrEqual(remainingMs);
        expect(time).toBeGreaterThanOrEqual(Math.min(remainingMs, RETRY_DEFAULTS.attemptMsMin));
        if (whole) expect(time).toBe(remainingMs);
      }),
    );
  });
});

describe('RetryBudget', () => {
  it('never lets more retries be due than burst, rate and first attempts allow', () => {
    const options: RetryOptions = {
      ...RETRY_DEFAULTS,
      budgetBurst: 10,
      budgetPerSecond: 50,
      budgetRatio: 0.2,
    };
    const step = fc.record({ waitMs: fc.nat(200), firsts: fc.nat(20), retries: fc.nat(30) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => {
        const budget = new RetryBudget(options);
        let now = 0;
        let firsts = 0;
        const due: number[] = [];
        for (const { waitMs, firsts: more, retries } of steps) {
          now += waitMs;
          for (let i = 0; i < more; i += 1) budget.earn();
          firsts += more;
          for (let i = 0; i < retries; i += 1) due.push(now + budget.take(now));
        }
        due.sort((a, b) => a - b);
        due.forEach((time, index) => {
          const allowed = 10 + (time * 50) / 1_000 + firsts * 0.2;
          expect(index + 1).toBeLessThanOrEqual(allowed + 1e-6);
        });
      }),
    );
  });

  it('lets retries pass at once while tokens are left', () => {
    const budget = new RetryBudget({ ...RETRY_DEFAULTS, budgetBurst: 3, budgetPerSecond: 10 });
    expect([budget.take(0), budget.take(0), budget.take(0)]).toEqual([0, 0, 0]);
    expect(budget.take(0)).toBe(100);
  });
});
