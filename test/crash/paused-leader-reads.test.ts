/**
 * Reads that need no leader go on while it is paused: at quorum, keys that nobody is writing are answered as always; a key with
 * a write under way waits for the next leader. The figures are printed; the bounds here leave room for a busy machine.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { connect, type ReadLevel, type RingkeepClient } from '../../src/client/index.ts';
import { keysOf } from '../support/load.ts';
import { eventually, ledBy, startCluster } from '../support/processes.ts';

const PARTITIONS = 12;
const KEYS = 20;
const READERS = 8;
const BEFORE_MS = 2_000;
const PAUSE_MS = 5_000;
const P99_MS_MAX = 200;
const GAP_MS_MAX = 500;

interface Read {
  readonly at: number;
  readonly ms: number;
}

/** Reads random keys until `until`; every read has to succeed. */
async function readAll(client: RingkeepClient, keys: readonly string[], read: ReadLevel, until: number) {
  const reads: Read[] = [];
  const lane = async (): Promise<void> => {
    while (performance.now() < until) {
      const startedAt = performance.now();
      await client.get(keys[Math.floor(Math.random() * keys.length)]!, { read });
      const at = performance.now();
      reads.push({ at, ms: at - startedAt });
    }
  };
  await Promise.all(Array.from({ length: READERS }, lane));
  return reads.sort((a, b) => a.at - b.at);
}

function figuresOf(reads: readonly Read[]): { count: number; p50: number; p99: number; gap: number } {
  const times = reads.map(({ ms }) => ms).sort((a, b) => a - b);
  const gap = reads.reduce((most, { at }, index) => Math.max(most, at - (reads[index - 1]?.at ?? at)), 0);
  const part = (share: number) => times[Math.floor(times.length * share)] ?? Number.NaN;
  return { count: times.length, p50: part(0.5), p99: part(0.99), gap };
}

function describe({ count, p50, p99, gap }: ReturnType<typeof figuresOf>): string {
  return `${count} reads, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, longest gap ${gap.toFixed(0)} ms`;
}

it('reads that need no leader go on while it is paused', { timeout: 240_000 }, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const topology = await cluster.whenHealthy();
  const victim = cluster.nodes.find(({ name }) => ledBy(topology, name).length > 0)!;
  const affected = ledBy(topology, victim.name);
  const endpoints = cluster.nodes.map(({ address }) => address);
  const client = connect({ endpoints, mode: 'direct' });
  const routed = connect(cluster.url);
  const keys = affected.flatMap((partition) => keysOf(partition, PARTITIONS, KEYS, 'quiet'));
  const written = affected.flatMap((partition) => keysOf(partition, PARTITIONS, 2, 'written'));
  await Promise.all([...keys, ...written].map((key) => client.put(key, 'before')));

  const until = performance.now() + BEFORE_MS + PAUSE_MS;
  const running = Promise.all([
    readAll(client, keys, 'quorum', until),
    readAll(routed, keys, 'quorum', until),
    readAll(client, keys, 'stale', until),
  ]);
  await delay(BEFORE_MS);
  victim.signal('SIGSTOP');
  const pausedAt = performance.now();
  // Their writes are under way at the paused leader, and only there, or at the others too.
  const writes = Promise.all(written.map((key) => client.put(key, 'during', { timeoutMs: 30_000 })));
  const waits = await Promise.all(
    written.map(async (key) => {
      const startedAt = performance.now();
      await client.get(key, { read: 'quorum', timeoutMs: 30_000 });
      return performance.now() - startedAt;
    }),
  );
  const results = await running;
  victim.signal('SIGCONT');
  await writes;
  await eventually('the end of the failover', async () => cluster.whenHealthy());

  const names = ['quorum, direct', 'quorum, routed', 'stale, direct'];
  for (const [index, reads] of results.entries()) {
    const before = figuresOf(reads.filter(({ at }) => at < pausedAt));
    const during = figuresOf(reads.filter(({ at }) => at >= pausedAt));
    console.log(`${names[index]}: before: ${describe(before)}; leader paused: ${describe(during)}`);
    expect(during.count, names[index]).toBeGreaterThan(100);
    expect(during.p99, names[index]).toBeLessThan(P99_MS_MAX);
    expect(during.gap, names[index]).toBeLessThan(GAP_MS_MAX);
  }
  const waited = waits.filter((ms) => ms > P99_MS_MAX);
  const most = Math.max(...waits).toFixed(0);
  console.log(`keys with a write under way: ${waited.length} of ${waits.length} waited, up to ${most} ms`);
  await Promise.all([client.close(), routed.close()]);
});
