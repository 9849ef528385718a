import { describe, expect, it } from 'vitest';
import { RingkeepError } from '../common/errors.ts';
import { unreachable } from './common-options.ts';

const URL = 'ringkeep://127.0.0.1:7500';

describe('unreachable', () => {
  it('tells what is wrong at the address, however deep it is, and what to do', () => {
    const node = new RingkeepError('UNAVAILABLE', '127.0.0.1:7500 is a node, not a router');
    const waited = new RingkeepError('UNAVAILABLE', node.message, 'not_applied', { cause: node });
    for (const error of [node, waited]) {
      const told = unreachable(URL, error);
      expect(told).toMatchObject({ code: 'UNAVAILABLE', outcome: 'not_applied', cause: error });
      expect(told.message).toBe(
        `UNAVAILABLE: no cluster answers at ${URL}: 127.0.0.1:7500 is a node, not a router; ` +
          'start one with `ringkeep up`, or name it with --url',
      );
    }
  });

  it('leaves errors alone that say that somebody answered', () => {
    const error = new RingkeepError('WRONG_CLUSTER', 'it belongs to another cluster');
    expect(unreachable(URL, error)).toBe(error);
  });
});
