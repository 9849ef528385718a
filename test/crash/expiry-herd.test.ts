/**
 * Very many values that expire at the same moment, beside other load: they go within a stated time, and nobody else waits for them
 * for long. Prints what it has seen.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { expect, it, onTestFinished } from 'vitest';
import { connect, type RingkeepClient } from '../../src/client/index.ts';
import { startCluster } from '../support/processes.ts';

const PARTITIONS = 4;
const VALUES = 20_000;
const TTL_MS = 12_000;
/** Values that one partition ends in a second at least, on a busy machine too; docs/CLIENT.md states what it does on a quiet one. */
const ENDED_PER_SECOND = 250;
const STALL_MS = 1_500;
const SAMPLE = 1_000;

/** Writes in the background until it is told to stop; returns how long each took, ms. */
async function writeMeanwhile(client: RingkeepClient, stop: AbortSignal): Promise<number[]> {
  const times: number[] = [];
  for (let turn = 0; !stop.aborted; turn += 1) {
    const calledAt = performance.now();
    await client.put(`other-${turn % 64}`, turn);
    times.push(performance.now() - calledAt);
    await delay(5);
  }
  return times.toSorted((a, b) => a - b);
}

it('a herd of expiries goes steadily, and stalls no partition', { timeout: 180_000 }, async () => {
  const cluster = await startCluster({ partitions: PARTITIONS });
  const client = connect(cluster.url);
  onTestFinished(() => client.destroy());
  const startedAt = performance.now();
  const entries = Array.from({ length: VALUES }, (_, at) => [`herd-${at}`, at] as const);
  // All at one moment: what is written later gets so much less.
  for (let from = 0; from < VALUES; from += 1_000) {
    const ttlMs = Math.max(1, Math.round(TTL_MS - (performance.now() - startedAt)));
    const results = await client.putMany(entries.slice(from, from + 1_000), { ttlMs });
    expect(results.every(({ ok }) => ok)).toBe(true);
  }
  expect(performance.now() - startedAt).toBeLessThan(TTL_MS);
  await delay(TTL_MS - (performance.now() - startedAt));

  const stop = new AbortController();
  const writes = writeMeanwhile(client, stop.signal);
  const dueAt = performance.now();
  // The last of them: looking at all of them all the time would be the heaviest load of all.
  let watched = entries.map(([key]) => key);
  while (watched.length > 0 && performance.now() - dueAt < 120_000) {
    const sample = watched.slice(-SAMPLE);
    const held = await client.getMany(sample);
    const rest = sample.filter((_, index) => held[index] !== undefined);
    watched = [...watched.slice(0, -SAMPLE), ...rest];
    if (rest.length > 0) await delay(50);
  }
  const latenessMs = performance.now() - dueAt;
  stop.abort();
  const times = await writes;
  const at = (share: number): string => times[Math.floor((times.length - 1) * share)]!.toFixed(1);
  console.log(
    `${VALUES} values gone ${latenessMs.toFixed(0)} ms after their time; ${times.length} writes meanwhile: ` +
      `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`,
  );
  expect(watched).toEqual([]);
  expect(latenessMs).toBeLessThan((VALUES / PARTITIONS / ENDED_PER_SECOND) * 1_000);
  expect(times.at(-1)).toBeLessThan(STALL_MS);
  // What is gone stays gone, at every level.
  await delay(1_000);
  const gone = entries.slice(0, 500).map(([key]) => key);
  for (const options of [
    { read: 'quorum' },
    { read: 'session' },
    { read: 'stale', maxStalenessMs: 900 },
  ] as const) {
    const again = await client.getMany(gone, options);
    expect(again.every((value) => value === undefined)).toBe(true);
  }
});
