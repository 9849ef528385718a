/**
 * A node that was cut off and is about 100 MB behind holds what the others hold 10 s after the network is whole again, and the
 * replicas are equal by hash; measured on real processes behind the proxies of their links.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { equalReplicas } from '../../src/chaos/equal.ts';
import { connect } from '../../src/client/index.ts';
import { eventually, startCluster } from '../support/processes.ts';

const PARTITIONS = 6;
const VALUE_BYTES = 64 * 1024;
const BEHIND_BYTES = 100_000_000;
const EQUAL_MS = 10_000;
/** Writes at a time: a client takes a bounded number of bytes. */
const TOGETHER = 100;

it('is equal to the others within 10 s of a heal, 100 MB behind', { timeout: 300_000 }, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS, links: true });
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  const lonely = cluster.node('n3');
  cluster.links!.change(cluster.links!.around(lonely.name), { cut: true });
  await cluster.whenServed(lonely);

  const value = Buffer.alloc(VALUE_BYTES, 'behind');
  const count = Math.floor(BEHIND_BYTES / VALUE_BYTES);
  for (let at = 0; at < count; at += TOGETHER) {
    const some = Array.from({ length: Math.min(TOGETHER, count - at) }, (_, each) => at + each);
    const results = await client.putMany(
      some.map((number) => [`behind-${number}`, value] as const),
      { timeoutMs: 60_000 },
    );
    expect(results.filter(({ ok }) => !ok)).toEqual([]);
  }
  // The others have applied it; the one that is cut off has nothing of it.
  const appliedOn = async (name: string): Promise<Map<number, number>> => {
    const { replicas } = await cluster.status(cluster.node(name));
    return new Map(replicas.map(({ partition, appliedIndex }) => [partition, appliedIndex]));
  };
  await delay(500);
  const [ahead, behind] = await Promise.all([appliedOn('n1'), appliedOn(lonely.name)]);
  const missing = [...ahead].reduce((sum, [partition, index]) => sum + index - behind.get(partition)!, 0);
  expect(missing).toBeGreaterThanOrEqual(count);

  cluster.links!.heal();
  const healed = performance.now();
  await eventually('what it lacked is applied', async (not) => {
    const now = await appliedOn(lonely.name);
    const late = [...ahead].filter(([partition, index]) => (now.get(partition) ?? 0) < index);
    return late.length === 0 ? true : not(`${late.length} partitions are behind`);
  });
  expect(await equalReplicas(cluster, PARTITIONS, EQUAL_MS)).toEqual([]);
  const ms = performance.now() - healed;
  console.log(`${count} values of ${VALUE_BYTES} bytes behind: equal ${Math.round(ms)} ms after the heal`);
  expect(ms).toBeLessThan(EQUAL_MS);
});
