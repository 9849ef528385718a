/**
 * The node that leads most partitions is killed again and again under load, and comes back. Nothing acknowledged may be
 * missing, nothing refused may be present. Failover times are printed, and only their absence is a failure.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import type { Topology } from '../../src/common/topology.ts';
import { Load } from '../support/load.ts';
import { eventually, ledBy, type ProcessCluster, startCluster } from '../support/processes.ts';

const KILLS = Number(process.env.RINGKEEP_KILLS ?? 10);
const PARTITIONS = 48;
/** Between health and the next kill, so that the victim leads under load. */
const BETWEEN_KILLS_MS = 500;
/** Liveness: the goal is 4 s. */
const FAILOVER_MS = 15_000;

/** Waits for a write of a later epoch on each of the partitions; returns ms since `killedAt` for each of them. */
async function failovers(load: Load, before: Topology, affected: readonly number[], killedAt: number) {
  const epochs = new Map(before.records.map(({ partition, epoch }) => [partition, epoch]));
  const waiting = new Set(affected);
  const times: number[] = [];
  load.onAck = ({ receipt, at }) => {
    if (receipt.epoch <= epochs.get(receipt.partition)! || !waiting.delete(receipt.partition)) return;
    times.push(at - killedAt);
  };
  await eventually(
    'writes on every partition after a kill',
    (missing) => (waiting.size === 0 ? true : missing(`none on ${[...waiting].join(', ')}`)),
    FAILOVER_MS,
  );
  load.onAck = () => {};
  return times;
}

function victimOf(cluster: ProcessCluster, topology: Topology) {
  const led = cluster.nodes.map((node) => ({ node, partitions: ledBy(topology, node.name) }));
  return led.reduce((most, next) => (next.partitions.length > most.partitions.length ? next : most));
}

function quantile(sorted: readonly number[], share: number): number {
  return Math.round(sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0);
}

it(`loses no acknowledged write over ${KILLS} kills of the busiest leader`, {
  timeout: 600_000,
}, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const load = new Load({ url: cluster.url, direct: cluster.nodeAddresses, partitions: PARTITIONS });
  await load.start();
  const all: number[] = [];
  for (let kill = 1; kill <= KILLS; kill += 1) {
    const before = await cluster.whenHealthy();
    await delay(BETWEEN_KILLS_MS);
    const { node, partitions } = victimOf(cluster, before);
    const killedAt = performance.now();
    await node.kill('SIGKILL');
    const times = await failovers(load, before, partitions, killedAt);
    times.sort((a, b) => a - b);
    all.push(...times);
    console.log(
      `kill ${kill}: ${node.name}, ${partitions.length} partitions led; first write after ` +
        `p50 ${quantile(times, 0.5)} ms, max ${quantile(times, 1)} ms`,
    );
    await node.start();
  }
  await cluster.whenHealthy();
  await load.stop();
  await load.verify();
  all.sort((a, b) => a - b);
  console.log(
    `failover over all kills: p50 ${quantile(all, 0.5)} ms, max ${quantile(all, 1)} ms (goals 1500, 4000); ` +
      load.summary(),
  );
  expect(load.breaches).toEqual([]);
  expect(load.writes).toBeGreaterThan(0);
});
