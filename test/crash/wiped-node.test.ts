/**
 * A node loses its directory: it comes back under new replica ids, is filled by snapshots, votes only when it is level, and
 * then holds what the others hold. Nothing acknowledged is lost, also when another node dies afterwards.
 */
import { rm } from 'node:fs/promises';
import { expect, it, onTestFinished } from 'vitest';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import { Load } from '../support/load.ts';
import { type ClusterProcess, eventually, type ProcessCluster, startCluster } from '../support/processes.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 12;
const MIB = 1024 * 1024;
/** Small, so that the log of the bulk below is cut and cannot fill an empty replica. */
const NODE_FLAGS = ['--wal-segment-bytes', '--wal-retention-bytes', '--checkpoint-bytes'].flatMap((flag) => [
  flag,
  `${MIB}`,
]);
const BULK_KEYS = 1_500;
const BULK_VALUE_BYTES = 4_096;

async function putBulk(client: RingkeepClient, round: number): Promise<void> {
  const filler = 'v'.repeat(BULK_VALUE_BYTES);
  const entries = Array.from(
    { length: BULK_KEYS },
    (_, index) => [`bulk-${index}`, `${round}${filler}`] as const,
  );
  const results = await client.putMany(entries, { timeoutMs: 60_000 });
  expect(results.filter(({ ok }) => !ok)).toEqual([]);
}

async function expectBulk(client: RingkeepClient, round: number): Promise<void> {
  const keys = Array.from({ length: BULK_KEYS }, (_, index) => `bulk-${index}`);
  const values = await client.getMany<string>(keys, { timeoutMs: 60_000 });
  expect(values.filter((value) => value?.[0] !== `${round}`).length).toBe(0);
}

/** Every replica that votes now on the node was added as a learner first, and none is one of `old`. */
async function expectLearnersFirst(
  cluster: ProcessCluster,
  node: string,
  old: ReadonlySet<string>,
): Promise<void> {
  const added = await cluster.router.logged('learner_added');
  const learners = new Set(added.map(({ replica }) => replica));
  const { records } = await cluster.topology();
  const voters = records.flatMap((record) => record.voters).filter((voter) => voter.node === node);
  expect(voters.length).toBe(PARTITIONS);
  expect(voters.filter(({ id }) => old.has(id) || !learners.has(id))).toEqual([]);
}

/** Looks until the cluster is healthy; no voter of the node may be without its data. */
async function expectNoEmptyVoters(cluster: ProcessCluster, node: ClusterProcess): Promise<void> {
  const healthy = cluster.whenHealthy(120_000);
  let done = false;
  const finished = healthy.finally(() => {
    done = true;
  });
  await eventually(
    'the wiped node votes',
    async () => {
      // The record first: whoever votes in it must hold data at the later look at the node.
      const topology = await cluster.topology().catch(() => null);
      const status = await cluster.status(node).catch(() => null);
      const voters = new Set(topology?.records.flatMap((record) => record.voters.map(({ id }) => id)) ?? []);
      for (const { replica, state, lastIndex } of status?.replicas ?? []) {
        if (voters.has(replica) && lastIndex === 0)
          expect.fail(`${replica} votes and is ${state} at index ${lastIndex}`);
      }
      return done ? true : null;
    },
    120_000,
  );
  await finished;
}

it('fills a wiped node by snapshots before it votes, and loses nothing', { timeout: 400_000 }, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS, nodeFlags: NODE_FLAGS });
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  const load = new Load({ url: cluster.url, partitions: PARTITIONS, writers: 4 });
  await load.start();
  await putBulk(client, 1);

  const victim = cluster.node('n2');
  // Only what is left of their WALs is in the others' memory then, so that an empty replica needs a snapshot.
  for (const name of ['n1', 'n3']) {
    await cluster.whenHealthy();
    await cluster.node(name).kill('SIGTERM');
    await cluster.node(name).start();
  }
  const before = await cluster.whenHealthy();
  const old = new Set(before.records.flatMap(({ voters }) => voters.map(({ id }) => id)));
  await victim.kill('SIGKILL');
  await rm(victim.data, { recursive: true });
  await putBulk(client, 2);
  await putBulk(client, 3);
  const startedAt = performance.now();
  await victim.start();
  await expectNoEmptyVoters(cluster, victim);
  console.log(
    `a voter on every partition again ${Math.round(performance.now() - startedAt)} ms after its start`,
  );

  await expectLearnersFirst(cluster, victim.name, old);
  const installed = await victim.logged('snapshot_installed');
  expect(new Set(installed.map(({ partition }) => partition)).size).toBe(PARTITIONS);
  await load.stop();
  await expectEqualReplicas(cluster, PARTITIONS);

  await cluster.node('n3').kill('SIGKILL');
  await load.verify();
  await expectBulk(client, 3);
  await putBulk(client, 4);
  await expectBulk(client, 4);
  console.log(load.summary());
  expect(load.breaches).toEqual([]);
});
