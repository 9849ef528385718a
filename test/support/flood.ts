/**
 * A client that behaves badly, as a process of its own so that it does not slow the test's other clients down from
 * inside. `node --import typescript-loader.mjs flood.ts unread|greedy ADDRESS PARTITIONS`.
 * `unread` sends reads of large values and never reads an answer. `greedy` sends puts without regard for credit, for
 * retry-after, or for anything but the transport's flow control; it counts what it is told.
 * Ends when its stdin does, with one line of JSON: `FloodReport`.
 */
import { randomBytes } from 'node:crypto';
import { connect as connectHttp2 } from 'node:http2';
import { setPriority } from 'node:os';
import { Client, credentials } from '@grpc/grpc-js';
import { partitionOf } from '../../src/common/hash.ts';
import { LINEARIZABLE_GET } from '../../src/common/reads.ts';
import { makeHello } from '../../src/common/wire/handshake.ts';
import type { ClientMessage, Request, ServerMessage } from '../../src/common/wire/messages.ts';
import { methods } from '../../src/common/wire/schema.ts';
import { grpcFrame } from './garbage.ts';
import { nameOf, openingWrite, RawSession } from './raw-session.ts';

/** What a flood was told. */
export interface FloodReport {
  /** Answers by `receipt`, `value` or the code of the failure. */
  readonly answers: Readonly<Record<string, number>>;
  readonly sent: number;
  /** Refusals without a retry-after. */
  readonly withoutRetryAfter: number;
  /** OVERLOADED with another outcome than not_applied. */
  readonly uncertain: number;
  /** Keys of some refused puts; each key is written once. */
  readonly refusedKeys: readonly string[];
}

/** Key of the value that `unread` asks for. */
export const LARGE_KEY = 'large value';
const REFUSED_KEPT = 500;
let unreadSent = 0;
const NO_BYTES = new Uint8Array(0);

function requestOf(id: number, part: Partial<Request>): Request {
  return {
    ...{ id, timeLeftMs: 10_000, keyspace: '', key: NO_BYTES, clientId: NO_BYTES, sequence: 0, lowWater: 0 },
    ...{ sessionTime: 0, attempt: 1, ack: 'ACK_QUORUM', traceParent: '', operation: 'get', ...part },
  };
}

/** One stream that is written to as fast as the transport takes it. */
class Flood {
  readonly #client: Client;
  readonly #open = new Map<number, string>();
  readonly #refused: string[] = [];
  readonly #answers: Record<string, number> = {};
  #sent = 0;
  #uncertain = 0;
  #withoutRetryAfter = 0;
  #nextId = 1;

