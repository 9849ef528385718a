/** What is seen of a cluster while it runs, and what is not claimed where it cannot be seen. */
import { expect, it } from 'vitest';
import { RingkeepError } from '../common/errors.ts';
import type { Topology } from '../common/topology.ts';
import { eventually } from './process.ts';
import type { ChaosCluster, Journal } from './target.ts';
import { Watch } from './watch.ts';
import { nowUs } from './workload/workbench.ts';

const EMPTY: Topology = {
  ...{ clusterId: 'c1', revision: 1, partitions: 0, replicationFactor: 3, full: true, nodes: [] },
  records: [],
};

/** A cluster whose router answers as long as `answers` is true. */
class Scripted implements ChaosCluster {
  readonly url = 'ringkeep://127.0.0.1:1';
  readonly router = { name: 'router', address: '127.0.0.1:1', pid: 0 };
  readonly nodes = [];
  readonly processes = [{ name: 'router', address: '127.0.0.1:1', pid: process.pid }];
  readonly nodeAddresses = [];
  readonly oneMachine: boolean;
  readonly journals: readonly Journal[] | null;
  answers = true;
  asked = 0;

  constructor(oneMachine: boolean, journals: readonly Journal[] | null) {
    this.oneMachine = oneMachine;
    this.journals = journals;
  }

  async topology(): Promise<Topology> {
    this.asked += 1;
    if (!this.answers) throw new RingkeepError('UNAVAILABLE', 'nobody listens');
    return EMPTY;
  }

  async askedAgain(times: number): Promise<void> {
    const until = this.asked + times;
    await eventually('questions', (missing) => (this.asked >= until ? true : missing(`${this.asked}`)));
  }
}

it('tells when the router did not answer, from the first vain question to the last', async () => {
  const cluster = new Scripted(true, null);
  const watch = new Watch(cluster);
  await watch.start();
  await cluster.askedAgain(1);
  const gone = nowUs();
  cluster.answers = false;
  await cluster.askedAgain(3);
  cluster.answers = true;
  const back = nowUs();
  await cluster.askedAgain(2);
  const { routerless } = await watch.stop();
  expect(routerless).toHaveLength(1);
  const { from, to } = routerless[0]!;
  expect(from).toBeGreaterThanOrEqual(gone);
  expect(to).toBeLessThanOrEqual(back);
  expect(to).toBeGreaterThan(from);
});

it('claims nothing of logs that nobody can read, and of memory that cannot be seen', async () => {
  const watch = new Watch(new Scripted(false, null));
  await watch.start();
  expect(await watch.unplannedSinceLast()).toBeNull();
  expect(await watch.stop()).toMatchObject({ residentMax: null, earlyCounted: null });
});

it('counts what processes have logged, and sees the memory of those of this machine', async () => {
  const lines: Record<string, unknown>[] = [{ event: 'leader_writes_lost', lost: 2 }];
  const journal: Journal = {
    logLines: async () => lines,
    logged: async (event) => lines.filter((line) => line.event === event),
  };
  const watch = new Watch(new Scripted(true, [journal]));
  await watch.start();
  expect(await watch.unplannedSinceLast()).toBe(false);
  lines.push({ event: 'planned_change_became_unplanned' }, { event: 'leader_writes_lost', lost: 3 });
  expect(await watch.unplannedSinceLast()).toBe(true);
  expect(await watch.unplannedSinceLast()).toBe(false);
  const { residentMax, earlyCounted } = await watch.stop();
  expect(earlyCounted).toBe(5);
  expect(process.platform === 'linux' ? residentMax : 1).toBeGreaterThan(0);
});
