/**
 * System calls of a running node that fail or are slow, under load: what a failed fsync had promised is recovered, a full disk
 * refuses writes only, and every history is linearizable.
 */
import { readFile } from 'node:fs/promises';
import { expect } from 'vitest';
import type { FaultDriver } from '../../src/chaos/fault.ts';
import { DISK_CALL_FAULTS } from '../../src/chaos/faults/disk-calls.ts';
import { connect } from '../../src/client/index.ts';
import { RingkeepError } from '../../src/common/errors.ts';
import { itIf, passThrough, underLoad } from '../support/faults.ts';
import { keysOf } from '../support/load.ts';
import { type ClusterProcess, eventually, ledBy, startCluster } from '../support/processes.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 6;

function driverOf(kind: string): FaultDriver {
  return DISK_CALL_FAULTS.find((driver) => driver.kind === kind)!;
}

const missingOf = (kind: string): string | null => driverOf(kind).missing({ nodes: [] });

/** Nobody traces it, and its limits are those of this process. */
async function expectUntouched(node: ClusterProcess): Promise<void> {
  expect(await readFile(`/proc/${node.pid}/status`, 'utf8')).toMatch(/^TracerPid:\s+0$/m);
  const sizeLimit = /^Max file size\s+(\S+)/m;
  const own = sizeLimit.exec(await readFile('/proc/self/limits', 'utf8'))?.[1];
  expect(sizeLimit.exec(await readFile(`/proc/${node.pid}/limits`, 'utf8'))?.[1]).toBe(own);
}

for (const kind of ['fsync-fails', 'write-fails', 'short-write']) {
  itIf(missingOf(kind), `${kind}: the node ends by itself, and recovers what it had promised`, async () => {
    const cluster = await startCluster({ partitions: PARTITIONS });
    await underLoad(cluster, PARTITIONS, async () => {
      for (const seed of [1, 2]) {
        const pids = new Map(cluster.nodes.map((node) => [node.name, node.pid]));
        let target = '';
        const proof = await passThrough(cluster, driverOf(kind), {
          seed,
          holdMs: 500,
          during: async (fault) => {
            target = fault.target;
            expect(cluster.node(target).running).toBe(false);
            // A fail-stop, which says so, and no crash.
            expect(await cluster.node(target).kill()).toBe(70);
          },
        });
        expect(proof).toContain('ended by itself');
        expect(cluster.node(target).pid).not.toBe(pids.get(target));
      }
    });
    for (const node of cluster.nodes) await expectUntouched(node);
    await expectEqualReplicas(cluster, PARTITIONS);
  });
}

itIf(missingOf('slow-disk'), 'slow-disk: writes take longer, and nothing else is different', async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  await underLoad(cluster, PARTITIONS, async () => {
    const pids = cluster.nodes.map(({ pid }) => pid);
    for (const seed of [1, 2])
      expect(await passThrough(cluster, driverOf('slow-disk'), { seed })).toContain('held for');
    expect(cluster.nodes.map(({ pid }) => pid)).toEqual(pids);
  });
  for (const node of cluster.nodes) await expectUntouched(node);
  await expectEqualReplicas(cluster, PARTITIONS);
});

itIf(
  missingOf('disk-full'),
  'disk-full: writes are refused with DISK_FULL, reads go on, and it recovers by itself',
  async () => {
    const cluster = await startCluster({ partitions: PARTITIONS });
    const client = connect(cluster.url, { requestTimeoutMs: 10_000 });
    try {
      const keys = Array.from({ length: PARTITIONS }, (_, at) => keysOf(at, PARTITIONS, 1, 'read')[0]!);
      for (const key of keys) await client.put(key, `first of ${key}`);
      await underLoad(cluster, PARTITIONS, async () => {
        const pids = cluster.nodes.map(({ pid }) => pid);
        const during = async ({ target }: { target: string }): Promise<void> => {
          const led = ledBy(await cluster.topology(), target);
          expect(led.length).toBeGreaterThan(0);
          for (const partition of led) {
            const write = client.put(keys[partition]!, 'refused', { timeoutMs: 1_500 });
            const error = await write.then(
              () => null,
              (cause: unknown) => cause,
            );
            expect(error).toBeInstanceOf(RingkeepError);
            const { code, outcome } = error as RingkeepError;
            expect([code, outcome]).toEqual(['DISK_FULL', 'not_applied']);
            // Linearizable, at the leader that takes no writes.
            expect(await client.get(keys[partition]!)).toBe(`first of ${keys[partition]}`);
          }
          expect(ledBy(await cluster.topology(), target)).toEqual(led);
        };
        await passThrough(cluster, driverOf('disk-full'), { during });
        await eventually('writes everywhere', async (missing) => {
          const results = await Promise.allSettled(keys.map((key) => client.put(key, `second of ${key}`)));
          const failed = results.filter(({ status }) => status === 'rejected');
          return failed.length === 0 ? true : missing(`${failed.length} are refused`);
        });
        expect(cluster.nodes.map(({ pid }) => pid)).toEqual(pids);
      });
      for (const node of cluster.nodes) await expectUntouched(node);
      await expectEqualReplicas(cluster, PARTITIONS);
    } finally {
      client.destroy();
    }
  },
);
