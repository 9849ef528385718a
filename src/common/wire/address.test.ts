import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RingkeepError } from '../errors.ts';
import { formatAddress, isLoopback, parseAddress, parseClusterUrl } from './address.ts';
import { assertListenAllowed } from './credentials.ts';

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof RingkeepError) return error.code;
    throw error;
  }
  return 'none';
}

describe('addresses', () => {
  it.each([
    ['127.0.0.1:7400', { host: '127.0.0.1', port: 7400 }],
    ['[::1]:7400', { host: '::1', port: 7400 }],
    ['node-1.example:1', { host: 'node-1.example', port: 1 }],
    ['a_b:65535', { host: 'a_b', port: 65_535 }],
  ])('reads %s', (text, expected) => {
    expect(parseAddress(text)).toEqual(expected);
    expect(formatAddress(expected)).toBe(text);
  });

  it.each([
    '',
    ':1',
    'host',
    'host:',
    'host:0',
    'host:65536',
    'host:x',
    '::1:7400',
    '[::1',
    '[::1]',
    '[host]:1',
    '1.2.3:5',
    '1.2.3.999:5',
    '-a:1',
    'a b:1',
    'http://x:1',
  ])('refuses %j', (text) => {
    expect(codeOf(() => parseAddress(text))).toBe('INVALID_ARGUMENT');
  });

  it('allows port 0 for listening only', () => {
    expect(parseAddress('127.0.0.1:0', { listen: true }).port).toBe(0);
  });

  it('reads back every address it writes', () => {
    const host = fc.oneof(fc.ipV4(), fc.ipV6(), fc.domain());
    fc.assert(
      fc.property(host, fc.integer({ min: 1, max: 65_535 }), (name, port) => {
        expect(parseAddress(formatAddress({ host: name, port }))).toEqual({ host: name, port });
      }),
    );
  });

  it('reads cluster URLs, without duplicates', () => {
    expect(parseClusterUrl('ringkeep://h1:1,[::1]:2,h1:1/').map(formatAddress)).toEqual(['h1:1', '[::1]:2']);
    expect(parseClusterUrl('h1:1, h2:2').map(formatAddress)).toEqual(['h1:1', 'h2:2']);
    for (const bad of ['', 'ringkeep://', 'redis://h:1', 'h1:1,,h2:2']) {
      expect(codeOf(() => parseClusterUrl(bad))).toBe('INVALID_ARGUMENT');
    }
  });

  it('knows loopback in all its spellings', () => {
    for (const host of [
      'localhost',
      '127.0.0.1',
      '127.8.9.1',
      '::1',
      '0:0:0:0:0:0:0:1',
      '::ffff:127.0.0.1',
    ]) {
      expect(isLoopback(host), host).toBe(true);
    }
    for (const host of ['0.0.0.0', '::', '10.0.0.1', 'localhost.example', '128.0.0.1', '::2']) {
      expect(isLoopback(host), host).toBe(false);
    }
  });

  it('lets nobody listen to the world by accident', () => {
    expect(codeOf(() => assertListenAllowed({ host: '0.0.0.0', port: 1 }, false))).toBe('INSECURE_LISTEN');
    expect(codeOf(() => assertListenAllowed({ host: '0.0.0.0', port: 1 }, true))).toBe('none');
    expect(codeOf(() => assertListenAllowed({ host: '::1', port: 1 }, false))).toBe('none');
  });
});
