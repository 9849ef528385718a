/**
 * A node's data directory is copied while it is stopped, and put back after the node has run on: the copy has forgotten
 * promises and writes. It answers nothing, is found out, counts as lost, and its replicas are replaced under new ids.
 */
import { cp, rm } from 'node:fs/promises';
import { expect, it, onTestFinished } from 'vitest';
import { connect } from '../../src/client/index.ts';
import { Load } from '../support/load.ts';
import { type ClusterProcess, eventually, type ProcessCluster, startCluster } from '../support/processes.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 12;

async function votersOn(cluster: ProcessCluster, node: ClusterProcess): Promise<string[]> {
  const { records } = await cluster.topology();
  return records
    .flatMap(({ voters }) => voters.filter((voter) => voter.node === node.name))
    .map(({ id }) => id);
}

it('takes an old copy of a directory for a lost one, and loses nothing', { timeout: 240_000 }, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const node = cluster.node('n2');
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  await client.put('before', 1, { ack: 'all' });
  const copy = `${node.data}-copy`;
  await node.kill('SIGTERM');
  await cp(node.data, copy, { recursive: true });
  await node.start();
  await cluster.whenHealthy();
  const load = new Load({ url: cluster.url, partitions: PARTITIONS, writers: 4 });
  await load.start();
  await client.put('after', 2, { ack: 'all' });
  const before = await votersOn(cluster, node);
  expect(before).toHaveLength(PARTITIONS);

  await node.kill('SIGKILL');
  await rm(node.data, { recursive: true });
  await cp(copy, node.data, { recursive: true });
  await node.start();
  // Its process ends by itself, as after a failed disk: whoever watches over it starts it again.
  await eventually('the process on the old copy ends', (missing) =>
    node.running ? missing('it runs') : true,
  );
  const admitted = (await node.logged('node_admitted')).length;
  expect(await node.logged('node_failed')).toMatchObject([{ error: { code: 'ROLLED_BACK' } }]);
  expect(await cluster.router.logged('node_rolled_back')).not.toHaveLength(0);
  expect(admitted).toBe(2);

  await node.start();
  await cluster.whenHealthy(120_000);
  await eventually('every replica on it is new', async (missing) => {
    const after = await votersOn(cluster, node);
    const kept = after.filter((id) => before.includes(id));
    return after.length === PARTITIONS && kept.length === 0
      ? true
      : missing(`${after.length}, kept ${kept.length}`);
  });
  await load.stop();
  await load.verify();
  console.log(load.summary());
  expect(load.breaches).toEqual([]);
  expect(await client.get('before')).toBe(1);
  expect(await client.get('after')).toBe(2);
  await expectEqualReplicas(cluster, PARTITIONS);
});
