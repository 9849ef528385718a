/**
 * Nodes whose data directories are file systems of their own: one that fills up, and ones whose power is cut, of one node and of all at
 * once. Under load; nothing that was acknowledged at quorum is lost.
 */
import { afterEach, expect } from 'vitest';
import { fullDiskFault, powerCutFaults } from '../../src/chaos/faults/own-disks.ts';
import { MemoryDisk, missingMemoryDisk, missingPowerDisk, PowerDisk } from '../../src/chaos/mounts.ts';
import { connect } from '../../src/client/index.ts';
import { itIf, passThrough, underLoad } from '../support/faults.ts';
import { keysOf } from '../support/load.ts';
import { eventually, ledBy, type ProcessCluster, prepareCluster } from '../support/processes.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 6;
const MIB = 1024 * 1024;

const open: { close(): Promise<void> }[] = [];
// Before the cluster is stopped: its directory is removed then.
afterEach(async () => {
  for (const disk of open.splice(0)) await disk.close();
});

async function startOn<T extends { close(): Promise<void> }>(
  make: (path: string) => Promise<T>,
): Promise<{ cluster: ProcessCluster; disks: Map<string, T> }> {
  const cluster = await prepareCluster({ partitions: PARTITIONS });
  const disks = new Map<string, T>();
  for (const node of cluster.nodes) {
    const disk = await make(node.data);
    open.push(disk);
    disks.set(node.name, disk);
  }
  await cluster.start();
  await cluster.whenHealthy();
  return { cluster, disks };
}

itIf(
  missingPowerDisk(),
  'loses nothing acknowledged when the power of one node, and of all nodes, is cut',
  async () => {
    const { cluster, disks } = await startOn((path) => PowerDisk.mount(path, 512 * MIB));
    const [one, all] = powerCutFaults(disks);
    await underLoad(
      cluster,
      PARTITIONS,
      async () => {
        for (const driver of [one!, all!, one!, all!, all!]) {
          const proof = await passThrough(cluster, driver, { holdMs: 200 });
          expect(proof).toContain('what was not is gone');
        }
      },
      { acks: ['quorum', 'all'], paceMs: 5 },
    );
    await expectEqualReplicas(cluster, PARTITIONS);
  },
);

itIf(
  missingMemoryDisk(),
  'refuses writes on a full file system, reads on, and recovers by itself',
  async () => {
    const { cluster, disks } = await startOn((path) => MemoryDisk.mount(path, 256 * MIB));
    const client = connect(cluster.url, { requestTimeoutMs: 10_000 });
    try {
      const keys = Array.from({ length: PARTITIONS }, (_, at) => keysOf(at, PARTITIONS, 1, 'read')[0]!);
      for (const key of keys) await client.put(key, `first of ${key}`);
      await underLoad(cluster, PARTITIONS, async () => {
        const pids = cluster.nodes.map(({ pid }) => pid);
        await passThrough(cluster, fullDiskFault(disks), {
          during: async ({ target }) => {
            const led = ledBy(await cluster.topology(), target);
            expect(led.length).toBeGreaterThan(0);
            for (const partition of led) {
              const write = client.put(keys[partition]!, 'refused', { timeoutMs: 1_500 });
              await expect(write).rejects.toMatchObject({ code: 'DISK_FULL', outcome: 'not_applied' });
              expect(await client.get(keys[partition]!)).toBe(`first of ${keys[partition]}`);
            }
          },
        });
        await eventually('writes everywhere', async (say) => {
          const results = await Promise.allSettled(keys.map((key) => client.put(key, `second of ${key}`)));
          const failed = results.filter(({ status }) => status === 'rejected');
          return failed.length === 0 ? true : say(`${failed.length} are refused`);
        });
        expect(cluster.nodes.map(({ pid }) => pid)).toEqual(pids);
      });
      await expectEqualReplicas(cluster, PARTITIONS);
    } finally {
      client.destroy();
    }
  },
);
