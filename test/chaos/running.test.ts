/**
 * `ringkeep chaos --url` on somebody else's cluster: `ringkeep up` with keys of its users. What it does there, that nothing of the
 * run is left, that what it has paused is continued however it ends, and what it refuses.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { ChaosEvent } from '../../src/chaos/run.ts';
import type { ChaosSummary } from '../../src/chaos/summary.ts';
import type { ShownStatus } from '../../src/cli/status.ts';
import { connect } from '../../src/client/index.ts';
import { startChaos } from '../support/chaos-run.ts';
import { runCommand } from '../support/command.ts';
import { eventually, startCluster } from '../support/processes.ts';
import { cleanUpAfterEach, isRunning, startUp, type UpCluster } from '../support/up-cluster.ts';

const TIMEOUT_MS = 180_000;
const USERS = Array.from({ length: 40 }, (_, at) => [`user:${at}`, { name: `user ${at}` }] as const);

cleanUpAfterEach();

/** A cluster of three nodes with keys in the default keyspace and in a named one. */
async function clusterOfOthers(): Promise<UpCluster> {
  const data = await mkdtemp(join(tmpdir(), 'ringkeep-chaos-test-'));
  const up = await startUp(['--data', data, '--partitions', '4']);
  onTestFinished(() => rm(data, { recursive: true, force: true }));
  const client = connect(up.ready.url);
  for (const [key, value] of USERS) await client.put(key, value);
  await client.keyspace('orders').put('1', 'tea');
  await client.close();
  return up;
}

/** All rows of the cluster, by keyspace and key. */
async function rowsOf(up: UpCluster): Promise<Map<string, unknown>> {
  const client = connect(up.ready.url);
  const rows = new Map<string, unknown>();
  const partitions = await client.partitions();
  for (let partition = 0; partition < partitions; partition += 1)
    for await (const page of client.scan({ partition, timeoutMs: 60_000 }))
      for (const { keyspace, key, version } of page.rows)
        rows.set(`${keyspace}/${Buffer.from(key).toString()}`, version);
  await client.close();
  return rows;
}

async function statusOf(up: UpCluster): Promise<ShownStatus> {
  return JSON.parse((await up.run(['status', '--json'])).stdout) as ShownStatus;
}

function eventsOf(stderr: string): ChaosEvent[] {
  return stderr
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as ChaosEvent);
}

async function stateOf(pid: number): Promise<string> {
  const text = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
  return /^State:\s+(\S)/m.exec(text)?.[1] ?? '';
}

const isLinux = process.platform === 'linux';

