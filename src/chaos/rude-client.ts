/**
 * A client without regard, as a program of its own so that it does not slow the run's own clients down from inside:
 *
 *     node rude-client.js flood|slow-reader|half-open HOST:PORT PARTITIONS [KEYSPACE]
 *
 * `flood` sends writes and ignores credit and retry-after; only the transport holds it back. `slow-reader` asks for long values and
 * never reads an answer. `half-open` opens connections, says the beginning of something, and nothing more. It says on stdout, one
 * line of JSON each, when that has shown an effect and, once its stdin has ended, what it was told.
 */
import { randomBytes } from 'node:crypto';
import { connect as connectHttp2 } from 'node:http2';
import { connect as connectTcp } from 'node:net';
import { setPriority } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { CLIENT_ID_BYTES } from '../common/limits.ts';
import { LINEARIZABLE_GET } from '../common/reads.ts';
import { parseAddress } from '../common/wire/address.ts';
import { grpcConnector } from '../common/wire/connections.ts';
import type { Session } from '../common/wire/contract.ts';
import { makeHello } from '../common/wire/handshake.ts';
import type { ClientMessage, Reply, Request } from '../common/wire/messages.ts';
import { methods } from '../common/wire/schema.ts';
import { rawRequest } from './requests.ts';
import { keysIn } from './workload/workbench.ts';

/** What a client without regard was told. */
export interface RudeReport {
  readonly event: 'report';
  readonly sent: number;
  /** Refused with OVERLOADED. */
  readonly refused: number;
  /** Of these with another outcome than `not_applied`, or without a time to retry after. */
  readonly wrong: number;
  /** Keys of some that were refused; each is written once. */
  readonly refusedKeys: readonly string[];
}

/** Key of the value that a slow reader asks for; the run writes it. */
export const LONG_KEY = 'long value';

const BURST = 2_048;
const VALUE = randomBytes(1_024);
const KEYS_KEPT = 200;
const CONNECTIONS = 200;
/** Time of a request of a flood, ms: where the server just reads more slowly, what waits is refused once that is over. */
const IMPATIENT_MS = 1_000;

let sent = 0;
let refused = 0;
let wrong = 0;
const refusedKeys: string[] = [];
let keyspace = '';

function say(event: object): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

function requestOf(id: number, part: Partial<Request>): Request {
  return rawRequest({ id, timeLeftMs: 10_000, keyspace, ...part });
}

/** Sends writes to one partition as fast as the transport takes them. */
class Flood {
  private readonly session: Session;
  private readonly partition: number;
  private readonly partitions: number;
  private readonly open = new Map<number, string>();
  private nextId = 1;
  private logTime = 0;

  constructor(address: string, partitions: number) {
    this.partitions = partitions;
    this.partition = Math.floor(Math.random() * partitions);
    const hello = makeHello({ role: 'client', clientId: randomBytes(CLIENT_ID_BYTES) });
    this.session = grpcConnector.openSession(address, hello, {
      onWelcome: () => {},
      onReplies: (replies) => {
        for (const reply of replies) this.take(reply);
      },
      onGoaway: () => {},
      onEnd: () => process.exit(0),
    });
  }

  private take({ id, failure }: Reply): void {
    const key = this.open.get(id);
    this.open.delete(id);
    if (failure === null || failure === undefined) return;
    if (failure.code === 'SESSION_TIME') this.logTime = failure.logTime;
    if (failure.code !== 'OVERLOADED') return;
    refused += 1;
    if (refused === 1) say({ event: 'effect', text: 'writes are refused with OVERLOADED' });
    if (failure.outcome !== 'not_applied' || failure.retryAfterMs === 0) wrong += 1;
    if (key !== undefined && refusedKeys.length < KEYS_KEPT) refusedKeys.push(key);
  }

