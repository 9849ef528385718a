/**
 * Default acknowledgement levels through the real program: set by `ringkeep ack`, looked up by the leaders, the same for
 * every client, and still there after everything was killed.
 */
import { expect, it } from 'vitest';
import { connect, type Receipt, type RingkeepClient } from '../../src/client/index.ts';
import { runCommand } from '../support/command.ts';
import { eventually, type ProcessCluster, startCluster } from '../support/processes.ts';

const SHAPE = { partitions: 2, routerFlags: ['--ack', 'all'] };

async function ringkeep(cluster: ProcessCluster, ...args: string[]): Promise<string> {
  const { status, stdout, stderr } = await runCommand([...args, '--url', cluster.url]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  return stdout;
}

/** Runs `use` with a client that has seen nothing yet. */
async function withFresh<T>(cluster: ProcessCluster, use: (db: RingkeepClient) => Promise<T>): Promise<T> {
  const db = connect(cluster.url);
  try {
    return await use(db);
  } finally {
    db.destroy();
  }
}

/** The level at which plain puts of a fresh client are acknowledged, once it is the one expected. */
function acknowledgedAt(
  cluster: ProcessCluster,
  keyspace: string,
  level: Receipt['durability'],
): Promise<true> {
  return eventually(`puts to be acknowledged at ${level}`, async (missing) => {
    const receipt = await withFresh(cluster, (db) =>
      keyspace === '' ? db.put('k', 1) : db.keyspace(keyspace).put('k', 1),
    );
    return receipt.durability === level ? true : missing(`${receipt.durability}`);
  });
}

it('a default holds for every client that names no level, and a call may name another', async () => {
  const cluster = await startCluster(SHAPE);
  expect(await ringkeep(cluster, 'ack')).toBe('cluster: all\n');
  await acknowledgedAt(cluster, '', 'all');
  expect(await ringkeep(cluster, 'ack', 'leader')).toBe('cluster: leader\n');
  expect(await ringkeep(cluster, 'ack', 'all', '--keyspace', 'orders')).toBe(
    'cluster: leader\nkeyspace orders: all\n',
  );
  await acknowledgedAt(cluster, 'orders', 'all');
  await acknowledgedAt(cluster, '', 'leader');
  await withFresh(cluster, async (db) => {
    const orders = db.keyspace('orders');
    expect(await orders.put('k', 2, { ack: 'quorum' })).toMatchObject({ durability: 'quorum' });
    const named = db.keyspace('orders', { ack: 'quorum' });
    expect(await named.put('k', 3)).toMatchObject({ durability: 'quorum' });
    expect(await db.increment('n')).toMatchObject({ durability: 'quorum', value: 1 });
    expect(await db.put('seat', 'Ada', { ifAbsent: true })).toMatchObject({ durability: 'quorum' });
    await expect(db.increment('n', 1, { ack: 'leader' })).rejects.toMatchObject({
      code: 'CONDITION_UNSUPPORTED',
    });
  });
  const written = await ringkeep(cluster, 'put', 'k', 'v', '--keyspace', 'orders', '--json');
  expect(JSON.parse(written)).toMatchObject({ durability: 'all' });
  const acks = { cluster: 'leader', keyspaces: [{ keyspace: 'orders', ack: 'all' }] };
  expect(JSON.parse(await ringkeep(cluster, 'status', '--json')).acks).toEqual(acks);
  expect(JSON.parse(await ringkeep(cluster, 'ack', '--json'))).toEqual(acks);

  await Promise.all(cluster.processes.map((process) => process.kill('SIGKILL')));
  await cluster.start();
  await cluster.whenHealthy();
  await acknowledgedAt(cluster, 'orders', 'all');
  expect(await ringkeep(cluster, 'ack', '--unset', '--keyspace', 'orders')).toBe('cluster: leader\n');
  await acknowledgedAt(cluster, 'orders', 'leader');
});

it('what makes no sense is refused', async () => {
  const cluster = await startCluster({ partitions: 1, nodes: 1 });
  const run = (...args: string[]) => runCommand(['ack', ...args, '--url', cluster.url]);
  expect((await run('most')).status).toBe(2);
  expect((await run('--unset')).status).toBe(2);
  expect((await run('all', '--unset', '--keyspace', 'orders')).status).toBe(2);
  expect((await run('--keyspace', 'orders')).status).toBe(2);
  const long = await run('all', '--keyspace', 'k'.repeat(65));
  expect(long).toMatchObject({ status: 1, stdout: '' });
  expect(long.stderr).toMatch(/^error: INVALID_ARGUMENT a keyspace name has at most 64 bytes/);
  const node = await runCommand(['ack', 'all', '--url', `ringkeep://${cluster.nodes[0]!.address}`]);
  expect(node.stderr).toMatch(/^error: INVALID_ARGUMENT .*ask a router/);
  expect((await run()).stdout).toBe('cluster: quorum\n');
});
