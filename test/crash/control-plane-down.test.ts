/**
 * Without the control plane: established leaders serve direct clients while the router, and the topology store in it, is
 * down (G10); a minority acknowledges nothing (G6); and a router never makes a new cluster of old data.
 */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import { partitionOf } from '../../src/common/hash.ts';
import { runCommand } from '../support/command.ts';
import {
  ClusterProcess,
  eventually,
  freePort,
  HEALTHY_MS,
  ledBy,
  type ProcessCluster,
  prepareCluster,
  startCluster,
} from '../support/processes.ts';

const PARTITIONS = 12;
/** What a user of a cluster without a quorum may have to wait for, beyond the time of the request itself. */
const BOUND_MS = 3_000;

/** One key in each partition. */
const KEYS = Array.from({ length: PARTITIONS }, (_, partition) => {
  for (let n = 0; ; n += 1) {
    const key = `key-${n}`;
    if (partitionOf(Buffer.from(key), PARTITIONS) === partition) return key;
  }
});

const clients: RingkeepClient[] = [];

function direct(cluster: ProcessCluster): RingkeepClient {
  const endpoints = cluster.nodes.map(({ address }) => address);
  return opened(connect({ endpoints, mode: 'direct' }, { requestTimeoutMs: HEALTHY_MS }));
}

function routed(cluster: ProcessCluster): RingkeepClient {
  return opened(connect(cluster.url, { requestTimeoutMs: HEALTHY_MS }));
}

function opened(client: RingkeepClient): RingkeepClient {
  clients.push(client);
  return client;
}

/** Runs a test's body and ends its clients before its cluster. */
function withClients(body: () => Promise<void>): () => Promise<void> {
  return async () => {
    try {
      await body();
    } finally {
      for (const client of clients.splice(0)) client.destroy();
    }
  };
}

async function writeAll(client: RingkeepClient, value: string): Promise<void> {
  await Promise.all(KEYS.map((key) => client.put(key, `${value} of ${key}`)));
}

async function expectAll(client: RingkeepClient, value: string): Promise<void> {
  const found = await Promise.all(KEYS.map((key) => client.get(key)));
  expect(found).toEqual(KEYS.map((key) => `${value} of ${key}`));
}

/**
 * Waits until leaderships are spread and none is being handed over: one that is on its way while the router dies has no
 * established leader, and waits for the router.
 */
async function settled(cluster: ProcessCluster): Promise<void> {
  await eventually('evenly spread leaders', async (missing) => {
    const topology = await cluster.whenHealthy();
    const counts = cluster.nodes.map(({ name }) => ledBy(topology, name).length);
    return Math.max(...counts) - Math.min(...counts) <= 1 ? true : missing(counts.join(', '));
  });
}

/** The node that leads most partitions, as the router tells it. */
async function busiest(cluster: ProcessCluster): Promise<ClusterProcess> {
  const topology = await cluster.topology();
  return [...cluster.nodes].sort(
    (a, b) => ledBy(topology, b.name).length - ledBy(topology, a.name).length,
  )[0]!;
}

it(
  'established leaders serve old and new direct clients while the router is down, and failover works again after it',
  withClients(async () => {
    const cluster = await startCluster({ partitions: PARTITIONS });
    const before = direct(cluster);
    await writeAll(before, 'first');
    await settled(cluster);

    await cluster.router.kill('SIGKILL');
    await writeAll(before, 'second');
    await expectAll(before, 'second');
    const after = direct(cluster);
    await expectAll(after, 'second');
    await writeAll(after, 'third');
    await expectAll(before, 'third');

    await cluster.router.start();
    const killed = await eventually('the router knows the leaders again', async (missing) => {
      const topology = await cluster.topology();
      const led = topology.records.filter(({ leader }) => leader !== null).length;
      return led === PARTITIONS ? busiest(cluster) : missing(`${led} leaders`);
    });
    await killed.kill('SIGKILL');
    await writeAll(after, 'fourth');
    await expectAll(before, 'fourth');
    await expectAll(routed(cluster), 'fourth');
    await killed.start();
    await cluster.whenHealthy();
    await expectAll(after, 'fourth');
  }),
);

interface Refusal {
  readonly error: unknown;
  readonly ms: number;
}

/** The error that each key's operation ended with, and when; fails if one succeeded. */
function refusals(operation: (key: string) => Promise<unknown>): Promise<Refusal[]> {
  const startedAt = performance.now();
  return Promise.all(
    KEYS.map((key) =>
      operation(key).then(
        (result) => expect.fail(`${key} was answered: ${JSON.stringify(result)}`),
        (error: unknown) => ({ error, ms: performance.now() - startedAt }),
      ),
    ),
  );
}

function expectNoQuorum(what: string, found: readonly Refusal[], timeoutMs: number, isWrite: boolean): void {
  for (const { error, ms } of found) {
    expect(error, what).toBeInstanceOf(RingkeepError);
    const { code, outcome } = error as RingkeepError;
    expect({ code, what: String(error) }).toEqual({ code: 'NO_QUORUM', what: String(error) });
    expect(isWrite ? ['not_applied', 'unknown'] : ['not_applied'], what).toContain(outcome);
    expect(ms, what).toBeLessThan(timeoutMs + BOUND_MS);
  }
}

