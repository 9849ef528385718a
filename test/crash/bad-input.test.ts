/**
 * Well-formed requests, handshakes and directories that are wrong: each is refused with its code, nothing of it is
 * applied, and the processes live on.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import { crc32c } from '../../src/common/crc32c.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import { KEY_BYTES_MAX, MESSAGE_BYTES_MAX, VALUE_BYTES_MAX } from '../../src/common/limits.ts';
import { LINEARIZABLE_GET } from '../../src/common/reads.ts';
import { grpcConnector } from '../../src/common/wire/connections.ts';
import { makeHello } from '../../src/common/wire/handshake.ts';
import type { Hello, Request } from '../../src/common/wire/messages.ts';
import { hotCodecs } from '../../src/common/wire/schema.ts';
import { runCommand } from '../support/command.ts';
import { ClusterProcess, eventually, type ProcessCluster, startCluster } from '../support/processes.ts';
import { nameOf, openingWrite, type RawRequest, RawSession } from '../support/raw-session.ts';

/** One partition: its leader takes everything. */
const ONE = { partitions: 1 };

async function leaderOf(cluster: ProcessCluster): Promise<ClusterProcess> {
  const topology = await cluster.topology();
  return cluster.node(topology.records[0]!.leader!.node);
}

/** Runs `use` with a client and ends it. */
async function withClient(
  client: RingkeepClient,
  use: (client: RingkeepClient) => Promise<void>,
): Promise<void> {
  try {
    await use(client);
  } finally {
    client.destroy();
  }
}

