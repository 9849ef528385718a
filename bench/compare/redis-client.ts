/**
 * A raw client of Redis: connections that pipeline, and the load of SET with WAIT 1 behind it: both in one write, one pair
 * in flight per connection. A pair counts only if SET is done and a replica has it.
 * INVARIANT: every reply is that of the oldest call that is not answered whole; a connection that fails rejects all.
 */
import { once } from 'node:events';
import { createConnection, type Socket } from 'node:net';
import { assert } from '#src/common/errors.ts';
import { createRandom } from '#src/common/random.ts';
import { createHistogram, latencyOf, recordMs } from '../load/histogram.ts';
import { monotonicMs } from '../load/monotonic.ts';
import { type Figures, VALUE_BYTES } from './measurements.ts';
import { encodeCommand, isWritten, type Reply, RespParser } from './resp.ts';

interface Call {
  readonly replies: Reply[];
  readonly expected: number;
  readonly resolve: (replies: Reply[]) => void;
  readonly reject: (error: unknown) => void;
}

/** One connection. */
export class RedisConnection {
  readonly #socket: Socket;
  readonly #parser = new RespParser();
  /** Calls without all of their replies, oldest first. */
  readonly #calls: Call[] = [];
  #failure: Error | null = null;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on('data', (chunk) => this.#take(chunk));
    socket.on('error', (error) => this.#fail(error));
    socket.on('close', () => this.#fail(new Error('Redis has closed a connection')));
  }

  /** Connects to a port of this machine. Rejects with an error of the system. */
  static async open(port: number): Promise<RedisConnection> {
    const socket = createConnection({ host: '127.0.0.1', port, noDelay: true });
    await once(socket, 'connect');
    return new RedisConnection(socket);
  }

  /** Sends encoded commands in one write; resolves with their `expected` replies, errors among them. */
  call(commands: string, expected: number): Promise<Reply[]> {
    if (this.#failure !== null) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#calls.push({ replies: [], expected, resolve, reject });
      this.#socket.write(commands, 'latin1');
    });
  }

  /** Sends one command; resolves with its reply. */
  async command(...parts: readonly (string | number)[]): Promise<Reply> {
    const [reply] = await this.call(encodeCommand(...parts), 1);
    assert(reply !== undefined, 'one reply was asked for');
    return reply;
  }

  close(): void {
    this.#socket.destroy();
  }

  #take(chunk: Buffer): void {
    try {
      for (const reply of this.#parser.push(chunk)) {
        const [call] = this.#calls;
        if (call === undefined) throw new Error('Redis has answered what was not asked');
        call.replies.push(reply);
        if (call.replies.length < call.expected) continue;
        this.#calls.shift();
        call.resolve(call.replies);
      }
    } catch (error) {
      this.#fail(error as Error);
      this.#socket.destroy();
    }
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    for (const { reject } of this.#calls.splice(0)) reject(this.#failure);
  }
}

const VALUE = 'v'.repeat(VALUE_BYTES);
const KEY_DIGITS = 12;
/** As redis-benchmark names them. */
const keyOf = (record: number) => `key:${String(record).padStart(KEY_DIGITS, '0')}`;
const LOAD_BATCH = 1_000;
/** As long as a request of Ringkeep may take. */
const WAIT_MS = 10_000;

/** Writes all records. Rejects if one of them is not written. */
export async function loadRecords(connection: RedisConnection, records: number): Promise<void> {
  for (let from = 0; from < records; from += LOAD_BATCH) {
    const count = Math.min(LOAD_BATCH, records - from);
    const batch = Array.from({ length: count }, (_, at) => encodeCommand('SET', keyOf(from + at), VALUE));
    const replies = await connection.call(batch.join(''), count);
    const other = replies.find((reply) => reply !== 'OK');
    if (other !== undefined) throw new Error(`Redis has answered a SET with ${String(other)}`);
  }
}

/** Measures SET and WAIT 1 over as many connections as there are in flight, keys uniform over the records. */
export async function measureSetWait(
  port: number,
  run: {
    readonly connections: number;
    readonly records: number;
    readonly warmUpMs: number;
    readonly durationMs: number;
    readonly seed: number;
    readonly stopped: AbortSignal;
  },
): Promise<Figures> {
  const { records, warmUpMs, durationMs, seed, stopped } = run;
  const wait = encodeCommand('WAIT', 1, WAIT_MS);
  const random = createRandom(seed);
  const histogram = createHistogram();
  const connections = await Promise.all(
    Array.from({ length: run.connections }, () => RedisConnection.open(port)),
  );
  const measureFrom = monotonicMs() + warmUpMs;
  const endAt = measureFrom + durationMs;
  let count = 0;
  let errors = 0;
  const worker = async (connection: RedisConnection): Promise<void> => {
    for (let start = monotonicMs(); start < endAt; start = monotonicMs()) {
      stopped.throwIfAborted();
      const set = encodeCommand('SET', keyOf(random.integer(records)), VALUE);
      const [setReply = null, waitReply = null] = await connection.call(set + wait, 2);
      const now = monotonicMs();
      if (start < measureFrom) continue;
      if (isWritten(setReply, waitReply)) {
        recordMs(histogram, now - start);
        if (now <= endAt) count += 1;
      } else errors += 1;
    }
  };
  try {
    await Promise.all(connections.map(worker));
  } finally {
    for (const connection of connections) connection.close();
  }
  const seconds = durationMs / 1_000;
  const { mean, p50, p99 } = latencyOf(histogram);
  return { count, errors, seconds, throughput: count / seconds, mean, p50, p99 };
}