it(
  'a minority refuses writes and linearizable reads with NO_QUORUM in bounded time, and recovers by itself',
  withClients(async () => {
    const cluster = await startCluster({ partitions: PARTITIONS });
    const ways = { routed: routed(cluster), direct: direct(cluster) };
    await writeAll(ways.routed, 'kept');
    await expectAll(ways.direct, 'kept');

    const [, second, third] = cluster.nodes;
    await Promise.all([second!.kill('SIGKILL'), third!.kill('SIGKILL')]);
    const timeoutMs = 4_000;
    for (const round of ['at once', 'later']) {
      await Promise.all(
        Object.entries(ways).map(async ([way, client]) => {
          const [writes, reads] = await Promise.all([
            refusals((key) => client.put(`lost-${key}`, round, { timeoutMs })),
            refusals((key) => client.get(key, { timeoutMs })),
          ]);
          expectNoQuorum(`${way} writes ${round}`, writes, timeoutMs, true);
          expectNoQuorum(`${way} reads ${round}`, reads, timeoutMs, false);
        }),
      );
    }

    await second!.start();
    for (const client of Object.values(ways)) {
      await expectAll(client, 'kept');
      await writeAll(client, 'resumed');
      await expectAll(client, 'resumed');
      await writeAll(client, 'kept');
    }
    await third!.start();
    await cluster.whenHealthy();
    await expectAll(ways.direct, 'kept');
  }),
);

it(
  'a router with an empty directory takes the cluster over from its nodes',
  withClients(async () => {
    const cluster = await startCluster({ partitions: PARTITIONS });
    const client = routed(cluster);
    await writeAll(client, 'kept');
    const { clusterId } = await cluster.topology();

    await cluster.router.kill('SIGKILL');
    await rm(cluster.router.data, { recursive: true });
    await cluster.router.start();
    const topology = await cluster.whenHealthy();
    expect(topology).toMatchObject({ clusterId, partitions: PARTITIONS, replicationFactor: 3 });
    await expectAll(client, 'kept');
    await writeAll(client, 'changed');
    await expectAll(direct(cluster), 'changed');
  }),
);

it(
  'a router with an empty directory makes no new cluster of one old node and enough empty ones',
  withClients(async () => {
    const cluster = await startCluster({ partitions: PARTITIONS });
    const client = routed(cluster);
    await writeAll(client, 'kept');
    const { clusterId } = await cluster.topology();
    const [first, second, third] = cluster.nodes;
    await Promise.all(cluster.processes.map((process) => process.kill('SIGKILL')));
    await rm(cluster.router.data, { recursive: true });

    const { nodes: places } = await prepareCluster();
    const joining = places.map(({ address }, index) => {
      const name = `n${index + 4}`;
      const args = ['node', '--id', name, '--router', cluster.router.address];
      return new ClusterProcess(name, address, cluster.directory, args);
    });
    await first!.start();
    await cluster.router.start();
    await eventually('the old node is attached', async (missing) => {
      const { topology } = await cluster.status();
      return topology?.clusterId === clusterId ? true : missing(`cluster "${topology?.clusterId}"`);
    });
    await Promise.all(joining.map((node) => node.start()));
    await eventually('the empty nodes are attached', async (missing) => {
      const figures = JSON.parse((await cluster.status()).json) as { nodes: { id: string }[] };
      return figures.nodes.length >= 4 ? true : missing(`${figures.nodes.length} nodes`);
    });
    const impatient = await client.put('new', 'x', { timeoutMs: 1_000 }).catch((error: unknown) => error);
    expect(impatient).toBeInstanceOf(RingkeepError);

    await Promise.all([second!.start(), third!.start()]);
    await expectAll(client, 'kept');
    expect(await cluster.topology()).toMatchObject({ clusterId, partitions: PARTITIONS });
    await writeAll(client, 'changed');
    await expectAll(direct(cluster), 'changed');
    await Promise.all(joining.map((node) => node.kill()));
  }),
);

it('a second router on the same directory is refused', async () => {
  const cluster = await prepareCluster({ partitions: PARTITIONS });
  await cluster.router.start();
  const flags = ['--data', cluster.router.data, '--listen', '127.0.0.1:0', '--json'];
  const { status, stdout, stderr } = await runCommand(['router', ...flags]);
  expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
  expect(JSON.parse(stderr.trim().split('\n').at(-1)!)).toMatchObject({
    error: { code: 'DIRECTORY_IN_USE' },
  });
  expect((await cluster.status()).json).toContain('"id":"router"');
});

it('a second router with a store of its own is refused by the nodes, ends, and disturbs nobody', async () => {
  const second = `127.0.0.1:${await freePort(new Set())}`;
  const cluster = await startCluster({ partitions: PARTITIONS, nodeFlags: ['--router', second] });
  const client = connect(cluster.url);
  try {
    await client.put('before', 1);
    const epochs = (): Promise<number[]> =>
      cluster.status().then(({ topology }) => topology!.records.map(({ epoch }) => epoch));
    const before = await epochs();
    const flags = ['--data', join(cluster.directory, 'second'), '--listen', second, '--json'];
    const ended = runCommand(['router', ...flags, '--initial-nodes', '3', '--partitions', `${PARTITIONS}`]);
    let writes = 0;
    let done = false;
    const { status, stderr } = await Promise.all([
      ended.finally(() => {
        done = true;
      }),
      (async () => {
        while (!done) {
          writes += 1;
          await client.put('during', writes);
        }
      })(),
    ]).then(([result]) => result);
    expect(status).toBe(1);
    expect(JSON.parse(stderr.trim().split('\n').at(-1)!)).toMatchObject({ error: { code: 'SECOND_ROUTER' } });
    expect(await client.get('during')).toBe(writes);
    expect(writes).toBeGreaterThan(10);
    expect(await epochs()).toEqual(before);
  } finally {
    client.destroy();
  }
});
