/**
 * Every limit that a client meets, at the limit and one beyond it: through the SDK, and past its checks through a plain gRPC
 * stream to the router and to the node. What is beyond is refused with its code, nothing of it is applied, and all
 * processes live on. The numbers themselves are in docs/LIMITS.md. One cluster for all, of one node.
 */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import * as limits from '../../src/common/limits.ts';
import { LINEARIZABLE_GET } from '../../src/common/reads.ts';
import type { BatchItem, Hello, Reply, Request } from '../../src/common/wire/messages.ts';
import { hotCodecs } from '../../src/common/wire/schema.ts';
import { runCommand } from '../support/command.ts';
import { startCluster } from '../support/processes.ts';
import { nameOf, openingWrite, type RawReply, type RawRequest, RawSession } from '../support/raw-session.ts';
import { cleanUp, isRunning, startUp, type UpCluster } from '../support/up-cluster.ts';
import { openClient, until } from '../support/wire.ts';

const TOO_LARGE_KEY = 'KEY_TOO_LARGE not_applied';
const TOO_LARGE_VALUE = 'VALUE_TOO_LARGE not_applied';
const TOO_LARGE_BATCH = 'BATCH_TOO_LARGE not_applied';
const INVALID = 'INVALID_ARGUMENT not_applied';

let cluster: UpCluster;
let pids: readonly number[];
let db: RingkeepClient;

beforeAll(async () => {
  cluster = await startUp(['--ephemeral', '--partitions', '1', '--nodes', '1']);
  pids = [...cluster.pids];
  db = connect(cluster.ready.url, { codec: 'bytes' });
}, 120_000);
afterAll(async () => {
  db?.destroy();
  await cleanUp();
});

/** The router and the node, which leads. */
const servers = () => [...cluster.ready.routers, ...cluster.ready.nodes];

/** The code and outcome that a promise was rejected with, or `taken`. */
async function verdictOf(promise: Promise<unknown>): Promise<string> {
  try {
    await promise;
    return 'taken';
  } catch (error) {
    expect(error).toBeInstanceOf(RingkeepError);
    const { code, outcome } = error as RingkeepError;
    return `${code} ${outcome}`;
  }
}

async function expectAlive(): Promise<void> {
  expect(pids.filter(isRunning)).toEqual(pids);
  expect(cluster.events).toEqual([]);
  await db.put('alive', Buffer.of(1));
}

let probers = 0;

/** Sends writes and reads past the client's own checks. */
class Prober {
  readonly session: RawSession;
  #sequence = 0;

  constructor(address: string) {
    probers += 1;
    this.session = new RawSession(address, Buffer.from(`prober ${probers}`.padEnd(limits.CLIENT_ID_BYTES)));
  }

