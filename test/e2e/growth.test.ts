/**
 * `npm run bench:growth` with real processes, as short as it can be: that points are measured and written, that a cluster that
 * goes on is loaded with what it lacks, and that nothing is left behind. How anything grows is not looked at.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type { GrowthDocument } from '../../bench/growth/document.ts';
import { runProgram } from '../support/command.ts';
import { eventually } from '../support/processes.ts';

const PROGRAM = fileURLToPath(new URL('../../dist/bench/growth/main.js', import.meta.url));
const TIMEOUT_MS = 150_000;

const root = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

describe('growth', () => {
  it('measures one dimension and the memory of a short run, and leaves nothing behind', async () => {
    const data = join(root, 'data');
    const output = join(root, 'growth.json');
    const what = ['--quick', '--only', 'keys,memory', '--processes', '2'];
    const flags = [...what, '--data', data, '--output', output];
    const { status, stdout, stderr } = await runProgram(process.execPath, [PROGRAM, ...flags], {
      timeoutMs: TIMEOUT_MS,
    });
    expect(status, stderr + stdout).toBe(0);
    const { dimensions, memory } = JSON.parse(readFileSync(output, 'utf8')) as GrowthDocument;
    expect(dimensions.map(({ dimension, failures }) => [dimension, failures])).toEqual([['keys', []]]);
    // The second point has the records of the first already.
    const { points } = dimensions[0]!;
    expect(points.map(({ x, load }) => [x, load?.records])).toEqual([
      [1_000, 1_000],
      [4_000, 3_000],
    ]);
    for (const { puts, gets, storage } of points) {
      // Null while a slow machine has not written a MiB.
      expect(storage!.writeAmplification ?? Number.POSITIVE_INFINITY).toBeGreaterThan(1);
      expect(storage!.slowBatchMs).toBeGreaterThanOrEqual(100 * storage!.slowBatches);
      for (const { errors, p50Ms, p99Ms } of [puts, gets]) {
        expect(errors).toBe(0);
        expect(p99Ms).toBeGreaterThanOrEqual(p50Ms);
      }
    }
    expect(memory).toMatchObject({ records: 2_000, minutes: 0.1, figures: { errors: 0 } });
    expect(memory!.figures.throughput).toBeGreaterThan(0);
    if (process.platform === 'linux') {
      expect(memory!.byNode.map(({ node }) => node)).toEqual(['n1', 'n2', 'n3']);
      for (const { maxBytes, samples } of memory!.byNode) {
        expect(maxBytes).toBeGreaterThan(1024 * 1024);
        expect(samples).toBeGreaterThan(1);
      }
    }
    expect(stdout).toContain('growth by keys');
    expect(readFileSync(join(root, 'growth.html'), 'utf8')).toContain('Memory of the nodes under full load');
    expect(readdirSync(data)).toEqual([]);
  });

  it('leaves nothing behind when it is interrupted', async () => {
    const data = join(root, 'interrupted');
    mkdirSync(data);
    const output = join(root, 'none.json');
    const args = [PROGRAM, '--only', 'inflight', '--seconds', '60', '--data', data, '--output', output];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'ignore', 'ignore'] });
    const exit = once(child, 'exit');
    await eventually(
      'a cluster',
      (missing) =>
        readdirSync(data).some((run) => existsSync(join(data, run, 'cluster', 'n1')))
          ? true
          : missing(String(readdirSync(data))),
      TIMEOUT_MS,
    );
    child.kill('SIGINT');
    expect(await exit).toEqual([130, null]);
    expect(readdirSync(data)).toEqual([]);
  });

  it('refuses a wrong command line', async () => {
    const { status, stderr } = await runProgram(process.execPath, [PROGRAM, '--only', 'keys,colours']);
    expect(status).toBe(1);
    expect(stderr).toContain(
      'There is no "colours"; there are keys, partitions, values, nodes, inflight, memory.',
    );
  });
});
