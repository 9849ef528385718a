import { beforeEach, describe, expect, it } from 'vitest';
import { RingkeepError } from '../common/errors.ts';
import type { Log, LogFields } from '../common/log.ts';
import type { Peer, Session, SessionHandlers } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import type { AddressCheck, Hello, Welcome } from '../common/wire/messages.ts';
import { AddressChecks } from './address-checks.ts';

interface Attempt {
  readonly address: string;
  readonly hello: Hello;
  readonly handlers: SessionHandlers;
}

let attempts: Attempt[];
let timers: { delayMs: number; run: () => void }[];
let lines: { level: string; event: string; fields: LogFields }[];
let told: AddressCheck[];
let checks: AddressChecks;

const log: Log = {
  ...{ debug: () => {}, warn: () => {}, fatal: () => {} },
  info: (event, fields = {}) => lines.push({ level: 'info', event, fields }),
  error: (event, fields = {}) => lines.push({ level: 'error', event, fields }),
  with: () => log,
};

function openSession(address: string, hello: Hello, handlers: SessionHandlers): Session {
  attempts.push({ address, hello, handlers });
  const over = new RingkeepError('CLOSED', 'closed by the caller');
  const close = (): void => handlers.onEnd(over);
  return { ready: true, bufferedBytes: 0, send: () => true, cancel: () => {}, credit: () => {}, close };
}

beforeEach(() => {
  attempts = [];
  timers = [];
  lines = [];
  told = [];
  checks = new AddressChecks({
    connector: { openSession },
    addressOf: ({ id, address }) => (id === 'behind-proxy' ? 'proxy:1' : address),
    log,
    protocolMax: 1,
    clock: {
      now: () => 0,
      random: () => 0,
      after: (delayMs, run) => {
        const timer = { delayMs, run };
        timers.push(timer);
        return () => {
          timers = timers.filter((one) => one !== timer);
        };
      },
    },
  });
});

function attach(node: string): void {
  const hello = makeHello({ role: 'node', nodeId: node, boot: 7, clusterId: 'c' });
  const peer: Peer = { hello, protocol: 1, remote: '10.0.0.1:55' };
  checks.attached(peer, `${node}:7401`, (check) => told.push(check));
}

/** Ends the newest attempt, and lets the pause after it pass. */
function fail(error: RingkeepError): void {
  attempts.at(-1)!.handlers.onEnd(error);
  timers.shift()?.run();
}

function welcome(boot: number): void {
  attempts.at(-1)!.handlers.onWelcome({ boot } as Welcome);
}

const refused = new RingkeepError('UNAVAILABLE', 'connect ECONNREFUSED');

describe('the check of an advertised address', () => {
  it('is silent where the node itself answers, and asks no more', () => {
    attach('n1');
    expect(attempts[0]).toMatchObject({
      address: 'n1:7401',
      hello: { expectedNode: 'n1', clusterId: 'c', protocolMax: 1 },
    });
    welcome(7);
    expect([lines, told, timers, checks.troubles()]).toEqual([[], [], [], []]);
  });

  it('tells the log, the node and the status, with both addresses, where nobody answers twice', () => {
    attach('n1');
    fail(refused);
    expect(told).toEqual([]);
    fail(refused);
    const trouble = 'UNAVAILABLE: connect ECONNREFUSED';
    const fields = { node: 'n1', address: 'n1:7401', from: '10.0.0.1:55', trouble };
    expect(lines).toEqual([{ level: 'error', event: 'node_address_unreachable', fields }]);
    expect(told).toEqual([{ address: 'n1:7401', trouble }]);
    expect(checks.troubles()).toEqual([{ node: 'n1', address: 'n1:7401', trouble }]);
    fail(refused);
    expect(lines).toHaveLength(1);
  });

  it('tells when it can be reached after all', () => {
    attach('n1');
    fail(refused);
    fail(refused);
    welcome(7);
    expect(lines.map(({ event }) => event)).toEqual(['node_address_unreachable', 'node_address_reached']);
    expect(told.at(-1)).toEqual({ address: 'n1:7401', trouble: '' });
    expect([timers, checks.troubles()]).toEqual([[], []]);
  });

  it('names another node that answers there, and another process of the same name', () => {
    attach('n1');
    fail(new RingkeepError('WRONG_NODE', 'this is node "n2"'));
    fail(new RingkeepError('WRONG_NODE', 'this is node "n2"'));
    expect(checks.troubles()[0]?.trouble).toBe('this is node "n2"');
    welcome(6);
    expect(checks.troubles()[0]?.trouble).toBe('another process answers there as n1');
  });

  it('goes where the router itself would go', () => {
    attach('behind-proxy');
    fail(refused);
    fail(refused);
    expect(attempts[0]?.address).toBe('proxy:1');
    expect(lines[0]?.fields).toMatchObject({ address: 'behind-proxy:7401', dialled: 'proxy:1' });
  });

  it('ends with the node, and with a new stream of it', () => {
    attach('n1');
    fail(refused);
    fail(refused);
    attach('n1');
    expect(checks.troubles()).toEqual([]);
    checks.detached('n1');
    const before = attempts.length;
    for (const { run } of timers) run();
    expect([attempts.length, checks.troubles()]).toEqual([before, []]);
  });
});
