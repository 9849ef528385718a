/**
 * Splits, loss and resets made by the kernel between processes in network namespaces of their own, under load: nothing that was
 * acknowledged is lost, and every history is linearizable.
 */
import { randomBytes } from 'node:crypto';
import { afterEach, expect } from 'vitest';
import { kernelLinkFaults } from '../../src/chaos/faults/kernel-links.ts';
import { Namespaces } from '../../src/chaos/namespaces.ts';
import { connect } from '../../src/client/index.ts';
import { LINEARIZABLE_GET } from '../../src/common/reads.ts';
import { itIf, passThrough, underLoad } from '../support/faults.ts';
import { keysOf } from '../support/load.ts';
import { eventually, ledBy, type ProcessCluster, prepareCluster } from '../support/processes.ts';
import { RawSession } from '../support/raw-session.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 6;
const NAMES = ['router', 'n1', 'n2', 'n3'];
const missing = Namespaces.missing();

let network: Namespaces | null = null;
afterEach(async () => {
  await network?.close();
  network = null;
});

/** A cluster whose processes are each in a namespace of their own; clients come from this one. */
async function startApart(): Promise<{ cluster: ProcessCluster; network: Namespaces }> {
  const opened = await Namespaces.open(NAMES);
  network = opened;
  const cluster = await prepareCluster({ partitions: PARTITIONS, hosts: (name) => opened.host(name) });
  for (const process of cluster.processes) process.surround(opened.launcher(process.name));
  await cluster.start();
  await cluster.whenHealthy();
  return { cluster, network: opened };
}

async function expectNoRules(opened: Namespaces): Promise<void> {
  for (const name of NAMES) expect(await opened.rules(name)).toBe('');
}

itIf(
  missing,
  'loses nothing through splits of every shape, loss and resets',
  async () => {
    const { cluster, network: opened } = await startApart();
    await underLoad(cluster, PARTITIONS, async () => {
      for (const [at, driver] of kernelLinkFaults(opened).entries()) {
        const proof = await passThrough(cluster, driver, { seed: at + 1, holdMs: 2_500 });
        expect(proof).toMatch(/^[1-9]\d* packets/);
        await expectNoRules(opened);
      }
    });
    await expectEqualReplicas(cluster, PARTITIONS);
  },
  240_000,
);

itIf(
  missing,
  'moves the leaderships of a node that is cut off, and the node acknowledges nothing meanwhile',
  async () => {
    const { cluster, network: opened } = await startApart();
    const keys = Array.from({ length: PARTITIONS }, (_, at) => keysOf(at, PARTITIONS, 1)[0]!);
    const client = connect(cluster.url, { requestTimeoutMs: 20_000 });
    try {
      for (const key of keys) await client.put(key, 'before');
      const split = kernelLinkFaults(opened).find(({ kind }) => kind === 'split-one')!;
      await passThrough(cluster, split, {
        during: async ({ target, cutOff }) => {
          const [lonely] = cutOff as [string];
          expect(target.startsWith(lonely)).toBe(true);
          await eventually('leaders elsewhere', async (say) => {
            const led = ledBy(await cluster.topology(), lonely).length;
            return led === 0 ? true : say(`${led}`);
          });
          for (const key of keys) await client.put(key, 'meanwhile');
          // It can be reached from here, and is asked alone: the SDK would go on to the others.
          const alone = new RawSession(cluster.node(lonely).address, randomBytes(16));
          try {
            const get = { operation: 'get', get: LINEARIZABLE_GET, timeLeftMs: 1_500 } as const;
            const asked = keys.map((key) => alone.send({ ...get, key: Buffer.from(key) }));
            for (const reply of await Promise.all(asked)) expect(reply).toMatchObject({ result: 'failure' });
          } finally {
            alone.close();
          }
        },
      });
      for (const key of keys) expect(await client.get(key)).toBe('meanwhile');
    } finally {
      client.destroy();
    }
  },
);
