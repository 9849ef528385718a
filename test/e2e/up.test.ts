/**
 * `ringkeep up` with real processes: what it says, what it survives, and that nothing of it is left behind, however it
 * ends. Few partitions: this is about processes.
 */
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { runCommand } from '../support/command.ts';
import { eventually } from '../support/processes.ts';
import {
  allGone,
  cleanUpAfterEach,
  isRunning,
  launchUp,
  startUp,
  type UpCluster,
} from '../support/up-cluster.ts';

const SMALL = ['--partitions', '4'];
/** What a user is promised from Ctrl-C to the prompt. */
const STOP_MS_MAX = 8_000;

const root = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
cleanUpAfterEach();

let directories = 0;
function newDirectory(): string {
  directories += 1;
  return join(root, `data-${directories}`);
}

async function expectStopInTime(cluster: UpCluster, signal: NodeJS.Signals): Promise<void> {
  const startedAt = performance.now();
  expect(await cluster.end(signal)).toBe(0);
  expect(performance.now() - startedAt).toBeLessThan(STOP_MS_MAX);
  expect(cluster.pids.filter(isRunning)).toEqual([]);
}

async function put(cluster: UpCluster, key: string, value: string): Promise<void> {
  const { status, stderr } = await cluster.run(['put', key, value, '--timeout', '60000']);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
}

async function get(cluster: UpCluster, key: string): Promise<string> {
  return (await cluster.run(['get', key, '--timeout', '60000'])).stdout;
}

describe('ringkeep up', () => {
  it('says where everything is once writes are taken, and removes a throw-away cluster at SIGTERM', async () => {
    const cluster = await startUp([...SMALL, '--ephemeral']);
    const { url, nodes, routers, data, ephemeral } = cluster.ready;
    expect(url).toMatch(/^ringkeep:\/\/127\.0\.0\.1:\d+$/);
    expect(nodes.map(({ id }) => id)).toEqual(['n1', 'n2', 'n3']);
    expect(routers).toHaveLength(1);
    expect(ephemeral).toBe(true);
    expect(cluster.pids.every(isRunning)).toBe(true);
    expect(nodes.every((node) => statSync(node.data).isDirectory())).toBe(true);
    await put(cluster, 'k', 'v');
    expect(await get(cluster, 'k')).toBe('v\n');
    await expectStopInTime(cluster, 'SIGTERM');
    expect(existsSync(data)).toBe(false);
    expect(cluster.stderr).toBe('');
  });

  it('runs a single node, without a copy, and ends at Ctrl-C', async () => {
    const cluster = await startUp([...SMALL, '--ephemeral', '--nodes', '1']);
    await put(cluster, 'k', 'v');
    const { stdout } = await cluster.run(['status', '--json']);
    expect(JSON.parse(stdout)).toMatchObject({ replicationFactor: 1, nodes: [{ id: 'n1', alive: true }] });
    await expectStopInTime(cluster, 'SIGINT');
  });

  it('leaves no process behind when it is killed, and the next one finds the data', async () => {
    const data = newDirectory();
    const first = await startUp([...SMALL, '--data', data]);
    await put(first, 'k', 'before the kill');
    expect(await first.end('SIGKILL')).toBeNull();
    await allGone(first.pids);
    const second = await startUp(['--data', data]);
    expect(second.ready.clusterId).toBe(first.ready.clusterId);
    expect(second.ready.nodes.map(({ address }) => address)).toEqual(
      first.ready.nodes.map(({ address }) => address),
    );
    expect(await get(second, 'k')).toBe('before the kill\n');
    await expectStopInTime(second, 'SIGTERM');
    expect(readdirSync(data)).toContain('up.json');
  });

  it('keeps the cluster over an orderly restart, a stopped node included', async () => {
    const data = newDirectory();
    const first = await startUp([...SMALL, '--data', data]);
    await put(first, 'k', 'kept');
    // It cannot answer; it has to be killed, and the others are not to wait for it.
    process.kill(first.node('n2').pid, 'SIGSTOP');
    await expectStopInTime(first, 'SIGTERM');
    const second = await startUp(['--data', data]);
    expect(await get(second, 'k')).toBe('kept\n');
  });

  it('starts a node and a router that were killed again, where they were, and says why they ended', async () => {
    const cluster = await startUp([...SMALL, '--ephemeral']);
    await put(cluster, 'k', 'v');
    const victims = [cluster.node('n3'), cluster.ready.routers[0]!];
    for (const { pid } of victims) process.kill(pid, 'SIGKILL');
    for (const { id, pid, address } of victims) {
      const restarted = await eventually(`${id} restarted`, () => {
        return cluster.events.find((event) => event.event === 'restarted' && event.id === id) ?? null;
      });
      expect(restarted).toMatchObject({ address, reason: 'ended by SIGKILL' });
      expect(restarted.pid).not.toBe(pid);
      expect(cluster.events).toContainEqual(expect.objectContaining({ event: 'ended', id, pid }));
    }
    expect(await get(cluster, 'k')).toBe('v\n');
    await put(cluster, 'k', 'after');
    await expectStopInTime(cluster, 'SIGTERM');
  });

  it('ends at once at a second signal, with nothing left', async () => {
    const cluster = await startUp([...SMALL, '--ephemeral']);
    process.kill(cluster.pid, 'SIGTERM');
    await expectStopInTime(cluster, 'SIGTERM');
    expect(existsSync(cluster.ready.data)).toBe(false);
  });

  it('ends in order when it is told to while it starts', async () => {
    const data = newDirectory();
    const cluster = launchUp(['--port', '0', ...SMALL, '--data', data]);
    await eventually('the directory of the router', () => existsSync(join(data, 'router')) || null);
    expect(await cluster.end('SIGTERM')).toBe(0);
    expect(cluster.stderr).toBe('');
  });
});