  private send(key: string): boolean {
    const id = this.nextId++;
    const lowWater = this.open.keys().next().value ?? id;
    const put = { value: VALUE, codec: 0, ttlMs: 0 };
    const numbers = { sequence: id, lowWater, sessionTime: this.logTime };
    this.open.set(id, key);
    const part = {
      operation: 'put',
      key: Buffer.from(key),
      put,
      ...numbers,
      timeLeftMs: IMPATIENT_MS,
    } as const;
    if (!this.session.send(requestOf(id, part))) {
      this.open.delete(id);
      return false;
    }
    sent += 1;
    return true;
  }

  async run(): Promise<void> {
    const name = randomBytes(4).toString('hex');
    for (let burst = 0; ; burst += 1) {
      // A leader tells its log time before it opens a session.
      if (this.logTime === 0) this.send(keysIn(this.partition, this.partitions, 1, `opening${name}`)[0]!);
      else {
        const keys = keysIn(this.partition, this.partitions, BURST / 16, `flood${name}x${burst}`);
        for (let copy = 0; copy < 16; copy += 1)
          for (const key of keys) if (!this.send(copy === 0 ? key : `{${key}}${copy}`)) break;
      }
      await delay(this.logTime === 0 ? 50 : 1);
    }
  }
}

/** Frames a message as gRPC does. */
function frame(message: Partial<ClientMessage>): Buffer {
  const { requestSerialize } = methods.session;
  const bytes = requestSerialize({ hello: null, requests: [], cancels: [], credits: [], ...message });
  const head = Buffer.alloc(5);
  head.writeUInt32BE(bytes.byteLength, 1);
  return Buffer.concat([head, bytes]);
}

/** Asks for a long value again and again on a bare HTTP/2 stream that is never read: a gRPC client would take in what comes. */
function readNothing(address: string): void {
  const session = connectHttp2(`http://${address}`);
  session.on('error', () => {});
  const head = {
    ':method': 'POST',
    ':path': methods.session.path,
    'content-type': 'application/grpc',
    te: 'trailers',
  };
  const stream = session.request(head);
  stream.on('error', () => {});
  stream.pause();
  const key = Buffer.from(LONG_KEY);
  let nextId = 1;
  const next = (error?: Error | null): void => {
    if (error) return;
    const requests = Array.from({ length: 64 }, () => requestOf(nextId++, { key, get: LINEARIZABLE_GET }));
    sent += requests.length;
    if (nextId > 512) say({ event: 'effect', text: `${sent} answers are not read` });
    setTimeout(() => stream.write(frame({ requests }), next), 20);
  };
  stream.write(frame({ hello: makeHello({ role: 'client', clientId: randomBytes(CLIENT_ID_BYTES) }) }), next);
}

/** The beginnings of what clients say: nothing, a part of the preface of HTTP/2, a part of a frame after it. */
const BEGINNINGS = ['', 'PRI * HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0', 'GET / HTTP/1.1\r\nHost:'];

function sayBeginnings(address: string): void {
  let connected = 0;
  for (let number = 0; number < CONNECTIONS; number += 1) {
    const socket = connectTcp(parseAddress(address));
    socket.on('error', () => {});
    socket.on('connect', () => {
      socket.write(BEGINNINGS[number % BEGINNINGS.length]!);
      sent += 1;
      connected += 1;
      if (connected === CONNECTIONS)
        say({ event: 'effect', text: `${connected} connections say nothing more` });
    });
  }
}

function main([mode = '', address = '', partitions = '1', space = '']: readonly string[]): void {
  keyspace = space;
  // Stands for a machine of its own: what is to be seen is the servers' part, not that of the processor.
  setPriority(19);
  if (mode === 'flood') void new Flood(address, Number(partitions)).run();
  else if (mode === 'slow-reader') for (let number = 0; number < 4; number += 1) readNothing(address);
  else sayBeginnings(address);
  process.stdin.resume();
  process.stdin.on('end', () => {
    const report: RudeReport = { event: 'report', sent, refused, wrong, refusedKeys };
    process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
  });
}

if (/rude-client\.[jt]s$/.test(process.argv[1] ?? '')) main(process.argv.slice(2));