/** The code and outcome that a promise was rejected with. */
async function refusalOf(promise: Promise<unknown>): Promise<string> {
  const error = await promise.then(
    () => expect.fail('it was taken'),
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(RingkeepError);
  const { code, outcome } = error as RingkeepError;
  return `${code} ${outcome}`;
}

async function expectAlive(cluster: ProcessCluster, pids: readonly number[]): Promise<void> {
  expect(cluster.processes.map(({ pid }) => pid)).toEqual(pids);
  await withClient(connect(cluster.url), async (client) => {
    await client.put('alive', 'yes');
    expect(await client.get('alive')).toBe('yes');
  });
}

/** Sends writes and reads past the client's own checks. */
class Prober {
  readonly #session: RawSession;
  #sequence = 0;

  constructor(address: string, fill: number) {
    this.#session = new RawSession(address, Buffer.alloc(16, fill));
  }

  async put(key: Uint8Array, value: Uint8Array): Promise<string> {
    this.#sequence += 1;
    const request: RawRequest = { operation: 'put', key, put: { value, codec: 4, ttlMs: 0 } };
    const numbered = { ...request, sequence: this.#sequence, lowWater: this.#sequence, attempt: 1 };
    return nameOf((await openingWrite(this.#session, numbered)).reply);
  }

  /** Length of the value of a key; -1: it is absent; else what was answered. */
  async length(key: Uint8Array): Promise<number | string> {
    const reply = await this.#session.send({ operation: 'get', key, get: LINEARIZABLE_GET });
    if (reply === 'ended' || !reply.value) return nameOf(reply);
    return reply.value.found ? reply.value.value.length : -1;
  }

  close(): void {
    this.#session.close();
  }
}

it('keys and values are taken up to their limits and refused beyond them, on router and node', async () => {
  const cluster = await startCluster(ONE);
  const pids = cluster.processes.map(({ pid }) => pid);
  for (const { address, name } of [cluster.router, await leaderOf(cluster)]) {
    const prober = new Prober(address, name.length);
    const key = (length: number) => Buffer.alloc(length, name);
    expect(await prober.put(key(0), key(1))).toBe('KEY_TOO_LARGE not_applied');
    expect(await prober.length(key(0))).toBe('KEY_TOO_LARGE not_applied');
    expect(await prober.put(key(KEY_BYTES_MAX), key(1))).toBe('receipt');
    expect(await prober.length(key(KEY_BYTES_MAX))).toBe(1);
    expect(await prober.put(key(KEY_BYTES_MAX + 1), key(1))).toBe('KEY_TOO_LARGE not_applied');
    const at = Buffer.from(`${name} at the limit`);
    const over = Buffer.from(`${name} over the limit`);
    expect(await prober.put(at, Buffer.alloc(VALUE_BYTES_MAX))).toBe('receipt');
    expect(await prober.length(at)).toBe(VALUE_BYTES_MAX);
    expect(await prober.put(over, Buffer.alloc(VALUE_BYTES_MAX + 1))).toBe('VALUE_TOO_LARGE not_applied');
    expect(await prober.length(over)).toBe(-1);
    expect(await prober.put(at, Buffer.alloc(0))).toBe('receipt');
    expect(await prober.length(at)).toBe(0);
    prober.close();
  }
  await withClient(connect(cluster.url, { codec: 'bytes' }), async (client) => {
    expect(await refusalOf(client.put('', Buffer.of(1)))).toBe('KEY_TOO_LARGE not_applied');
    const large = Buffer.alloc(VALUE_BYTES_MAX + 1);
    expect(await refusalOf(client.put('large', large))).toBe('VALUE_TOO_LARGE not_applied');
    expect(await client.get('large')).toBeUndefined();
  });
  await expectAlive(cluster, pids);
});

it('nodes that take longer values say so to routed and direct clients', async () => {
  const bytesMax = 8 * 1024 * 1024;
  const cluster = await startCluster({ ...ONE, nodeFlags: ['--value-bytes-max', `${bytesMax}`] });
  const endpoints = cluster.nodes.map(({ address }) => address);
  for (const client of [connect(cluster.url), connect({ endpoints, mode: 'direct' })]) {
    await withClient(client, async () => {
      const values = client.keyspace<Uint8Array>('large', { codec: 'bytes' });
      await client.ready();
      await values.put('small', Buffer.alloc(1));
      await values.put('longest', Buffer.alloc(bytesMax, 7));
      expect((await values.get('longest'))?.length).toBe(bytesMax);
      expect(await refusalOf(values.put('longer', Buffer.alloc(bytesMax + 1)))).toBe(
        'VALUE_TOO_LARGE not_applied',
      );
    });
  }
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
  let length = VALUE_BYTES_MAX / 2;
  while (encoded(length) !== bytes) length += bytes - encoded(length);
  expect(length).toBeLessThanOrEqual(VALUE_BYTES_MAX);
  return build(length);
}

it('a message of 16 MiB is taken, one byte more ends the stream with nothing applied', async () => {
  const cluster = await startCluster(ONE);
  const pids = cluster.processes.map(({ pid }) => pid);
  for (const { address, name } of [cluster.router, await leaderOf(cluster)]) {
    for (const [extra, applied] of [
      [0, true],
      [1, false],
    ] as const) {
      const session = new RawSession(address, Buffer.from(`${name}-${extra}`.padEnd(16, '.')));
      const keyOf = (n: number) => Buffer.from(`${name}-${extra}-${n}`);
      const opened = await openingWrite(session, {
        ...{ operation: 'put', key: keyOf(0), put: { value: Buffer.of(1), codec: 4, ttlMs: 0 } },
        ...{ sequence: 1, lowWater: 1, attempt: 1 },
      });
      const { sessionTime } = opened;
      const make = (n: number): Request => ({
        ...{ id: 100 + n, timeLeftMs: 30_000, keyspace: '', key: keyOf(n), clientId: new Uint8Array(0) },
        ...{ sequence: n + 1, lowWater: 1, sessionTime, attempt: 1, ack: 'ACK_QUORUM', traceParent: '' },
        ...{ operation: 'put', put: { value: Buffer.alloc(VALUE_BYTES_MAX, 1), codec: 4, ttlMs: 0 } },
      });
      const full = Array.from({ length: 15 }, (_, n) => make(n + 1));
      const message = messageOf(MESSAGE_BYTES_MAX + extra, full, make(16));
      const replies = await session.sendTogether(message);
      expect(new Set(replies.map(nameOf))).toEqual(new Set([applied ? 'receipt' : 'ended']));
      session.close();
      const prober = new Prober(address, 99);
      expect((await prober.length(keyOf(1))) === VALUE_BYTES_MAX).toBe(applied);
      prober.close();
    }
  }
  await expectAlive(cluster, pids);
});

/** The code that a session with this hello ends with. */
function sessionEnd(address: string, hello: Hello): Promise<string> {
  return new Promise((resolve) => {
    grpcConnector.openSession(address, hello, {
      onWelcome: () => resolve('welcomed'),
      onReplies: () => {},
      onGoaway: () => {},
      onEnd: ({ code, outcome }) => resolve(`${code} ${outcome}`),
    });
  });
}

it('callers of another cluster, version or address are refused, on every service', async () => {
  const cluster = await startCluster(ONE);
  const pids = cluster.processes.map(({ pid }) => pid);
  const hellos: [Partial<Hello>, string][] = [
    [{ clusterId: 'another' }, 'WRONG_CLUSTER'],
    [{ protocolMin: 7, protocolMax: 9 }, 'VERSION_MISMATCH'],
    [{ expectedNode: 'n9' }, 'WRONG_NODE'],
    [{ clientId: Buffer.alloc(3) }, 'INVALID_ARGUMENT'],
  ];
  for (const { address } of [cluster.router, cluster.nodes[0]!]) {
    for (const [wrong, code] of hellos) {
      const hello = makeHello({ role: 'client', clientId: Buffer.alloc(16, 1), ...wrong });
      expect(await sessionEnd(address, hello)).toBe(`${code} not_applied`);
      expect(await refusalOf(grpcConnector.adminStatus(address, hello, 5_000))).toBe(`${code} not_applied`);
      const watched = await new Promise((resolve) => {
        grpcConnector.watchTopology(address, hello, {
          onTopology: () => resolve('pushed'),
          onEnd: (error) => resolve(error.code),
        });
      });
      expect(watched).toBe(code);
    }
  }
  const subscriber = makeHello({ role: 'node', nodeId: 'n9', clusterId: 'another' });
  const subscribed = await new Promise((resolve) => {
    grpcConnector.subscribePeer(cluster.nodes[0]!.address, subscriber, {
      onWelcome: () => resolve('welcomed'),
      onMessages: () => {},
      onEnd: (error) => resolve(error.code),
    });
  });
  expect(subscribed).toBe('WRONG_CLUSTER');
  await expectAlive(cluster, pids);
});

/** Rewrites the first line of a FORMAT file, with the checksum that belongs to it. */
async function rewriteFormat(directory: string, change: Record<string, unknown>): Promise<void> {
  const path = join(directory, 'FORMAT');
  const [line = ''] = (await readFile(path, 'utf8')).split('\n');
  const changed = JSON.stringify({ ...(JSON.parse(line) as object), ...change });
  const sum = crc32c(Buffer.from(changed)).toString(16).padStart(8, '0');
  await writeFile(path, `${changed}\ncrc32c ${sum}\n`);
}

/** The code that `ringkeep node` on this directory ends with. */
async function nodeEnd(id: string, data: string, router: string): Promise<string> {
  const args = ['node', '--id', id, '--data', data, '--router', router, '--json'];
  const { status, stdout, stderr } = await runCommand(args);
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  const last = stderr.trim().split('\n').at(-1) ?? '';
  return (JSON.parse(last) as { error: { code: string } }).error.code;
}

it('a directory of another version, node or cluster is left alone, and says so', async () => {
  const cluster = await startCluster(ONE);
  await withClient(connect(cluster.url), (client) => client.put('k', 'v').then(() => {}));
  const { clusterId } = await cluster.topology();
  const [, , third] = cluster.nodes;
  const { router } = cluster;
  expect(await nodeEnd('n3', third!.data, router.address)).toBe('DIRECTORY_IN_USE');
  await third!.kill('SIGKILL');
  expect(await nodeEnd('n9', third!.data, router.address)).toBe('WRONG_NODE');
  await rewriteFormat(third!.data, { format: 2 });
  expect(await nodeEnd('n3', third!.data, router.address)).toBe('FORMAT_TOO_NEW');
  await writeFile(join(third!.data, 'FORMAT'), 'not a format\n');
  expect(await nodeEnd('n3', third!.data, router.address)).toBe('DAMAGED');
  const foreign = join(cluster.directory, 'foreign');
  await mkdir(foreign);
  await writeFile(join(foreign, 'photo.jpg'), 'x');
  expect(await nodeEnd('n4', foreign, router.address)).toBe('WRONG_NODE');

  const stranger = await startCluster({ partitions: 1, nodes: 1 });
  const [lost] = stranger.nodes;
  await lost!.kill('SIGKILL');
  const args = ['node', '--id', 'n1', '--router', router.address];
  const misled = new ClusterProcess('n1', lost!.address, stranger.directory, args);
  await misled.start();
  const refused = await eventually('the refusal of a node of another cluster', async (missing) => {
    const [first] = await misled.logged('controller_refused');
    return first ?? missing('not refused yet');
  });
  expect(refused).toMatchObject({ error: { code: 'WRONG_CLUSTER' } });
  await misled.kill('SIGKILL');
  const format = await readFile(join(lost!.data, 'FORMAT'), 'utf8');
  expect(format).not.toContain(clusterId);
  await withClient(connect(cluster.url), async (client) => expect(await client.get('k')).toBe('v'));
});

it('an address without a cluster is UNAVAILABLE within the time given', async () => {
  const sockets = new Set<Socket>();
  const silent = createServer((socket) => sockets.add(socket));
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as { port: number };
  const timeoutMs = 1_500;
  for (const address of ['127.0.0.1:1', `127.0.0.1:${port}`, 'no-such-host.invalid:7400']) {
    for (const mode of ['routed', 'direct'] as const) {
      await withClient(connect({ endpoints: [address], mode }), async (client) => {
        const startedAt = performance.now();
        const [write, read, ready] = await Promise.all([
          refusalOf(client.put('k', 'v', { timeoutMs })),
          refusalOf(client.get('k', { timeoutMs })),
          refusalOf(client.ready({ timeoutMs })),
        ]);
        const unavailable = 'UNAVAILABLE not_applied';
        expect({ address, mode, write, read, ready }).toMatchObject({
          ...{ write: unavailable, read: unavailable, ready: unavailable },
        });
        expect(performance.now() - startedAt).toBeLessThan(timeoutMs + 3_000);
      });
    }
  }
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => silent.close(resolve));
});
