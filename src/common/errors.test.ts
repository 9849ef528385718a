import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { AssertionError, assert, ERROR_CODES, RingkeepError } from './errors.ts';

/** Rows of the table under "## Codes" of docs/ERRORS.md: code → meaning. */
function documentedCodes(): Map<string, string> {
  const text = readFileSync(new URL('../../docs/ERRORS.md', import.meta.url), 'utf8');
  const section = text.split('\n## Codes\n')[1]?.split('\n## ')[0] ?? '';
  const rows = section.matchAll(/^\| `([A-Z_]+)` \| (.*?) \| .*\|$/gm);
  return new Map([...rows].map(([, code, meaning]) => [code!, meaning!]));
}

describe('docs/ERRORS.md', () => {
  it('lists every code with its meaning, in the order of the table in the code, and no other', () => {
    expect([...documentedCodes()]).toEqual(Object.entries(ERROR_CODES));
  });
});

describe('RingkeepError', () => {
  it('carries code, outcome and details, and repeats the code in its text', () => {
    const cause = new Error('below');
    const details = { retryAfterMs: 5, leader: 'n2', partition: 3, epoch: 4, logTime: 6, cause };
    const error = new RingkeepError('OVERLOADED', 'too much', 'unknown', details);
    expect(error).toMatchObject({
      code: 'OVERLOADED',
      outcome: 'unknown',
      name: 'RingkeepError',
      ...details,
    });
    expect(error.message).toBe('OVERLOADED: too much');
  });

  it('is not_applied, without a cause, unless it says otherwise', () => {
    const error = new RingkeepError('CLOSED', 'over');
    expect(error.outcome).toBe('not_applied');
    expect(error.retryAfterMs).toBeUndefined();
    expect('cause' in error).toBe(false);
  });
});

describe('assert', () => {
  it('throws an AssertionError on a broken invariant, and lets a kept one pass', () => {
    expect(() => assert(1 > 2, 'one is less than two')).toThrow(AssertionError);
    expect(() => assert(1 > 2, 'one is less than two')).toThrow('assertion failed: one is less than two');
    expect(() => assert(2 > 1, 'two is more than one')).not.toThrow();
  });
});