describe.runIf(isLinux)('a cluster of others', () => {
  it('is paused, killed and flooded, keeps its guarantees and its keys, and no key of the run', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const up = await clusterOfOthers();
    const before = await rowsOf(up);
    expect(before.size).toBe(USERS.length + 1);
    const args = [
      '--faults',
      'pause,kill,flood',
      '--rounds',
      '4',
      '--seconds',
      '60',
      '--seed',
      '5',
      '--json',
    ];
    const { status, stdout, stderr } = await runCommand(['chaos', '--url', up.ready.url, ...args], {
      timeoutMs: TIMEOUT_MS,
    });
    expect(status, stderr + stdout).toBe(0);
    const summary = JSON.parse(stdout.trim()) as ChaosSummary;
    const results = new Map(summary.rulings.map(({ guarantee, result }) => [guarantee, result]));
    expect(summary).toMatchObject({ verdict: 'held', nodes: 3, partitions: 4, replicationFactor: 3 });
    for (const guarantee of ['G1', 'G2', 'G4', 'G9', 'session', 'stale', 'recovery'] as const)
      expect(results.get(guarantee), guarantee).toBe('held');
    expect(new Set(summary.kinds.map(({ kind }) => kind))).toEqual(new Set(['pause', 'kill', 'flood']));
    expect(summary.totals.rounds).toBe(4);
    // How fast this machine is decides whether a flood of one client has to be refused.
    for (const { kind, proof, problem } of summary.faults)
      if (kind !== 'flood') expect(proof, `${kind}: ${problem}`).not.toBe('');
    expect(summary.totals.operations).toBeGreaterThan(1_000);
    expect(summary.rulings.find(({ guarantee }) => guarantee === 'recovery')?.reason).toContain('equal');
    const started = eventsOf(stderr).find(({ event }) => event === 'started');
    expect(started).toMatchObject({ url: up.ready.url, directory: '' });
    expect(eventsOf(stderr).filter(({ event }) => event === 'left')).toEqual([]);

    // Theirs is as it was, versions included, and nothing else is there.
    expect(await rowsOf(up)).toEqual(before);
    const { nodes, partitions } = await statusOf(up);
    expect(partitions.every(({ established }) => established)).toBe(true);
    for (const { id, alive, pid } of nodes) {
      expect(alive, id).toBe(true);
      expect(isRunning(pid), id).toBe(true);
      expect(await stateOf(pid), id).not.toBe('T');
    }
    // Nodes alone were killed, and `up` has started them again.
    const kills = summary.faults.filter(({ kind }) => kind === 'kill').length;
    expect(kills).toBeGreaterThan(0);
    expect(up.events.filter(({ event }) => event === 'ended').map(({ reason }) => reason)).toEqual(
      Array.from({ length: kills }, () => 'ended by SIGKILL'),
    );
    expect(up.ended).toBe(false);
  });

  it('has its nodes continued when the run is killed while one is paused', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const up = await clusterOfOthers();
    const { output, end } = await startChaos('--url', up.ready.url, '--faults', 'pause', '--seconds', '600');
    const paused = await eventually('a stopped node', async (missing) => {
      for (const { id, pid } of up.ready.nodes) if ((await stateOf(pid)) === 'T') return { id, pid };
      return missing(output.stderr);
    });
    await end('SIGKILL');
    await eventually(`${paused.id} continued`, async (missing) => {
      const state = await stateOf(paused.pid);
      return state === 'T' ? missing(state) : true;
    });
    expect(isRunning(paused.pid)).toBe(true);
    await eventually('a node that is alive', async (missing) => {
      const { nodes } = await statusOf(up);
      return nodes.every(({ alive }) => alive) ? true : missing(JSON.stringify(nodes));
    });
    expect(up.events).toEqual([]);
  });

  it('is left in good order when the run is interrupted', { timeout: TIMEOUT_MS }, async () => {
    const up = await clusterOfOthers();
    const before = await rowsOf(up);
    const { output, end } = await startChaos('--url', up.ready.url, '--seconds', '600');
    expect(await end('SIGINT'), output.stderr).toBe(0);
    const summary = JSON.parse(output.stdout.trim()) as ChaosSummary;
    expect(summary.verdict).toBe('held');
    // Nobody has named a fault.
    expect(new Set(summary.kinds.map(({ family }) => family))).toEqual(new Set(['clients']));
    expect(await rowsOf(up)).toEqual(before);
    expect(up.events).toEqual([]);
  });

  it('is found not to have recovered when nobody starts again what was killed', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const cluster = await startCluster({ partitions: 4 });
    const args = ['--faults', 'kill', '--rounds', '1', '--json'];
    const { status, stdout, stderr } = await runCommand(['chaos', '--url', cluster.url, ...args], {
      timeoutMs: TIMEOUT_MS,
    });
    expect(status, stderr).toBe(1);
    const { rulings } = JSON.parse(stdout.trim()) as ChaosSummary;
    const recovery = rulings.find(({ guarantee }) => guarantee === 'recovery')!;
    const dead = cluster.nodes.filter(({ running }) => !running).map(({ name }) => name);
    expect(dead).toHaveLength(1);
    expect(recovery.result).toBe('broken');
    expect(recovery.reason).toContain(`nobody has started ${dead[0]} again`);
    // Two of three nodes are enough for all else.
    expect(rulings.filter(({ result }) => result === 'broken')).toEqual([recovery]);
    expect(eventsOf(stderr).filter(({ event }) => event === 'left')).toEqual([]);
    const client = connect(cluster.url);
    for (let partition = 0; partition < 4; partition += 1)
      for await (const { rows } of client.scan({ partition, timeoutMs: 60_000 })) expect(rows).toEqual([]);
    await client.close();
  });

  it('is worked on through the router alone where its nodes are not reached', {
    timeout: TIMEOUT_MS,
  }, async () => {
    // As behind a router whose port alone is published.
    const nodeFlags = ['--advertise-client', '127.0.0.1:9'];
    const cluster = await startCluster({ partitions: 4, nodeFlags });
    const args = ['--faults', 'half-open-clients,pause', '--rounds', '2', '--json'];
    const { status, stdout, stderr } = await runCommand(['chaos', '--url', cluster.url, ...args], {
      timeoutMs: TIMEOUT_MS,
    });
    expect(status, stderr + stdout).toBe(0);
    const { verdict, rulings, faults } = JSON.parse(stdout.trim()) as ChaosSummary;
    expect(verdict).toBe('held');
    expect(faults.map(({ kind, target }) => (kind === 'pause' ? kind : target)).sort()).toEqual([
      'pause',
      'router',
    ]);
    // Routers know nothing of rows: the nodes have compared them.
    expect(rulings.find(({ guarantee }) => guarantee === 'recovery')?.reason).toContain('equal');
  });

  it('is told of in the list: what is possible, and why the rest is not', {
    timeout: TIMEOUT_MS,
  }, async () => {
    const up = await clusterOfOthers();
    const chaos = (...args: string[]) => runCommand(['chaos', '--url', up.ready.url, ...args]);
    const { status, stdout } = await chaos('--list');
    expect(status).toBe(0);
    const lines = stdout.split('\n\n')[0]!.split('\n');
    const possible = lines.filter((line) => !line.includes('[not here:'));
    expect(possible.map((line) => line.split(/ +/)[1])).toEqual([
      'kill',
      'kill-router',
      'terminate',
      'pause',
      'flood',
      'slow-reader',
      'half-open-clients',
    ]);
    expect(lines.find((line) => line.includes('wipe'))).toContain('[not here: needs a cluster of its own]');

    const refused = await chaos('--faults', 'pause,wipe');
    expect(refused.status).toBe(2);
    expect(refused.stderr).toContain('not possible: wipe [not here: needs a cluster of its own]');
    const scenario = await chaos('--scenario', 'splits');
    expect(scenario.status).toBe(2);
    expect(scenario.stderr).toContain(
      'no fault is possible: split-one [not here: needs a cluster of its own]',
    );
    expect((await rowsOf(up)).size).toBe(USERS.length + 1);

    // A node that is away: the run would make it worse.
    const { pid } = up.ready.nodes[0]!;
    process.kill(pid, 'SIGSTOP');
    try {
      await eventually('a dead node', async (missing) => {
        const { nodes } = await statusOf(up);
        return nodes.some(({ alive }) => !alive) ? true : missing('none');
      });
      const left = await chaos('--faults', 'flood', '--rounds', '1');
      expect(left.status).toBe(2);
      expect(left.stderr).toContain('the cluster is not whole, and was left alone');
    } finally {
      process.kill(pid, 'SIGCONT');
    }
  });
});

it.each([['--nodes', '3'], ['--partitions', '6'], ['--replication-factor', '3'], ['--keep']])(
  'refuses %s beside --url',
  async (...flag) => {
    const { status, stderr } = await runCommand(['chaos', '--url', 'ringkeep://127.0.0.1:1', ...flag]);
    expect(status).toBe(2);
    expect(stderr).toContain(`${flag[0]} with --url`);
  },
);

it('says that no cluster answers', async () => {
  const { status, stderr } = await runCommand(['chaos', '--url', 'ringkeep://127.0.0.1:1']);
  expect(status).toBe(2);
  expect(stderr).toContain('no cluster answers at ringkeep://127.0.0.1:1');
});

it('takes no cluster that only the environment names', async () => {
  const env = { ...process.env, RINGKEEP_URL: 'ringkeep://127.0.0.1:1' };
  const { status, stdout } = await runCommand(['chaos', '--list'], { env });
  expect(status).toBe(0);
  expect(stdout).not.toContain('needs a cluster of its own');
});