  async write(request: RawRequest): Promise<string> {
    this.#sequence += 1;
    const numbered = { ...request, sequence: this.#sequence, lowWater: this.#sequence, attempt: 1 };
    return nameOf((await openingWrite(this.session, numbered)).reply);
  }

  put(key: Uint8Array, value: Uint8Array, fields: Partial<Request> = {}): Promise<string> {
    return this.write({ operation: 'put', key, put: { value, codec: 4, ttlMs: 0 }, ...fields });
  }

  async get(key: Uint8Array, keyspace = ''): Promise<RawReply> {
    return this.session.send({ operation: 'get', key, keyspace, get: LINEARIZABLE_GET });
  }

  /** Length of the value of a key; -1: it is absent; else what was answered. */
  async length(key: Uint8Array): Promise<number | string> {
    const reply = await this.get(key);
    if (reply === 'ended' || !reply.value) return nameOf(reply);
    return reply.value.found ? reply.value.value.length : -1;
  }
}

/** Runs `use` for the router and for the node. */
async function onEach(use: (prober: Prober, name: string, address: string) => Promise<void>): Promise<void> {
  for (const { address, id } of servers()) {
    const prober = new Prober(address);
    await use(prober, id, address);
    prober.session.close();
  }
  await expectAlive();
}

const key = (length: number, fill = 'k'): Buffer => Buffer.alloc(length, fill);

describe('keys, keyspaces and values', () => {
  it.each([
    [limits.KEY_BYTES_MIN - 1, TOO_LARGE_KEY],
    [limits.KEY_BYTES_MIN, 'taken'],
    [limits.KEY_BYTES_MAX, 'taken'],
    [limits.KEY_BYTES_MAX + 1, TOO_LARGE_KEY],
  ])('a key of %d bytes: %s', async (length, verdict) => {
    const raw = verdict === 'taken' ? 'receipt' : verdict;
    await onEach(async (prober, name) => {
      const one = key(length, name);
      expect(await prober.put(one, Buffer.of(1))).toBe(raw);
      expect(await prober.length(one)).toBe(verdict === 'taken' ? 1 : verdict);
      expect(await prober.write({ operation: 'delete', key: one, delete: {} })).toBe(raw);
      const increment = { delta: 1, ttlMs: 0 };
      expect(await prober.write({ operation: 'increment', key: one, increment })).toBe(raw);
    });
    for (const given of [key(length, 's'), 's'.repeat(length)]) {
      expect(await verdictOf(db.put(given, Buffer.of(1)))).toBe(verdict);
      expect(await verdictOf(db.get(given))).toBe(verdict);
      expect(await verdictOf(db.delete(given))).toBe(verdict);
    }
    // Bytes count, not characters.
    if (length % 2 === 0) expect(await verdictOf(db.get('é'.repeat(length / 2)))).toBe(verdict);
  });

  it('the name of a keyspace has 1 to 64 bytes; on the wire, none is the default one', async () => {
    const names = ['k'.repeat(limits.KEYSPACE_BYTES_MAX), 'é'.repeat(limits.KEYSPACE_BYTES_MAX / 2)];
    await onEach(async (prober) => {
      for (const keyspace of names) {
        expect(await prober.put(key(1), key(2), { keyspace })).toBe('receipt');
        expect(await prober.put(key(1), key(2), { keyspace: `${keyspace}k` })).toBe(INVALID);
        expect(nameOf(await prober.get(key(1), keyspace))).toBe('value');
        expect(nameOf(await prober.get(key(1), `${keyspace}k`))).toBe(INVALID);
      }
      expect(await prober.put(key(1), key(2), { keyspace: '' })).toBe('receipt');
    });
    for (const name of ['k', ...names]) {
      await db.keyspace(name).put('own', key(7));
      expect(await db.keyspace(name).get('own')).toHaveLength(7);
    }
    for (const name of ['', ...names.map((long) => `${long}k`)])
      expect(() => db.keyspace(name)).toThrow(/^INVALID_ARGUMENT/);
  });

  it('a value has at most 1 MiB unless the nodes are told otherwise', async () => {
    const longest = limits.VALUE_BYTES_MAX;
    await onEach(async (prober, name) => {
      const [at, over] = [Buffer.from(`${name} at`), Buffer.from(`${name} over`)];
      expect(await prober.put(at, Buffer.alloc(longest))).toBe('receipt');
      expect(await prober.length(at)).toBe(longest);
      expect(await prober.put(over, Buffer.alloc(longest + 1))).toBe(TOO_LARGE_VALUE);
      expect(await prober.length(over)).toBe(-1);
      expect(await prober.put(at, Buffer.alloc(0))).toBe('receipt');
      expect(await prober.length(at)).toBe(0);
    });
    // A client that has met nobody yet lets the cluster refuse.
    const fresh = connect(cluster.ready.url, { codec: 'bytes' });
    expect(await verdictOf(fresh.put('over', Buffer.alloc(longest + 1)))).toBe(TOO_LARGE_VALUE);
    fresh.destroy();
    expect(await verdictOf(db.put('over', Buffer.alloc(longest + 1)))).toBe(TOO_LARGE_VALUE);
    expect(await db.get('over')).toBeUndefined();
    expect(await verdictOf(db.put('at', Buffer.alloc(longest)))).toBe('taken');
  });

  it('nodes take values of up to 8 MiB if they are told so, and are told nothing longer', async () => {
    const longest = limits.VALUE_BYTES_CEILING;
    const node = ['node', '--id', 'n', '--data', 'nowhere', '--router', '127.0.0.1:1'];
    const refused = await runCommand([...node, '--value-bytes-max', `${longest + 1}`]);
    expect(refused).toMatchObject({ status: 2, stdout: '' });
    const nodeFlags = ['--value-bytes-max', `${longest}`];
    const large = await startCluster({ partitions: 1, nodes: 1, nodeFlags });
    for (const { address } of large.processes) {
      const prober = new Prober(address);
      expect(await prober.put(key(1), Buffer.alloc(longest))).toBe('receipt');
      expect(await prober.length(key(1))).toBe(longest);
      expect(await prober.put(key(2), Buffer.alloc(longest + 1))).toBe(TOO_LARGE_VALUE);
      expect(await prober.length(key(2))).toBe(-1);
      prober.session.close();
    }
    const endpoints = large.nodes.map(({ address }) => address);
    for (const client of [connect(large.url), connect({ endpoints, mode: 'direct' })]) {
      const values = client.keyspace<Uint8Array>('large', { codec: 'bytes' });
      await values.put('longest', Buffer.alloc(longest, 7));
      expect((await values.get('longest'))?.length).toBe(longest);
      expect(await verdictOf(values.put('longer', Buffer.alloc(longest + 1)))).toBe(TOO_LARGE_VALUE);
      client.destroy();
    }
  });

  it('a batch has up to 1,024 operations and 8 MiB of keys and values, each no longer than by itself', async () => {
    const item = (n: number, length: number): BatchItem => ({
      ...{ key: Buffer.from(`{b}${n}`.padEnd(8)), operation: 'put' },
      put: { value: Buffer.alloc(length), codec: 4, ttlMs: 0 },
    });
    const items = (count: number, length: number) => Array.from({ length: count }, (_, n) => item(n, length));
    await onEach(async (prober) => {
      const send = (batch: BatchItem[]) =>
        prober.write({ operation: 'batch', key: batch[0]!.key, batch: { items: batch } });
      expect(await send(items(limits.BATCH_OPERATIONS_MAX, 1))).toBe('receipt');
      expect(await send(items(limits.BATCH_OPERATIONS_MAX + 1, 1))).toBe(TOO_LARGE_BATCH);
      const eighth = limits.BATCH_BYTES_MAX / 8;
      const full = items(8, eighth - 8);
      expect(await send(full)).toBe('receipt');
      expect(await send([...full.slice(1), item(8, eighth - 7)])).toBe(TOO_LARGE_BATCH);
      expect(await send([item(0, limits.VALUE_BYTES_MAX + 1)])).toBe(TOO_LARGE_VALUE);
    });
  });

  it('an idempotency key has up to 64 bytes', async () => {
    const longest = limits.IDEMPOTENCY_KEY_BYTES_MAX;
    await onEach(async (prober, name) => {
      const put = (length: number) =>
        prober.put(Buffer.from(`once ${name}`), key(1), { idempotencyKey: key(length) });
      expect(await put(0)).toBe('receipt');
      expect(await put(1)).toBe('receipt');
      expect(await put(longest)).toBe('receipt');
      expect(await put(longest + 1)).toBe(INVALID);
    });
    for (const [length, verdict] of [
      [0, INVALID],
      [longest, 'taken'],
      [longest + 1, INVALID],
    ] as const) {
      expect(await verdictOf(db.put('once', key(1), { idempotencyKey: 'i'.repeat(length) }))).toBe(verdict);
    }
  });

  it('the tag of a codec is one byte', async () => {
    await onEach(async (prober) => {
      const put = (codec: number) => prober.put(key(3), key(1), { put: { value: key(1), codec, ttlMs: 0 } });
      expect(await put(0)).toBe('receipt');
      expect(await put(limits.CODEC_TAG_MAX)).toBe('receipt');
      expect(await put(limits.CODEC_TAG_MAX + 1)).toBe(INVALID);
    });
  });
});

describe('times', () => {
  it('a time to live has 1 ms to ten years; on the wire, 0 is none', async () => {
    const longest = limits.TTL_MS_MAX;
    await onEach(async (prober, name) => {
      const one = Buffer.from(`living ${name}`);
      for (const [ttlMs, verdict] of [
        [longest + 1, INVALID],
        [longest, 'receipt'],
        [0, 'receipt'],
      ] as const) {
        expect(await prober.put(one, key(1), { put: { value: key(1), codec: 4, ttlMs } })).toBe(verdict);
        expect(await prober.write({ operation: 'touch', key: one, touch: { ttlMs } })).toBe(verdict);
        const counter = { key: Buffer.from(`${name} ${ttlMs}`), increment: { delta: 1, ttlMs } };
        expect(await prober.write({ operation: 'increment', ...counter })).toBe(verdict);
      }
      const reply = (await prober.get(one)) as Reply;
      expect(reply.value).toMatchObject({ found: true, expiresAt: 0 });
      const brief = { put: { value: key(1), codec: 4, ttlMs: 1 } };
      expect(await prober.put(Buffer.from(`brief ${name}`), key(1), brief)).toBe('receipt');
    });
    for (const [ttlMs, verdict] of [
      [0, INVALID],
      [1, 'taken'],
      [longest, 'taken'],
      [longest + 1, INVALID],
    ] as const) {
      expect(await verdictOf(db.put('living', key(1), { ttlMs }))).toBe(verdict);
      expect(await verdictOf(db.expire('living', ttlMs))).toBe(verdict);
      expect(await verdictOf(db.increment(`counter ${ttlMs}`, 1, { ttlMs }))).toBe(verdict);
    }
    const entry = await db.getEntry('living');
    expect(entry!.expiresAt! - Date.now()).toBeGreaterThan(longest - 600_000);
  });

  it('a request has up to five minutes', async () => {
    const longest = limits.REQUEST_TIMEOUT_MS_MAX;
    for (const [timeoutMs, verdict] of [
      [0, INVALID],
      [longest, 'taken'],
      [longest + 1, INVALID],
    ] as const) {
      expect(await verdictOf(db.get('timed', { timeoutMs }))).toBe(verdict);
      expect(await verdictOf(db.put('timed', key(1), { timeoutMs }))).toBe(verdict);
    }
    const connectWith = (requestTimeoutMs: number) => connect(cluster.ready.url, { requestTimeoutMs });
    expect(() => connectWith(longest + 1)).toThrow(/^INVALID_ARGUMENT/);
    connectWith(longest).destroy();
    // On the wire, more than that counts as that.
    await onEach(async (prober) => {
      expect(await prober.put(key(4), key(1), { timeLeftMs: 2 ** 32 - 1 })).toBe('receipt');
    });
  });

  it('a bound of staleness is an uint32', async () => {
    for (const [maxStalenessMs, verdict] of [
      [0, INVALID],
      [1, 'taken'],
      [limits.STALENESS_MS_MAX, 'taken'],
      [limits.STALENESS_MS_MAX + 1, INVALID],
    ] as const) {
      expect(await verdictOf(db.get('timed', { read: 'stale', maxStalenessMs }))).toBe(verdict);
    }
    await onEach(async (prober) => {
      const get = {
        ...LINEARIZABLE_GET,
        level: 'READ_STALE',
        maxStalenessMs: limits.STALENESS_MS_MAX,
      } as const;
      expect(nameOf(await prober.session.send({ operation: 'get', key: key(1), get }))).toBe('value');
    });
  });
});

/** A message of exactly `bytes` bytes: puts of the longest values and one that fills it up. */
function messageOf(bytes: number, requests: readonly Request[], rest: Request): Request[] {
  const build = (length: number): Request[] => [
    ...requests,
    { ...rest, put: { value: Buffer.alloc(length, 1), codec: 4, ttlMs: 0 } },
  ];
  const encoded = (length: number): number =>
    hotCodecs.clientMessage.serialize({ hello: null, requests: build(length), cancels: [], credits: [] })
      .length;
  let length = limits.VALUE_BYTES_MAX / 2;
  while (encoded(length) !== bytes) length += bytes - encoded(length);
  expect(length).toBeLessThanOrEqual(limits.VALUE_BYTES_MAX);
  return build(length);
}

const BLANK: Request = {
  ...{ id: 1, timeLeftMs: 30_000, keyspace: '', key: key(1), clientId: new Uint8Array(0) },
  ...{ sequence: 0, lowWater: 1, sessionTime: 0, attempt: 1, ack: 'ACK_QUORUM', traceParent: '' },
  operation: 'get',
};

/** That many reads of small things in one message, and how often each answer came. */
async function readTogether(address: string, count: number): Promise<Record<string, number>> {
  const { session } = new Prober(address);
  const reads = Array.from({ length: count }, (_, at) => ({ ...BLANK, id: 1 + at, get: LINEARIZABLE_GET }));
  const counts: Record<string, number> = {};
  for (const name of (await session.sendTogether(reads)).map(nameOf)) counts[name] = (counts[name] ?? 0) + 1;
  session.close();
  return counts;
}

describe('messages and streams', () => {
  it.each([
    [0, 'receipt'],
    [1, 'ended'],
  ])('a message of 16 MiB and %d bytes: %s', async (extra, verdict) => {
    for (const { address, id: name } of servers()) {
      const prober = new Prober(address);
      const keyOf = (n: number) => Buffer.from(`${name}-${extra}-${n}`);
      const { sessionTime } = await openingWrite(prober.session, {
        ...{ operation: 'put', key: keyOf(0), put: { value: Buffer.of(1), codec: 4, ttlMs: 0 } },
        ...{ sequence: 1, lowWater: 1, attempt: 1 },
      });
      const make = (n: number): Request => ({
        ...{ ...BLANK, id: 100 + n, key: keyOf(n), sequence: n + 1, sessionTime, operation: 'put' },
        put: { value: Buffer.alloc(limits.VALUE_BYTES_MAX, 1), codec: 4, ttlMs: 0 },
      });
      const full = Array.from({ length: 15 }, (_, n) => make(n + 1));
      const message = messageOf(limits.MESSAGE_BYTES_MAX + extra, full, make(16));
      const replies = await prober.session.sendTogether(message);
      expect(new Set(replies.map(nameOf))).toEqual(new Set([verdict]));
      prober.session.close();
      const reader = new Prober(address);
      expect(await reader.length(keyOf(1))).toBe(extra === 0 ? limits.VALUE_BYTES_MAX : -1);
      reader.session.close();
    }
    await expectAlive();
  });

  it('a message has up to 16,384 items; one more ends the stream', async () => {
    for (const { address } of servers()) {
      const taken = await readTogether(address, limits.MESSAGE_ITEMS_MAX);
      expect(taken.ended ?? 0).toBe(0);
      const over = limits.MESSAGE_ITEMS_MAX + 1;
      expect(await readTogether(address, over)).toEqual({ ended: over });
    }
    await expectAlive();
  });

  it('a stream is told its credit of 2,048, and refused what is beyond twice that', async () => {
    const most = 2 * limits.STREAM_IN_FLIGHT_MAX;
    for (const { address } of servers()) {
      const client = openClient(address);
      await until(() => client.welcome !== undefined, 'the welcome');
      expect(client.welcome!.maxInFlight).toBe(limits.STREAM_IN_FLIGHT_MAX);
      client.session.close();
      expect(await readTogether(address, most)).toEqual({ value: most });
      expect(await readTogether(address, most + 1)).toEqual({
        value: most,
        'OVERLOADED not_applied': 1,
      });
    }
    await expectAlive();
  });

  it('ids in a hello have 16 and up to 256 bytes', async () => {
    const end = async (hello: Partial<Hello>): Promise<string> => {
      const client = openClient(cluster.ready.nodes[0]!.address, hello);
      await until(() => client.welcome !== undefined || client.ends.length > 0, 'an answer');
      const code = client.ends[0]?.code ?? 'welcomed';
      client.session.close();
      return code;
    };
    expect(await end({ clientId: Buffer.alloc(limits.CLIENT_ID_BYTES - 1, 1) })).toBe('INVALID_ARGUMENT');
    expect(await end({ clientId: Buffer.alloc(limits.CLIENT_ID_BYTES, 1) })).toBe('welcomed');
    expect(await end({ clientId: Buffer.alloc(limits.CLIENT_ID_BYTES + 1, 1) })).toBe('INVALID_ARGUMENT');
    const clusterId = 'c'.repeat(limits.HELLO_ID_LENGTH_MAX);
    expect(await end({ clusterId })).toBe('WRONG_CLUSTER');
    expect(await end({ clusterId: `${clusterId}c` })).toBe('INVALID_ARGUMENT');
    await expectAlive();
  });
});

it('the shape of a cluster has limits that the commands hold to', async () => {
  const router = ['router', '--data', 'nowhere'];
  const wrong = [
    ['--partitions', `${limits.PARTITIONS_MAX + 1}`],
    ['--partitions', '0'],
    ['--replication-factor', `${limits.REPLICATION_FACTOR_MAX + 1}`],
    ['--replication-factor', '0'],
  ];
  for (const flags of wrong)
    expect(await runCommand([...router, ...flags])).toMatchObject({ status: 2, stdout: '' });
});
