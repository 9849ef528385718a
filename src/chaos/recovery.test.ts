import { expect, it } from 'vitest';
import type { ScrubReply, StatusReply } from '../common/wire/admin-messages.ts';
import type { ProcessCluster } from './cluster.ts';
import type { ClusterProcess } from './process.ts';
import { OwnRecovery } from './recovery.ts';

/** A cluster whose scrubs find nothing any more, while `n1` is still removing `clearing` ranges of what it had. */
function fakeCluster(clearing: () => number): {
  cluster: ProcessCluster;
  n1: ClusterProcess;
} {
  const n1 = {
    name: 'n1',
    running: true,
    onOwnEnd: () => {},
  } as unknown as ClusterProcess;
  const agreed = { run: 1, partitions: [{ state: 'SCRUB_AGREED', differing: [], damaged: [] }] };
  const cluster = {
    processes: [n1],
    nodes: [n1],
    spares: [],
    scrub: async () => agreed as unknown as ScrubReply,
    status: async () => ({ json: JSON.stringify({ clearing: clearing() }) }) as StatusReply,
    whenHealthy: async () => {},
  } as unknown as ProcessCluster;
  return { cluster, n1 };
}

// Seed 2103 of `chaos --scenario all --mixed 75 --together 5`: the replicas were replaced, and then the node met the damage.
it('a damaged node may end until it has removed what it had, also after the scrub finds nothing more', async () => {
  let looks = 0;
  const { cluster, n1 } = fakeCluster(() => {
    looks += 1;
    if (looks === 2) n1.onOwnEnd('with status 70');
    return looks < 4 ? 1 : 0;
  });
  const recovery = new OwnRecovery(cluster);
  recovery.begins('n1', { family: 'disk', destroys: true });
  recovery.unexplained();
  expect(await recovery.scrub()).toBe(0);
  expect(looks).toBe(4);
  // It has ended while it was still damaged; from now on it may not.
  n1.onOwnEnd('with status 70');
  expect(recovery.unexplained()).toEqual(['n1 has ended by itself, with status 70']);
});
