/**
 * One bit of a stopped node's files is flipped: in its WAL, and in the tables of its store. The damage is found and never
 * served, the replica is replaced from the others under a new id, and nothing acknowledged is lost.
 */
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import { flipBits, keysOfPartitions, makeValues, votersOn } from '../support/damage.ts';
import { type ClusterProcess, eventually, type ProcessCluster, startCluster } from '../support/processes.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 6;

async function putAll(client: RingkeepClient, values: ReadonlyMap<string, string>): Promise<void> {
  const results = await client.putMany(values, { ack: 'all', timeoutMs: 60_000 });
  expect(results.filter(({ ok }) => !ok)).toEqual([]);
}

/** Every read shows what was written. A read that fails shows nothing; it fails the test as well. */
async function expectAll(client: RingkeepClient, values: ReadonlyMap<string, string>): Promise<void> {
  const found = await client.getMany<string>(values.keys(), { timeoutMs: 60_000 });
  const wrong = [...values.keys()].filter((key, index) => found[index] !== values.get(key));
  expect(wrong).toEqual([]);
}

/** Waits until exactly the damaged replicas were replaced and all is well; every value is read all the time. */
async function expectReplaced(
  cluster: ProcessCluster,
  client: RingkeepClient,
  values: ReadonlyMap<string, string>,
  victim: ClusterProcess,
  before: ReadonlyMap<number, string>,
  damaged: readonly number[],
): Promise<void> {
  await eventually('the damaged replicas are replaced', async (missing) => {
    await expectAll(client, values);
    const after = await votersOn(cluster, victim);
    const rest = damaged.filter((partition) => after.get(partition) === before.get(partition));
    return rest.length === 0 ? true : missing(`not yet: ${rest.join(', ')}`);
  });
  await cluster.whenHealthy();
  await expectAll(client, values);
  const after = await votersOn(cluster, victim);
  const replaced = [...before].filter(([partition, id]) => after.get(partition) !== id);
  expect(replaced.map(([partition]) => partition)).toEqual(damaged);
  const found = new Set((await victim.logged('replica_damaged')).map(({ partition }) => partition));
  expect([...found].sort()).toEqual(damaged);
  await expectEqualReplicas(cluster, PARTITIONS);
}

async function setUp(nodeFlags: readonly string[] = []) {
  const cluster = await startCluster({ partitions: PARTITIONS, nodeFlags });
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  const values = makeValues();
  await putAll(client, values);
  return { cluster, client, values, victim: cluster.node('n2') };
}

it('replaces a replica whose WAL has a flipped bit', { timeout: 200_000 }, async () => {
  const { cluster, client, values, victim } = await setUp();
  // Damage in the last group before a crash cannot be told from a torn tail (src/node/wal/DESIGN.md); a group follows here.
  await client.put('a later group', 'of every voter', { ack: 'all' });
  await victim.kill('SIGKILL');
  const damaged = [1];
  const keys = keysOfPartitions(PARTITIONS, values, damaged);
  expect(await flipBits(join(victim.data, 'wal'), '.wal', values, keys)).toEqual(keys);
  const before = await votersOn(cluster, victim);
  await victim.start();
  await expectReplaced(cluster, client, values, victim, before, damaged);
});

it('replaces replicas whose stored values have flipped bits', { timeout: 300_000 }, async () => {
  const { cluster, client, values, victim } = await setUp(['--scrub-interval-ms', '1000']);
  // The store writes its log into a table when it is opened again.
  await victim.kill('SIGTERM');
  await victim.start();
  await cluster.whenHealthy();
  // What a follower has not applied yet is in its WAL alone.
  await expectEqualReplicas(cluster, PARTITIONS);
  await victim.kill('SIGTERM');
  const damaged = [0, 2, 5];
  const keys = keysOfPartitions(PARTITIONS, values, damaged);
  expect(await flipBits(join(victim.data, 'store'), '.ldb', values, keys)).toEqual(keys);
  const before = await votersOn(cluster, victim);
  await victim.start();
  await expectReplaced(cluster, client, values, victim, before, damaged);
});

it('is not started again with a store that LevelDB cannot go on with, and says what to do', {
  timeout: 200_000,
}, async () => {
  const cluster = await startCluster({
    partitions: PARTITIONS,
    nodeFlags: ['--scrub-interval-ms', '1000'],
  });
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  // Blocks that are stored compressed: of a damaged one nothing can be read at all.
  const values = new Map(Array.from({ length: 240 }, (_, at) => [`bulk-${at}`, `value ${at} `.repeat(100)]));
  await putAll(client, values);
  const victim = cluster.node('n2');
  await victim.kill('SIGTERM');
  const folder = join(victim.data, 'store');
  for (const name of (await readdir(folder)).filter((file) => file.endsWith('.ldb'))) {
    const bytes = await readFile(join(folder, name));
    await writeFile(join(folder, name), bytes.fill(0xff, 200, 260));
  }
  await victim.start();
  await eventually('it has ended by itself', async (missing) => {
    await expectAll(client, values);
    return victim.running ? missing('it runs') : true;
  });
  const [failed] = await victim.logged('node_failed');
  expect(JSON.stringify(failed)).toContain('orruption');
  await expect(victim.start()).rejects.toThrow('ended before it was ready');
  expect(await victim.logTail(3)).toMatch(
    /the store is damaged: .*wipe the directory and let the node join anew/,
  );
  await expectAll(client, values);
  await victim.wipe();
  await victim.start();
  await cluster.whenHealthy();
  await expectAll(client, values);
  await expectEqualReplicas(cluster, PARTITIONS);
});