describe('ringkeep up refuses', () => {
  async function expectRefused(args: readonly string[], code: string): Promise<void> {
    const { status, stdout, stderr } = await runCommand(['up', '--json', ...SMALL, ...args]);
    expect(stdout).toBe('');
    expect(JSON.parse(stderr)).toMatchObject({ error: { code } });
    expect(status).toBe(1);
  }

  it('a port that is taken', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const address = server.address();
    const port = typeof address === 'object' && address !== null ? `${address.port}` : '';
    try {
      await expectRefused(['--ephemeral', '--port', port], 'ADDRESS_IN_USE');
    } finally {
      server.close();
    }
  });

  it('a directory that is a file, somebody else’s, in use, or of a newer version', async () => {
    const file = newDirectory();
    writeFileSync(file, '');
    await expectRefused(['--port', '0', '--data', file], 'INVALID_ARGUMENT');
    const foreign = newDirectory();
    mkdirSync(foreign);
    writeFileSync(join(foreign, 'letter.txt'), 'dear');
    await expectRefused(['--port', '0', '--data', foreign], 'INVALID_ARGUMENT');
    expect(readdirSync(foreign)).toEqual(['letter.txt']);
    const newer = newDirectory();
    mkdirSync(newer);
    writeFileSync(join(newer, 'up.json'), '{"format":999}');
    await expectRefused(['--port', '0', '--data', newer], 'FORMAT_TOO_NEW');
    const data = newDirectory();
    await startUp([...SMALL, '--nodes', '1', '--data', data]);
    await expectRefused(['--port', '0', '--data', data], 'DIRECTORY_IN_USE');
  });

  it('a node’s directory of another cluster', async () => {
    const [one, other] = [newDirectory(), newDirectory()];
    for (const data of [one, other]) {
      const cluster = await startUp([...SMALL, '--nodes', '1', '--data', data]);
      await expectStopInTime(cluster, 'SIGTERM');
    }
    rmSync(join(one, 'router'), { recursive: true });
    cpSync(join(other, 'router'), join(one, 'router'), { recursive: true });
    await expectRefused(['--port', '0', '--data', one], 'WRONG_CLUSTER');
  });

  it('more copies than nodes, and options that exclude each other', async () => {
    await expectRefused(['--ephemeral', '--nodes', '2', '--replication-factor', '3'], 'INVALID_ARGUMENT');
    const { status } = await runCommand(['up', '--ephemeral', '--data', newDirectory()]);
    expect(status).toBe(2);
  });
});
