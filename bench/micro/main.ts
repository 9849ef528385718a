/**
 * `npm run bench:micro [-- PART]`: how long the steps of the data path take by themselves, on one thread that does nothing else.
 * Good for telling whether a change of such a step pays; what a step costs in a busy process is told by profiles
 * (docs/BENCHMARKS.md). PART is a part of a name.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Bench } from 'tinybench';
import { addCodecs } from './codecs.ts';
import { addCoreSteps } from './core-steps.ts';
import { addHashing } from './hashing.ts';
import { addStorage } from './storage.ts';

const part = process.argv[2] ?? '';
const directory = mkdtempSync(join(tmpdir(), 'ringkeep-micro-'));
try {
  const bench = new Bench({ time: 1_000, warmupTime: 300 });
  addCodecs(bench);
  addHashing(bench);
  addCoreSteps(bench);
  const close = await addStorage(bench, directory);
  for (const { name } of bench.tasks) if (!name.includes(part)) bench.remove(name);
  await bench.run();
  console.table(
    bench.tasks.map(({ name, result }) => {
      if (!('latency' in result)) throw new Error(`${name}: ${result.state}`);
      const { latency } = result;
      const operations = Number(/\bx(\d+)$/.exec(name)?.[1] ?? 1);
      const us = (ms: number): number => Number(((ms * 1_000) / operations).toFixed(3));
      return { step: name, 'µs each, median': us(latency.p50), p99: us(latency.p99), mean: us(latency.mean) };
    }),
  );
  await close();
} finally {
  rmSync(directory, { recursive: true, force: true });
}
