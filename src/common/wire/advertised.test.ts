import { describe, expect, it } from 'vitest';
import { RingkeepError } from '../errors.ts';
import { advertisedLoopback, checkOwnAddresses, isWildcard, type OwnAddresses } from './advertised.ts';

function refusal(own: OwnAddresses, told = true): string {
  try {
    checkOwnAddresses(own, told);
    return '';
  } catch (error) {
    return error instanceof RingkeepError ? error.message : String(error);
  }
}

const everywhere = { listen: '0.0.0.0:7401', insecure: true };

describe('isWildcard', () => {
  it('knows the wildcards of both families, however they are written', () => {
    for (const host of ['0.0.0.0', '::', '0:0:0:0:0:0:0:0', '::ffff:0.0.0.0', '::0'])
      expect(isWildcard(host), host).toBe(true);
    for (const host of ['127.0.0.1', '10.0.0.0', '::1', 'n1', 'localhost', '::ffff:10.0.0.1'])
      expect(isWildcard(host), host).toBe(false);
  });
});

describe('checkOwnAddresses', () => {
  it('takes addresses that others can use', () => {
    expect(refusal({ listen: '127.0.0.1:0' })).toBe('');
    expect(refusal({ ...everywhere, advertise: 'n1:7401' })).toBe('');
    expect(refusal({ ...everywhere, advertise: 'n1:7401', advertiseClient: '127.0.0.1:7401' })).toBe('');
  });

  it('refuses to tell anybody a wildcard, whoever it is meant for', () => {
    expect(refusal({ ...everywhere, advertise: '0.0.0.0:7401' })).toContain('--advertise 0.0.0.0:7401');
    expect(refusal({ ...everywhere, advertise: 'n1:7401', advertiseClient: '[::]:7401' })).toContain(
      '--advertise-client [::]:7401',
    );
  });

  it('wants an advertised address of who listens on a wildcard, if others are told', () => {
    expect(refusal(everywhere)).toContain('say --advertise HOST:PORT');
    expect(refusal({ listen: '[::]:0', insecure: true })).toContain('--listen [::]:0 is a wildcard');
    expect(refusal(everywhere, false)).toBe('');
  });

  it('refuses what is no address, and what is open to others without being said so', () => {
    expect(refusal({ ...everywhere, advertise: 'n1' })).toContain('INVALID_ARGUMENT');
    expect(refusal({ ...everywhere, advertise: 'n1:0' })).toContain('INVALID_ARGUMENT');
    expect(refusal({ ...everywhere, insecure: false })).toContain('INSECURE_LISTEN');
    expect(refusal({ listen: '127.0.0.1:0', httpListen: '0.0.0.0:0' })).toContain('INSECURE_LISTEN');
  });
});

describe('advertisedLoopback', () => {
  it('names what only this machine reaches of a process that listens for others', () => {
    const own = { ...everywhere, advertise: 'localhost:7401', advertiseClient: '127.0.0.1:7401' };
    expect(advertisedLoopback(own)).toEqual(['localhost:7401', '127.0.0.1:7401']);
    expect(advertisedLoopback({ ...own, listen: '127.0.0.1:7401' })).toEqual([]);
    expect(advertisedLoopback({ ...everywhere, advertise: 'n1:7401' })).toEqual([]);
  });
});
