/**
 * Data directories that an earlier build has left, killed in the middle of its work, and their upgrade: under the protocol version of
 * their makers and then process after process to the present one, under load; and straight with the present build. Everything that the
 * manifest names is read, and the replicas agree.
 */
import { expect, it, onTestFinished } from 'vitest';
import type { ShownScrubs } from '../../src/cli/scrub.ts';
import type { ShownStatus } from '../../src/cli/status.ts';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import { partitionOf } from '../../src/common/hash.ts';
import { PROTOCOL_MAX } from '../../src/common/limits.ts';
import { FORMAT_VERSION } from '../../src/node/format.ts';
import { runCommand } from '../support/command.ts';
import { expectGolden, type Golden, goldenDirectories, unpackGolden } from '../support/golden.ts';
import { Load } from '../support/load.ts';
import { type ClusterProcess, type ProcessCluster, prepareCluster } from '../support/processes.ts';

const GOLDEN = goldenDirectories();
const TIMEOUT_MS = 240_000;
/** Often enough for scrubs between any two versions. */
const SCRUB_MS = '2000';
/** What would say that a good replica was taken for a bad one. */
const CONDEMNING = ['scrub_differs', 'scrub_damaged', 'replica_damaged', 'node_rolled_back'];

async function unpacked(golden: Golden): Promise<{ cluster: ProcessCluster; files: string[] }> {
  const { nodes, partitions } = golden;
  const cluster = await prepareCluster({
    nodes: nodes.length,
    partitions,
    nodeFlags: ['--scrub-interval-ms', SCRUB_MS],
  });
  expect(cluster.nodes.map(({ name }) => name)).toEqual(nodes);
  return { cluster, files: await unpackGolden(golden, cluster.directory) };
}

function open(cluster: ProcessCluster): RingkeepClient {
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  return client;
}

async function expectAll(client: RingkeepClient, golden: Golden): Promise<void> {
  await expectGolden(client, golden, 'linearizable');
  await expectGolden(client, golden, 'quorum');
}

