import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import { silentLog } from '../../src/common/log.ts';
import type { StatusReply } from '../../src/common/wire/admin-messages.ts';
import { grpcConnector } from '../../src/common/wire/connections.ts';
import { makeHello } from '../../src/common/wire/handshake.ts';
import { type RunningNode, startNode } from '../../src/node/node.ts';
import { type RouterFigures, type RunningRouter, startRouter } from '../../src/router/index.ts';

const PARTITIONS = 8;
const directory = mkdtempSync(join(tmpdir(), 'ringkeep-cluster-'));
const nodes = new Map<string, RunningNode>();
let router: RunningRouter;
let client: RingkeepClient;

function openRouter(listen = '127.0.0.1:0', data = 'router'): Promise<RunningRouter> {
  return startRouter({
    dataDirectory: join(directory, data),
    listen,
    httpListen: '127.0.0.1:0',
    initialNodes: 3,
    partitions: PARTITIONS,
    log: silentLog,
  });
}

async function openNode(id: string): Promise<void> {
  const routers = [router.address];
  nodes.set(
    id,
    await startNode({
      id,
      dataDirectory: join(directory, id),
      listen: '127.0.0.1:0',
      routers,
      log: silentLog,
    }),
  );
}

function status(): Promise<StatusReply> {
  return grpcConnector.adminStatus(router.address, makeHello({ role: 'client' }), 5_000);
}

async function untilStatus(what: string, holds: (status: StatusReply) => boolean): Promise<StatusReply> {
  const end = performance.now() + 60_000;
  for (;;) {
    const now = await status().catch(() => null);
    if (now !== null && holds(now)) return now;
    if (performance.now() > end) throw new Error(`waited 60 s for: ${what}: ${now?.json}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const served = ({ topology }: StatusReply): boolean =>
  topology?.records.length === PARTITIONS && topology.records.every(({ established }) => established);

beforeAll(async () => {
  router = await openRouter();
  for (const id of ['n1', 'n2', 'n3']) await openNode(id);
  await untilStatus('a leader for every partition', served);
  client = connect(router.url, { requestTimeoutMs: 30_000 });
});

afterAll(async () => {
  await client.close();
  for (const node of nodes.values()) await node.stop(1_000);
  await router.stop(1_000);
  rmSync(directory, { recursive: true });
});

const keys = Array.from({ length: 200 }, (_, n) => `key-${n}`);

async function writeAll(value: string): Promise<void> {
  await Promise.all(keys.map((key) => client.put(key, `${value}-${key}`)));
}

async function expectAll(value: string): Promise<void> {
  const found = await Promise.all(keys.map((key) => client.get(key)));
  expect(found).toEqual(keys.map((key) => `${value}-${key}`));
}

describe('a router with three nodes', () => {
  it('forms a cluster, spreads its leaders, and reads what was written', async () => {
    await writeAll('first');
    await expectAll('first');
    const now = await status();
    const leaders = new Set(now.topology?.records.map(({ leader }) => leader?.node));
    expect([...leaders].sort()).toEqual(['n1', 'n2', 'n3']);
    expect(now.topology?.clusterId).toBe(router.clusterId);
    expect(now.replicas).toHaveLength(PARTITIONS);
    const figures = JSON.parse(now.json) as RouterFigures;
    expect(figures).toMatchObject({ mode: 'active', waitingFor: '', unavailable: [] });
  });

  it('says so over HTTP', async () => {
    const health = await fetch(`http://${router.httpAddress}/healthz`);
    expect([health.status, await health.json()]).toMatchObject([200, { mode: 'active' }]);
    const metrics = await (await fetch(`http://${router.httpAddress}/metrics`)).text();
    expect(metrics).toMatch(/ringkeep_router_requests_total\{operation="put",code="OK",[^}]*\} \d+/);
    expect(metrics).toMatch(/ringkeep_router_leaders\{target="n1",[^}]*\} \d+/);
  });

  it('refuses a second router on its directory', async () => {
    await expect(openRouter()).rejects.toMatchObject({ code: 'DIRECTORY_IN_USE' });
  });

  it('keeps every acknowledged write when a node stops and comes back', async () => {
    const stopped = nodes.get('n1')!;
    const writing = writeAll('second');
    await stopped.stop(0);
    await writing;
    await expectAll('second');
    await openNode('n1');
    await untilStatus('n1 is back', (now) => served(now) && now.nodes.length === 3);
    await writeAll('third');
    await expectAll('third');
  });

  it('goes on where it was when the router starts again, and rebuilds a lost topology store', async () => {
    const { address, clusterId } = router;
    await router.stop(1_000);
    router = await openRouter(address);
    await untilStatus('the topology is back', (now) => served(now) && now.nodes.length === 3);
    await expectAll('third');
    await router.stop(1_000);
    rmSync(join(directory, 'router'), { recursive: true });
    router = await openRouter(address);
    await untilStatus('the topology is rebuilt', (now) => served(now) && now.nodes.length === 3);
    expect(router.clusterId).toBe(clusterId);
    await expectAll('third');
    await writeAll('fourth');
    await expectAll('fourth');
  });
});

describe('a refused listen address', () => {
  it.each([
    ['listen', '0.0.0.0:0', 'INSECURE_LISTEN'],
    ['httpListen', '[::]:0', 'INSECURE_LISTEN'],
    ['httpListen', 'foo', 'INVALID_ARGUMENT'],
  ])('(%s %s) leaves no trace on the disk', async (option, address, code) => {
    const dataDirectory = join(directory, 'refused');
    const options = { dataDirectory, listen: '127.0.0.1:0', log: silentLog, [option]: address };
    await expect(startNode({ ...options, id: 'x', routers: [] })).rejects.toMatchObject({ code });
    await expect(startRouter(options)).rejects.toMatchObject({ code });
    expect(existsSync(dataDirectory)).toBe(false);
  });
});
