/**
 * Wall clocks that jump, are wrong or run at another rate, under load: safety uses no clock, so nothing is lost and every history is
 * linearizable; deduplication goes by log time, which never goes back.
 */
import { expect } from 'vitest';
import { CLOCK_FAULTS, clockOffsetMs } from '../../src/chaos/faults/clocks.ts';
import { itIf, passThrough, underLoad } from '../support/faults.ts';
import { startCluster } from '../support/processes.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 6;
const missing = CLOCK_FAULTS[0]!.missing({ nodes: [] });

itIf(missing, 'loses nothing while clocks jump, are wrong, or run at another rate', async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  await underLoad(cluster, PARTITIONS, async () => {
    for (const [at, driver] of CLOCK_FAULTS.entries()) {
      const proof = await passThrough(cluster, driver, {
        seed: at + 1,
        during: async ({ target }) => {
          const node = cluster.node(target.split(',')[0]!);
          expect(Math.abs(await clockOffsetMs(node))).toBeGreaterThan(
            driver.kind === 'clock-rate' ? 400 : 3_000,
          );
        },
      });
      expect(proof).toContain('off by');
      // What a process shows of its clock it keeps for up to a second.
      for (const node of cluster.nodes) {
        const offset = async (): Promise<number> => Math.abs(await clockOffsetMs(node));
        await expect.poll(offset, { timeout: 10_000 }).toBeLessThan(1_500);
      }
    }
  });
  await expectEqualReplicas(cluster, PARTITIONS);
});
