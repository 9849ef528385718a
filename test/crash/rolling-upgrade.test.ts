/**
 * The fault `rolling-upgrade` of src/chaos/faults/upgrades.ts: all processes go to the protocol version before and back, one after the
 * other, under load at all three acknowledgement levels, and wherever it is broken off, every process ends up at the present version.
 */
import { expect, it, onTestFinished } from 'vitest';
import { UPGRADE_FAULTS } from '../../src/chaos/faults/upgrades.ts';
import type { ShownScrubs } from '../../src/cli/scrub.ts';
import { connect } from '../../src/client/index.ts';
import { PROTOCOL_MAX } from '../../src/common/limits.ts';
import { createRandom } from '../../src/common/random.ts';
import { runCommand } from '../support/command.ts';
import { makeValues } from '../support/damage.ts';
import { passThrough, underLoad } from '../support/faults.ts';
import {
  eventually,
  ledBy,
  type ProcessCluster,
  prepareCluster,
  startCluster,
} from '../support/processes.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 6;
const TIMEOUT_MS = 240_000;
const [upgrade] = UPGRADE_FAULTS;

async function expectPresent(cluster: ProcessCluster): Promise<void> {
  for (const process of cluster.processes) expect(await cluster.protocolOf(process)).toBe(PROTOCOL_MAX);
}

it('goes to the version before and back without an error', { timeout: TIMEOUT_MS }, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const acks = ['leader', 'quorum', 'all'] as const;
  const load = await underLoad(
    cluster,
    PARTITIONS,
    async () => {
      const proof = await passThrough(cluster, upgrade!);
      expect(proof).toContain(`each has spoken ${PROTOCOL_MAX - 1}, and ${PROTOCOL_MAX} again: router`);
      await expectPresent(cluster);
    },
    { acks, requestTimeoutMs: 60_000 },
  );
  expect([...load.failures, ...load.readFailures]).toEqual([]);
  await expectEqualReplicas(cluster, PARTITIONS);
  // What is started from here on is as it was before.
  await cluster.node('n1').kill('SIGKILL');
  await cluster.start();
  await cluster.whenHealthy();
  await expectPresent(cluster);
});

it('leaves every process at the present version when it is broken off', { timeout: TIMEOUT_MS }, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const random = createRandom(1);
  const context = { cluster, random, holdMs: 60_000, partitions: PARTITIONS, keyspace: '' };
  const fault = await upgrade!.inject(context);
  await eventually('a node of the version before', async (missing) => {
    const found = await cluster.protocolOf(cluster.node('n2')).catch(() => 0);
    return found === PROTOCOL_MAX - 1 ? true : missing(`${found}`);
  });
  await fault.undo();
  await expect(fault.confirmed).rejects.toMatchObject({ code: 'CANCELLED' });
  await expectPresent(cluster);
});

it('scrubs between versions by interval, and on demand as far as leaders know of it', {
  timeout: TIMEOUT_MS,
}, async () => {
  const cluster = await prepareCluster({
    partitions: PARTITIONS,
    nodeFlags: ['--scrub-interval-ms', '1000'],
  });
  const older = cluster.node('n1');
  older.surround((launch) => ({ ...launch, args: [...launch.args, '--protocol-max', '1'] }));
  await cluster.start();
  const topology = await cluster.whenHealthy();
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  const results = await client.putMany(makeValues(), { ack: 'all', timeoutMs: 60_000 });
  expect(results.filter(({ ok }) => !ok)).toEqual([]);

  const unasked = ledBy(topology, older.name);
  expect(unasked.length).toBeGreaterThan(0);
  const { status, stdout } = await runCommand(['scrub', '--json', '--url', cluster.url]);
  const shown = JSON.parse(stdout) as ShownScrubs;
  expect(status).toBe(3);
  expect(shown.counts).toMatchObject({ agreed: PARTITIONS - unasked.length, unavailable: unasked.length });
  for (const { partition, state, reason } of shown.partitions) {
    if (state === 'agreed') continue;
    expect(unasked).toContain(partition);
    expect(reason).toBe('n1 speaks an earlier protocol, without scrubs on demand');
  }
  // A leader of 1 and followers of 2, and leaders of 2 with a follower of 1.
  for (const node of cluster.nodes) {
    await eventually(`a scrub led by ${node.name}`, async (missing) =>
      (await node.logged('scrub_agreed')).length > 0 ? true : missing('none yet'),
    );
    for (const event of ['scrub_differs', 'scrub_damaged', 'replica_damaged'])
      expect(await node.logged(event)).toEqual([]);
  }
});
