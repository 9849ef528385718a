import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { areReplicasOnline, encodeCommand, isWritten, RedisError, type Reply, RespParser } from './resp.ts';

const STREAM = '+OK\r\n:1\r\n$5\r\na\r\nbc\r\n-ERR no such thing\r\n$-1\r\n$0\r\n\r\n:-7\r\n+\r\n';
const REPLIES: Reply[] = ['OK', 1, 'a\r\nbc', new RedisError('ERR no such thing'), null, '', -7, ''];

function parse(chunks: readonly string[]): Reply[] {
  const parser = new RespParser();
  return chunks.flatMap((chunk) => parser.push(Buffer.from(chunk)));
}

describe('RespParser', () => {
  it('finds the same replies wherever the stream is cut', () => {
    expect(parse([STREAM])).toEqual(REPLIES);
    expect(parse([...STREAM])).toEqual(REPLIES);
    for (let at = 0; at <= STREAM.length; at += 1) {
      expect(parse([STREAM.slice(0, at), STREAM.slice(at)])).toEqual(REPLIES);
    }
    fc.assert(
      fc.property(fc.array(fc.nat(STREAM.length)), (cuts) => {
        const at = [0, ...cuts.sort((a, b) => a - b), STREAM.length];
        expect(parse(at.slice(1).map((to, n) => STREAM.slice(at[n], to)))).toEqual(REPLIES);
      }),
    );
  });

  it('gives a reply as soon as it is whole, and not before', () => {
    const parser = new RespParser();
    expect(parser.push(Buffer.from('+OK\r'))).toEqual([]);
    expect(parser.push(Buffer.from('\n$3\r\nab'))).toEqual(['OK']);
    expect(parser.push(Buffer.from('c\r'))).toEqual([]);
    expect(parser.push(Buffer.from('\n:'))).toEqual(['abc']);
  });

  it('refuses what it does not know', () => {
    expect(() => parse(['*1\r\n:1\r\n'])).toThrow(/begins with "\*"/);
  });
});

describe('encodeCommand', () => {
  it('writes every part as a string with its length', () => {
    expect(encodeCommand('WAIT', 1, 10_000)).toBe('*3\r\n$4\r\nWAIT\r\n$1\r\n1\r\n$5\r\n10000\r\n');
    expect(encodeCommand('SET', 'k', '')).toBe('*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n');
  });
});

describe('isWritten', () => {
  it('takes a pair only if SET is done and a replica has it', () => {
    expect(isWritten('OK', 1)).toBe(true);
    expect(isWritten('OK', 2)).toBe(true);
    expect(isWritten('OK', 0)).toBe(false);
    expect(isWritten(null, 1)).toBe(false);
    expect(isWritten(new RedisError('MISCONF'), 1)).toBe(false);
    expect(isWritten('OK', new RedisError('ERR'))).toBe(false);
  });
});

describe('areReplicasOnline', () => {
  const info = (...states: string[]) =>
    [
      '# Replication\r\nrole:master',
      `connected_slaves:${states.length}`,
      ...states.map((state, at) => `slave${at}:ip=127.0.0.1,port=1,state=${state},offset=14,lag=0`),
      '',
    ].join('\r\n');

  it('waits for all replicas, and for each to be in sync', () => {
    expect(areReplicasOnline(info('online', 'online'), 2)).toBe(true);
    expect(areReplicasOnline(info('online', 'send_bulk'), 2)).toBe(false);
    expect(areReplicasOnline(info('online'), 2)).toBe(false);
    expect(areReplicasOnline('', 2)).toBe(false);
  });
});
