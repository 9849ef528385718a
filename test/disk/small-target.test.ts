/**
 * A node joins whose disk has no room for its share: clients are not refused anything for that, what does not fit waits and says why, and
 * comes when there is room.
 */

import { randomBytes } from 'node:crypto';
import { rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, expect } from 'vitest';
import { MemoryDisk, missingMemoryDisk } from '../../src/chaos/mounts.ts';
import { connect } from '../../src/client/index.ts';
import { COPY_RESERVES, DISK_RESERVE_BYTES } from '../../src/common/limits.ts';
import { itIf, underLoad } from '../support/faults.ts';
import { keysOf } from '../support/load.ts';
import { eventually, prepareCluster } from '../support/processes.ts';
import { expectEqualReplicas } from '../support/replicas.ts';

const PARTITIONS = 6;
const MIB = 1024 * 1024;
/** Of each partition, in values that no table gets smaller by. */
const VALUES = 160;
const VALUE_BYTES = 64 * 1024;
const MOVES_MS = 60_000;

const open: MemoryDisk[] = [];
// Before the cluster is stopped: its directory is removed then.
afterEach(async () => {
  for (const disk of open.splice(0)) await disk.close();
});

itIf(
  missingMemoryDisk(),
  'a target that runs out of room rolls its copies back, says so, and gets them when there is room',
  async () => {
    const cluster = await prepareCluster({ partitions: PARTITIONS, spares: 1 });
    const disk = await MemoryDisk.mount(cluster.spares[0]!.data, 1_024 * MIB);
    open.push(disk);
    await cluster.start();
    await cluster.whenHealthy();
    const client = connect(cluster.url, { requestTimeoutMs: 10_000 });
    try {
      for (let partition = 0; partition < PARTITIONS; partition += 1)
        for (const key of keysOf(partition, PARTITIONS, VALUES, 'large'))
          await client.put(key, randomBytes(VALUE_BYTES));
      await cluster.moves({ order: 'MOVES_CONFIGURE', settings: { automatic: false } });
      await cluster.join();
      await cluster.whenHealthy();
      // Room for a replica or two.
      const { bavail, bsize } = await statfs(disk.path);
      const ballast = join(disk.path, 'ballast-of-the-test');
      await writeFile(ballast, Buffer.alloc(bavail * bsize - COPY_RESERVES * DISK_RESERVE_BYTES - 15 * MIB));
      await underLoad(cluster, PARTITIONS, async () => {
        await cluster.moves({ order: 'MOVES_RUN' });
        const waiting = await eventually(
          'a move that has no room',
          async (missing) => {
            const { moves } = await cluster.moves({ order: 'MOVES_TELL' });
            const found = moves.filter(({ reason }) => /^the disk of n4 (is|was) full/.test(reason));
            return found.length > 0 ? found : missing(JSON.stringify(moves));
          },
          MOVES_MS,
        );
        expect(waiting.length).toBeGreaterThan(0);
        for (let partition = 0; partition < PARTITIONS; partition += 1)
          await client.put(keysOf(partition, PARTITIONS, 1, 'beside')[0]!, 'taken');
        await rm(ballast);
        await cluster.whenMoved(MOVES_MS);
        const { records } = await cluster.topology();
        const votes = records.filter(({ voters }) => voters.some(({ node }) => node === 'n4'));
        expect(votes.length).toBeGreaterThanOrEqual(3);
      });
      await expectEqualReplicas(cluster, PARTITIONS);
    } finally {
      client.destroy();
    }
  },
  240_000,
);