async function expectScrubAgrees(cluster: ProcessCluster, golden: Golden): Promise<void> {
  const { status, stdout, stderr } = await runCommand(['scrub', '--json', '--url', cluster.url]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  const shown = JSON.parse(stdout) as ShownScrubs;
  expect(shown).toMatchObject({ counts: { agreed: golden.partitions }, bad: 0 });
  expect(shown.rows).toBeGreaterThan(golden.entries.filter(({ absent }) => absent !== true).length);
}

async function expectNobodyCondemned(cluster: ProcessCluster): Promise<void> {
  for (const node of cluster.nodes)
    for (const event of CONDEMNING) expect(await node.logged(event), `${node.name} ${event}`).toEqual([]);
}

async function statusOf(cluster: ProcessCluster): Promise<ShownStatus> {
  const { stdout } = await runCommand(['status', '--json', '--url', cluster.url]);
  return JSON.parse(stdout) as ShownStatus;
}

/** The protocol versions of the last connections of each node to the others. */
async function peerProtocols(cluster: ProcessCluster): Promise<unknown[]> {
  const last = new Map<string, unknown>();
  for (const node of cluster.nodes)
    for (const { peer, protocol } of await node.logged('peer_link_up'))
      last.set(`${node.name} ${peer}`, protocol);
  return [...last.values()];
}

/** Starts a process again in good order. */
async function restart(process: ClusterProcess, cluster: ProcessCluster): Promise<void> {
  expect(await process.kill('SIGTERM')).toBe(0);
  await process.start();
  await cluster.whenHealthy();
}

it('there is a directory of every format number up to the present one', () => {
  const numbers = Array.from({ length: FORMAT_VERSION }, (_, at) => at + 1);
  expect(GOLDEN.map(({ format }) => format)).toEqual(numbers);
});

it.each(GOLDEN)('format $format has tables, and a log that holds what was written last', async (golden) => {
  const { cluster, files } = await unpacked(golden);
  const tail = golden.entries.filter((entry) => entry.tail === true);
  expect(tail.length).toBeGreaterThan(20);
  for (const { name, data } of cluster.nodes) {
    expect(files.filter((file) => file.startsWith(`${name}/store/`) && file.endsWith('.ldb'))).not.toEqual(
      [],
    );
    const { stdout } = await runCommand(['waldump', data, '--json']);
    const lines = stdout.trim().split('\n');
    const records = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    const held = new Set(
      records.filter(({ type }) => type === 'entry').map(({ partition, index }) => `${partition}/${index}`),
    );
    const missing = tail.filter(
      ({ key, version }) => !held.has(`${partitionOf(Buffer.from(key), golden.partitions)}/${version}`),
    );
    // What a quorum has acknowledged, one of the others may not have had when it was killed.
    expect(missing.length, name).toBeLessThan(tail.length / 2);
    // Heads were dropped: the tables alone hold the rest.
    expect(Math.min(...records.filter(({ kind }) => kind === 'segment').map(segment))).toBeGreaterThan(1);
  }
});

function segment(record: Record<string, unknown>): number {
  return Number(record.segment);
}

it.each(GOLDEN)(
  'format $format is upgraded process after process, without an error under load',
  { timeout: TIMEOUT_MS },
  async (golden) => {
    const { cluster } = await unpacked(golden);
    const older = ['--protocol-max', `${golden.protocol}`];
    const leaves = new Map(
      cluster.processes.map((process) => [
        process,
        process.surround((launch) => ({ ...launch, args: [...launch.args, ...older] })),
      ]),
    );
    await cluster.start();
    await cluster.whenHealthy();
    for (const process of cluster.processes) expect(await cluster.protocolOf(process)).toBe(golden.protocol);
    expect(await peerProtocols(cluster)).toEqual(Array(6).fill(golden.protocol));
    const client = open(cluster);
    await expectAll(client, golden);
    const once = () => client.increment('counted once', 5, { idempotencyKey: 'before the upgrade' });
    const first = await once();
    expect(first).toMatchObject({ repeated: false, value: 5 });
    if (golden.protocol < 2) {
      const refused = await runCommand(['scrub', '--url', cluster.url]);
      expect(refused).toMatchObject({ status: 1, stderr: expect.stringContaining('this call is part of 2') });
    }

    const load = new Load({
      ...{ url: cluster.url, direct: cluster.nodeAddresses, partitions: golden.partitions },
      ...{ writers: 3, readers: 1, sharedKeys: 2, paceMs: 40, acks: ['leader', 'quorum', 'all'] },
      requestTimeoutMs: 60_000,
    });
    await load.start();
    for (const process of [...cluster.nodes, cluster.router]) {
      leaves.get(process)?.();
      await restart(process, cluster);
      expect(await cluster.protocolOf(process)).toBe(PROTOCOL_MAX);
      if (process.name !== 'n2') continue;
      // Half way: who is through, and who is not.
      expect(new Set(await peerProtocols(cluster))).toEqual(new Set([golden.protocol, PROTOCOL_MAX]));
      const { protocol, nodes } = await statusOf(cluster);
      expect([protocol, ...nodes.map((node) => node.protocol)]).toEqual([
        golden.protocol,
        PROTOCOL_MAX,
        PROTOCOL_MAX,
        golden.protocol,
      ]);
    }
    await load.stop();
    await load.verify({ leaderWrites: true });
    console.log(load.summary());
    expect(load.breaches).toEqual([]);
    expect([...load.failures, ...load.readFailures]).toEqual([]);

    const { protocol, nodes } = await statusOf(cluster);
    expect([protocol, ...nodes.map((node) => node.protocol)]).toEqual(Array(4).fill(PROTOCOL_MAX));
    expect(await peerProtocols(cluster)).toEqual(Array(6).fill(PROTOCOL_MAX));
    await expectAll(client, golden);
    expect(await once()).toMatchObject({ repeated: true, value: 5, version: first.version });
    await expectScrubAgrees(cluster, golden);
    await expectNobodyCondemned(cluster);
  },
);

it.each(GOLDEN)(
  'format $format is started by the present build at once',
  { timeout: TIMEOUT_MS },
  async (golden) => {
    const { cluster } = await unpacked(golden);
    await cluster.start();
    await cluster.whenHealthy();
    const client = open(cluster);
    await expectAll(client, golden);
    await expectScrubAgrees(cluster, golden);
    await expectNobodyCondemned(cluster);
    // It goes on from there.
    expect(await client.increment('large counter', 1)).toMatchObject({ exact: 2n ** 53n + 6n });
    await client.put('user:1', 'new');
    expect(await client.get('user:1')).toBe('new');
  },
);
