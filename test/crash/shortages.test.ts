/**
 * Nodes without file descriptors or with a small heap, under load: they work, or they end and come back; nothing that was acknowledged
 * is lost.
 */
import { readFile } from 'node:fs/promises';
import { expect } from 'vitest';
import { LIMIT_FAULTS } from '../../src/chaos/faults/limits.ts';
import { itIf, passThrough, underLoad } from '../support/faults.ts';
import { startCluster } from '../support/processes.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 6;
const missingOf = (kind: string): string | null =>
  LIMIT_FAULTS.find((driver) => driver.kind === kind)!.missing({ nodes: [] });

for (const { kind } of LIMIT_FAULTS) {
  itIf(missingOf(kind), `${kind}: nothing is lost`, async () => {
    const driver = LIMIT_FAULTS.find((one) => one.kind === kind)!;
    const cluster = await startCluster({ partitions: PARTITIONS });
    await underLoad(cluster, PARTITIONS, async () => {
      await passThrough(cluster, driver, { holdMs: 3_000 });
    });
    for (const { pid } of cluster.nodes) {
      expect(await readFile(`/proc/${pid}/cmdline`, 'utf8')).not.toContain('max-old-space-size');
      const limit = /^Max open files\s+(\d+)/m;
      const own = limit.exec(await readFile('/proc/self/limits', 'utf8'))?.[1];
      const found = limit.exec(await readFile(`/proc/${pid}/limits`, 'utf8'))?.[1];
      // Node raises its own to the most that it may have.
      expect(Number(found)).toBeGreaterThanOrEqual(Number(own));
    }
    await expectEqualReplicas(cluster, PARTITIONS);
  });
}
