import { describe, expect, it } from 'vitest';
import { IDENTITY } from '../../../test/support/wire.ts';
import { PROTOCOL_MAX, PROTOCOL_MIN } from '../limits.ts';
import { answerHello, makeHello, refuseOlder, refuseWelcome } from './handshake.ts';
import type { Hello, Welcome } from './messages.ts';

const BOTH = [
  ['a present build', PROTOCOL_MAX],
  ['one that speaks at most 1', 1],
] as const;

function greet(hello: Hello, protocolMax?: number): Welcome {
  return answerHello(hello, { ...IDENTITY, ...(protocolMax === undefined ? {} : { protocolMax }) });
}

describe('the protocol version', () => {
  it('is offered from the lowest to the highest of the build, or as far as was told', () => {
    expect(makeHello({ role: 'client' })).toMatchObject({
      protocolMin: PROTOCOL_MIN,
      protocolMax: PROTOCOL_MAX,
    });
    expect(makeHello({ role: 'node', protocolMax: 1 })).toMatchObject({ protocolMin: 1, protocolMax: 1 });
  });

  for (const [caller, offered] of BOTH) {
    for (const [server, spoken] of BOTH) {
      it(`between ${caller}, calling, and ${server} is the highest that both speak`, () => {
        const hello = makeHello({ role: 'node', nodeId: 'node-2', protocolMax: offered });
        const welcome = greet(hello, spoken);
        expect(welcome.protocol).toBe(Math.min(offered, spoken));
        expect(refuseWelcome(welcome, hello)).toBeUndefined();
      });
    }
  }

  it('is the own one towards a caller that speaks later ones too', () => {
    expect(greet(makeHello({ role: 'client', protocolMax: PROTOCOL_MAX + 3 })).protocol).toBe(PROTOCOL_MAX);
  });

  it('is none if the caller has left the versions behind that are spoken here', () => {
    const hello = makeHello({ role: 'client', protocolMin: 2, protocolMax: 3 });
    expect(greet(hello).protocol).toBe(PROTOCOL_MAX);
    expect(() => greet(hello, 1)).toThrow(
      expect.objectContaining({
        code: 'VERSION_MISMATCH',
        message: expect.stringContaining('the caller speaks protocol 2 to 3, this node 1 to 1'),
      }),
    );
  });

  it('is refused by the caller if it was not offered', () => {
    const hello = makeHello({ role: 'client', protocolMax: 1 });
    const welcome = { ...greet(hello), protocol: 2 };
    expect(refuseWelcome(welcome, hello)).toMatchObject({ code: 'VERSION_MISMATCH', outcome: 'not_applied' });
  });

  it('is named where it knows nothing of what was asked for', () => {
    expect(refuseOlder(1, 2, IDENTITY)).toMatchObject({
      code: 'VERSION_MISMATCH',
      message: expect.stringMatching(/node node-1 .* protocol 1 .* part of 2$/),
    });
  });
});
