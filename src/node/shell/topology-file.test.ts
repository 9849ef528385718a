import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, expect, it } from 'vitest';
import { NodeDisk } from '../../common/node-disk.ts';
import type { Topology } from '../../common/topology.ts';
import { readTopology, TopologyFile } from './topology-file.ts';

const folder = mkdtempSync(join(tmpdir(), 'ringkeep-topology-'));
afterEach(() => rmSync(folder, { recursive: true, force: true }));

function topology(generation: number): Topology {
  return { generation } as unknown as Topology;
}

it('writes the first at once, and of those that come soon after it the newest, after a pause', async () => {
  const disk = new NodeDisk(folder);
  const file = new TopologyFile(disk, (error) => {
    throw error;
  });
  const seen = new Set<unknown>();
  const end = Date.now() + 5_000;
  for (let at = 1; at <= 20; at += 1) {
    file.save(topology(at));
    await delay(10);
    seen.add((readTopology(disk) as { generation?: number } | null)?.generation);
  }
  while ((readTopology(disk) as { generation?: number } | null)?.generation !== 20 && Date.now() < end)
    await delay(10);
  seen.add((readTopology(disk) as { generation?: number } | null)?.generation);
  seen.delete(undefined);
  expect([...seen]).toEqual([1, 20]);
  // Closed in a pause: nothing more is written.
  file.save(topology(21));
  file.close();
  await delay(700);
  expect(readTopology(disk)).toEqual(topology(20));
});
