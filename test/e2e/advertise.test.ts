/**
 * Addresses that nodes advertise and that are wrong, with real processes: the router's log, the node's log and `ringkeep status` say
 * what is wrong; and it is over when the node comes back with the right one.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import type { ShownStatus } from '../../src/cli/status.ts';
import { runCommand } from '../support/command.ts';
import { ClusterProcess, eventually, freePort } from '../support/processes.ts';

let directory: string;
let processes: ClusterProcess[];
let addresses: string[];

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'ringkeep-advertise-'));
  processes = [];
  const ports = new Set<number>();
  while (ports.size < 5) ports.add(await freePort(ports));
  addresses = [...ports].map((port) => `127.0.0.1:${port}`);
});

afterEach(async ({ task }) => {
  if (task.result?.state === 'fail')
    for (const process of processes) console.error(`--- ${process.name}\n${await process.logTail()}`);
  await Promise.all(processes.map((process) => process.kill('SIGKILL')));
  await rm(directory, { recursive: true, force: true });
});

async function start(name: string, address: string, ...args: string[]): Promise<ClusterProcess> {
  const process = new ClusterProcess(name, address, directory, args);
  processes.push(process);
  await process.start();
  return process;
}

it('tells where an advertised address leads nowhere, or to another node', async () => {
  const [at, first, second, third, nowhere] = addresses as [string, string, string, string, string];
  // One more node than there will be: what is wrong shows before there is a cluster.
  const router = await start('router', at, 'router', '--initial-nodes', '4');
  const node = (name: string, address: string, ...args: string[]): Promise<ClusterProcess> =>
    start(name, address, 'node', '--id', name, '--router', at, ...args);
  await node('n1', first);
  const lost = await node('n2', second, '--advertise', nowhere);
  const confused = await node('n3', third, '--advertise', first);

  const status = async (): Promise<ShownStatus> => {
    const { stdout } = await runCommand(['status', '--json', '--url', `ringkeep://${at}`]);
    return JSON.parse(stdout) as ShownStatus;
  };
  const { addressTroubles } = await eventually('both are found out', async (missing) => {
    const now = await status();
    return now.addressTroubles.length === 2 ? now : missing(JSON.stringify(now.addressTroubles));
  });
  expect(addressTroubles).toEqual([
    { node: 'n2', address: nowhere, trouble: expect.stringContaining('ECONNREFUSED') },
    { node: 'n3', address: first, trouble: 'this is node "n1"' },
  ]);
  const { stdout } = await runCommand(['status', '--url', `ringkeep://${at}`]);
  expect(stdout).toContain(
    `Node n3 cannot be reached at the address that it advertises, ${first}: this is node "n1"`,
  );
  const events = await router.logged('node_address_unreachable');
  expect(events.map(({ level, node, address }) => ({ level, node, address }))).toEqual(
    expect.arrayContaining([
      { level: 'error', node: 'n2', address: nowhere },
      { level: 'error', node: 'n3', address: first },
    ]),
  );
  for (const [told, address] of [[lost, nowhere] as const, [confused, first] as const]) {
    const [event] = await eventually(`${told.name} is told`, async (missing) => {
      const found = await told.logged('advertised_address_unreachable');
      return found.length > 0 ? found : missing('no event');
    });
    expect(event).toMatchObject({ level: 'error', address, router: at });
  }

  await lost.kill('SIGTERM');
  await node('n2', second);
  const after = await eventually('n2 is where it says', async (missing) => {
    const { addressTroubles } = await status();
    return addressTroubles.some((one) => one.node === 'n2') ? missing('n2 is not') : addressTroubles;
  });
  expect(after.map((one) => one.node)).toEqual(['n3']);
});

it('does not start a node that would tell others a wildcard', async () => {
  const [at, first] = addresses as [string, string];
  const port = first.split(':')[1];
  const data = join(directory, 'n1');
  const common = ['node', '--id', 'n1', '--data', data, '--router', at, '--insecure'];
  const unsaid = await runCommand([...common, '--listen', `0.0.0.0:${port}`]);
  expect(unsaid).toMatchObject({ status: 1, stderr: expect.stringContaining('say --advertise HOST:PORT') });
  const said = await runCommand([...common, '--listen', first, '--advertise', `0.0.0.0:${port}`]);
  expect(said).toMatchObject({
    status: 1,
    stderr: expect.stringContaining('nobody can connect to a wildcard'),
  });
});