  constructor(address: string) {
    this.#client = new Client(`dns:${address}`, credentials.createInsecure(), {
      'grpc.use_local_subchannel_pool': 1,
    });
  }

  get report(): FloodReport {
    return {
      answers: this.#answers,
      sent: this.#sent,
      withoutRetryAfter: this.#withoutRetryAfter,
      uncertain: this.#uncertain,
      refusedKeys: this.#refused,
    };
  }

  /** Starts to send what `make` makes, message after message. */
  run(clientId: Uint8Array, make: (id: () => number) => Request[]): void {
    const { path, requestSerialize, responseDeserialize } = methods.session;
    const call = this.#client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize);
    call.on('data', (message: ServerMessage) => this.#take(message));
    call.on('error', () => {});
    call.on('status', ({ code }: { code: number }) => this.#count(`ended with ${code}`));
    const write = (part: Partial<ClientMessage>, taken: () => void): void => {
      call.write({ hello: null, requests: [], cancels: [], credits: [], ...part }, taken);
    };
    const next = (error?: Error | null): void => {
      if (error) return;
      const requests = make(() => this.#nextId++);
      for (const { id, key, put } of requests) {
        if (put) this.#open.set(id, Buffer.from(key).toString());
      }
      this.#sent += requests.length;
      write({ requests }, next);
    };
    write({ hello: makeHello({ role: 'client', clientId }) }, next);
  }

  #take({ replies, failure }: ServerMessage): void {
    if (failure !== null) this.#count(`stream: ${failure.code}`);
    for (const reply of replies) {
      this.#count(reply.failure?.code ?? reply.result);
      const key = this.#open.get(reply.id);
      this.#open.delete(reply.id);
      if (reply.failure?.code !== 'OVERLOADED') continue;
      if (reply.failure.outcome !== 'not_applied') this.#uncertain += 1;
      if (reply.failure.retryAfterMs === 0) this.#withoutRetryAfter += 1;
      if (key !== undefined && this.#refused.length < REFUSED_KEPT) this.#refused.push(key);
    }
  }

  #count(answer: string): void {
    this.#answers[answer] = (this.#answers[answer] ?? 0) + 1;
  }
}

/** A key in each of the partitions. */
function keysOf(partitions: number): string[] {
  const keys: string[] = [];
  for (let n = 0; Object.keys(keys).length < partitions; n += 1) {
    const key = `opening ${n}`;
    keys[partitionOf(Buffer.from(key), partitions)] ??= key;
  }
  return keys;
}

/** Log times of the partitions that take writes here, told to a session that opens there. */
async function openSessions(
  address: string,
  clientId: Uint8Array,
  partitions: number,
): Promise<Map<number, number>> {
  const session = new RawSession(address, clientId);
  const times = new Map<number, number>();
  const refused = new Set<string>();
  for (const [partition, key] of keysOf(partitions).entries()) {
    const put = { value: Buffer.of(1), codec: 4, ttlMs: 0 };
    const write = { operation: 'put', key: Buffer.from(key), put, sequence: 1, lowWater: 1 } as const;
    const { reply, sessionTime } = await openingWrite(session, { ...write, attempt: 1 });
    if (sessionTime > 0) times.set(partition, sessionTime);
    else refused.add(nameOf(reply));
  }
  session.close();
  if (times.size === 0) throw new Error(`${address} takes no writes: ${[...refused].join(', ')}`);
  return times;
}

/** Requests of a message, and bytes of their values: many small ones, some, few large ones, and again. */
const SHAPES = [
  { batch: 8_192, bytes: 64 },
  { batch: 256, bytes: 4_096 },
  { batch: 8, bytes: 1024 * 1024 },
];

async function greedy(flood: Flood, address: string, partitions: number): Promise<void> {
  const clientId = randomBytes(16);
  const name = clientId.toString('hex');
  const times = await openSessions(address, clientId, partitions);
  const sequences = new Array<number>(partitions).fill(1);
  const values = SHAPES.map(({ bytes }) => randomBytes(bytes));
  let number = 0;
  const nextKey = (): { key: Buffer; partition: number } => {
    for (;;) {
      const key = Buffer.from(`flood ${name} ${++number}`);
      const partition = partitionOf(key, partitions);
      if (times.has(partition)) return { key, partition };
    }
  };
  let message = 0;
  flood.run(clientId, (nextId) => {
    const shape = message++ % SHAPES.length;
    return Array.from({ length: SHAPES[shape]!.batch }, () => {
      const { key, partition } = nextKey();
      const sequence = ++sequences[partition]!;
      const put = { value: values[shape]!, codec: 4, ttlMs: 0 };
      const numbers = { sequence, lowWater: sequence, sessionTime: times.get(partition)! };
      return requestOf(nextId(), { key, operation: 'put', put, ...numbers });
    });
  });
}

/**
 * Sends reads of a large value on a bare HTTP/2 stream that is never read from: a gRPC client would take in what comes,
 * whether its caller reads it or not.
 */
function unread(address: string): void {
  const key = Buffer.from(LARGE_KEY);
  const { path, requestSerialize } = methods.session;
  const session = connectHttp2(`http://${address}`);
  session.on('error', () => {});
  const head = { ':method': 'POST', ':path': path, 'content-type': 'application/grpc', te: 'trailers' };
  const stream = session.request(head);
  stream.on('error', () => {});
  stream.pause();
  const message = (part: Partial<ClientMessage>): Buffer =>
    grpcFrame(requestSerialize({ hello: null, requests: [], cancels: [], credits: [], ...part }));
  let nextId = 1;
  const next = (error?: Error | null): void => {
    if (error) return;
    const requests = Array.from({ length: 64 }, () => requestOf(nextId++, { key, get: LINEARIZABLE_GET }));
    unreadSent += requests.length;
    stream.write(message({ requests }), next);
  };
  stream.write(message({ hello: makeHello({ role: 'client', clientId: randomBytes(16) }) }), next);
}

async function main([mode = '', address = '', partitions = '']: readonly string[]): Promise<void> {
  // Stands for a machine of its own: what is to be seen is the servers' share, not that of the processor.
  setPriority(19);
  const flood = new Flood(address);
  if (mode === 'unread') for (let n = 0; n < 4; n += 1) unread(address);
  else await greedy(flood, address, Number(partitions));
  process.stdout.write('flooding\n');
  process.stdin.resume();
  process.stdin.on('end', () =>
    process.stdout.write(
      `${JSON.stringify({ ...flood.report, sent: flood.report.sent + unreadSent })}\n`,
      () => process.exit(0),
    ),
  );
}

if (process.argv[1]?.endsWith('flood.ts')) await main(process.argv.slice(2));
