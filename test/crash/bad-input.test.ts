/**
 * Handshakes, addresses and directories that are wrong: each is refused with its code, nothing of it is applied, and the
 * processes live on. Requests beyond their limits are in test/e2e/limits.test.ts.
 */
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import { crc32c } from '../../src/common/crc32c.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import { grpcConnector } from '../../src/common/wire/connections.ts';
import { makeHello } from '../../src/common/wire/handshake.ts';
import type { Hello } from '../../src/common/wire/messages.ts';
import { runCommand } from '../support/command.ts';
import { ClusterProcess, eventually, type ProcessCluster, startCluster } from '../support/processes.ts';

/** One partition: its leader takes everything. */
const ONE = { partitions: 1 };

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
