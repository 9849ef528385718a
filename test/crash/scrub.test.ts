/**
 * `ringkeep scrub` on real processes: it finds a flipped bit that nobody reads, waits until the replica has been replaced
 * from the others, and says what it could not compare. The scrubs that begin by themselves are hours away here.
 */
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { ShownScrubs } from '../../src/cli/scrub.ts';
import { connect } from '../../src/client/index.ts';
import { grpcConnector } from '../../src/common/wire/connections.ts';
import { makeHello } from '../../src/common/wire/handshake.ts';
import { runCommand } from '../support/command.ts';
import { flipBits, keysOfPartitions, makeValues, votersOn } from '../support/damage.ts';
import { eventually, type ProcessCluster, startCluster } from '../support/processes.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 4;

async function setUp(): Promise<{ cluster: ProcessCluster; values: Map<string, string> }> {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const values = makeValues();
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  const results = await client.putMany(values, { ack: 'all', timeoutMs: 60_000 });
  expect(results.filter(({ ok }) => !ok)).toEqual([]);
  return { cluster, values };
}

async function scrub(
  cluster: ProcessCluster,
  ...args: string[]
): Promise<{ status: number | null; shown: ShownScrubs }> {
  const { status, stdout, stderr } = await runCommand(['scrub', '--json', '--url', cluster.url, ...args]);
  expect(stderr).toBe('');
  return { status, shown: JSON.parse(stdout) as ShownScrubs };
}

it('finds a flipped bit, waits for the repair, and finds nothing afterwards', {
  timeout: 200_000,
}, async () => {
  const { cluster, values } = await setUp();
  const fine = await scrub(cluster);
  expect(fine).toMatchObject({ status: 0, shown: { counts: { agreed: PARTITIONS }, bad: 0 } });
  expect(fine.shown.rows).toBeGreaterThanOrEqual(values.size);
  const victim = cluster.node('n2');
  // The store writes its log into a table when it is opened again; what is not applied yet is in the WAL alone.
  await victim.kill('SIGTERM');
  await victim.start();
  await cluster.whenHealthy();
  await expectEqualReplicas(cluster, PARTITIONS);
  await victim.kill('SIGTERM');
  const keys = keysOfPartitions(PARTITIONS, values, [1, 3]);
  expect(await flipBits(join(victim.data, 'store'), '.ldb', values, keys)).toEqual(keys);
  const before = await votersOn(cluster, victim);
  await victim.start();
  await cluster.whenHealthy();

  const one = await scrub(cluster, '--partition', '0', '--partition', '2');
  expect(one).toMatchObject({ status: 0, shown: { counts: { agreed: 2 } } });
  const found = await scrub(cluster);
  expect(found).toMatchObject({
    status: 1,
    shown: { counts: { agreed: 2, damaged: 2 }, bad: 2, repaired: 2 },
  });
  const bad = found.shown.partitions.filter(({ state }) => state === 'damaged');
  expect(bad.map(({ partition, damaged }) => [partition, damaged.map(({ id }) => id)])).toEqual([
    [1, [before.get(1)]],
    [3, [before.get(3)]],
  ]);
  const after = await votersOn(cluster, victim);
  expect([...before].filter(([partition, id]) => after.get(partition) !== id)).toHaveLength(2);
  expect(await victim.logged('replica_damaged')).toHaveLength(2);

  const { status, stdout } = await runCommand(['scrub', '--url', cluster.url]);
  expect({ status, stdout }).toEqual({
    status: 0,
    stdout: expect.stringMatching(/^4 partitions: 4 agreed; \d+ rows, [\d.]+ KiB compared\n$/),
  });
  await expectEqualReplicas(cluster, PARTITIONS);
});

it('says which replica it could not compare, and begins anew with another router', {
  timeout: 200_000,
}, async () => {
  const { cluster } = await setUp();
  await cluster.node('n3').kill('SIGKILL');
  await eventually('the leaders are elsewhere', async (missing) => {
    const { records } = await cluster.topology();
    const left = records.filter(({ leader, established }) => leader?.node === 'n3' || !established);
    return left.length === 0 ? true : missing(`${left.length} partitions`);
  });
  const half = await scrub(cluster);
  expect(half).toMatchObject({ status: 3, shown: { counts: { undecided: PARTITIONS }, bad: 0 } });
  expect(half.shown.partitions[0]?.reason).toBe('no answer from n3; 2 of 3 compared');

  // The next one is under way when the router is killed; the restarted one knows nothing of it.
  const told = async (): Promise<number> => {
    const logs = await Promise.all(['n1', 'n2'].map((name) => cluster.node(name).logged('scrub_undecided')));
    return logs.flat().length;
  };
  const before = await told();
  const running = scrub(cluster);
  await eventually('a scrub under way', async (missing) =>
    (await told()) > before ? true : missing('not yet'),
  );
  await cluster.router.kill('SIGKILL');
  await cluster.router.start();
  await cluster.node('n3').start();
  expect((await running).shown.partitions).toHaveLength(PARTITIONS);
  await cluster.whenHealthy();
  expect(await scrub(cluster)).toMatchObject({ status: 0, shown: { counts: { agreed: PARTITIONS } } });
  // A node that is asked directly refuses it as well, and goes on.
  const node = cluster.node('n1');
  const { pid } = node;
  const order = { run: 0, partitions: [1, 99] };
  const asked = grpcConnector.scrub(node.address, makeHello({ role: 'client' }), order, 5_000);
  await expect(asked).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' });
  expect((await cluster.status(node)).replicas).toHaveLength(PARTITIONS);
  expect(node.pid).toBe(pid);
  const unknown = await runCommand(['scrub', '--partition', '99', '--url', cluster.url]);
  expect(unknown).toMatchObject({ status: 1, stderr: expect.stringContaining('there is no partition 99') });
});
