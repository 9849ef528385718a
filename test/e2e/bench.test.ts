/**
 * `ringkeep bench` with real processes: that nothing is lost between the operations and the reports, and that nothing of it is
 * left behind. How fast anything is, is not looked at.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import type { BenchmarkDocument, ShownRun } from '../../bench/report/document.ts';
import { runCommand } from '../support/command.ts';
import { eventually } from '../support/processes.ts';
import { cleanUpAfterEach, startUp } from '../support/up-cluster.ts';

const PROGRAM = fileURLToPath(new URL('../../bin/ringkeep.js', import.meta.url));
const TIMEOUT_MS = 120_000;
const SHORT = ['--recordcount', '300', '--warmup', '0.5', '--value-size', '100'];

const root = mkdtempSync(join(tmpdir(), 'ringkeep-test-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
cleanUpAfterEach();

async function bench(...args: string[]): Promise<BenchmarkDocument> {
  const { status, stdout, stderr } = await runCommand(['bench', '--json', ...SHORT, ...args], {
    timeoutMs: TIMEOUT_MS,
    env: { ...process.env, TMPDIR: root },
  });
  expect(status, stderr).toBe(0);
  expect(stdout.trim().split('\n')).toHaveLength(1);
  return JSON.parse(stdout) as BenchmarkDocument;
}

/** Every operation that was started is accounted for, in every way in which it is shown. */
function expectSums({ counts, latency, byKind, failedLatency, failures, series }: ShownRun): void {
  const sum = (values: readonly number[]) => values.reduce((all, one) => all + one, 0);
  expect(counts.started).toBeGreaterThan(0);
  expect(counts.succeeded + counts.failed + counts.abandoned).toBe(counts.started);
  expect(latency.count).toBe(counts.succeeded);
  expect(sum(Object.values(byKind).map(({ count }) => count))).toBe(counts.succeeded);
  expect(failedLatency.count).toBe(counts.failed);
  expect(sum(failures.map(({ count }) => count))).toBe(counts.failed);
  expect(sum(series.map(({ succeeded }) => succeeded))).toBe(counts.succeeded);
  expect(sum(series.map(({ failed }) => failed))).toBe(counts.failed);
}

describe('ringkeep bench', () => {
  it('accounts for every operation of two processes, in the document, the page and the percentile files', async () => {
    const [html, hgrm] = [join(root, 'report.html'), join(root, 'percentiles')];
    const flags = ['--workload', 'f', '--processes', '2', '--runs', '2', '--maxexecutiontime', '2'];
    const document = await bench('--spawn', '--partitions', '4', ...flags, '--html', html, '--hgrm', hgrm);
    const [step] = document.steps;
    expect(step!.runs).toHaveLength(2);
    for (const run of step!.runs) {
      expectSums(run);
      expect(run.clients).toHaveLength(2);
      expect(run.counts).toMatchObject({ abandoned: 0, backlog: 0, absent: 0 });
    }
    const { counts, latency, byKind } = step!.merged;
    expect(latency.count).toBe(counts.succeeded);
    expect(Object.keys(byKind)).toEqual(['READ', 'READ-MODIFY-WRITE']);
    expect(document.load?.records).toBe(300);
    expect(document.cluster).toMatchObject({ nodes: 3, partitions: 4, spawned: true });
    expect([...document.cluster.sampled].sort()).toEqual(['n1', 'n2', 'n3', 'router']);
    if (process.platform === 'linux') expect(step!.runs[0]!.servers.length).toBeGreaterThan(0);
    const total = (file: string) =>
      Number(/Total count += +(\d+)/.exec(readFileSync(join(hgrm, file), 'utf8'))?.[1]);
    expect(total('all.hgrm')).toBe(counts.succeeded);
    expect(total('run-1.hgrm') + total('run-2.hgrm')).toBe(counts.succeeded);
    const page = readFileSync(html, 'utf8');
    expect(page).toContain('Latency by percentile');
    expect(page).not.toMatch(/NaN|https?:|<script/);
    rmSync(html);
    rmSync(hgrm, { recursive: true });
    expect(readdirSync(root)).toEqual([]);
  });

  it('marks a kill and what follows on the timeline of an open loop', async () => {
    const flags = ['--target', '200', '--maxexecutiontime', '12', '--kill', 'leader@2s'];
    const document = await bench('--spawn', '--partitions', '6', ...flags);
    const run = document.steps[0]!.runs[0]!;
    expectSums(run);
    const { failover, events } = run;
    expect(events.map(({ event }) => event)).toEqual(
      expect.arrayContaining(['kill', 'first success', 'leader back']),
    );
    expect(failover!.led).toBeGreaterThan(0);
    // A timer may fire up to a millisecond before its time.
    expect(failover!.killSecond).toBeGreaterThan(1.99);
    expect(failover!.longestGapMs).toBeGreaterThan(0);
    expect(failover!.firstSuccessMs).not.toBeNull();
  });

  it('runs a number of operations against a running cluster, and finds its processes', async () => {
    const cluster = await startUp(['--partitions', '4', '--nodes', '1', '--ephemeral']);
    const flags = ['--workload', 'e', '--operationcount', '101', '--target', '300', '--processes', '2'];
    const document = await bench('--url', cluster.ready.url, '--mode', 'direct', ...flags);
    const run = document.steps[0]!.runs[0]!;
    expectSums(run);
    expect(run.counts.started).toBe(101);
    expect(document.durability.replicationFactor).toBe(1);
    if (process.platform === 'linux') expect(document.cluster.sampled).toEqual(['n1', 'router']);
  });

  it('raises the rate over those given, and names the knee', async () => {
    const flags = ['--sweep', '20,40', '--maxexecutiontime', '1', '--workload', 'c'];
    const { steps, sweep } = await bench('--spawn', '1', '--partitions', '2', ...flags);
    expect(steps.map(({ rate }) => rate)).toEqual([20, 40].slice(0, steps.length));
    for (const { runs } of steps) for (const run of runs) expectSums(run);
    expect(sweep).toMatchObject({ achievedMin: 0.95, p99MsMax: null });
  });

  it('leaves nothing behind when it is interrupted', async () => {
    const args = ['bench', '--spawn', '--partitions', '4', ...SHORT, '--maxexecutiontime', '600'];
    const child = spawn(process.execPath, [PROGRAM, ...args], {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, TMPDIR: root },
    });
    let told = '';
    child.stderr.on('data', (chunk: Buffer) => {
      told += chunk.toString();
    });
    const exit = once(child, 'exit');
    await eventually(
      'the start of the run',
      (missing) => (told.includes('ops/s') ? true : missing(told)),
      TIMEOUT_MS,
    );
    child.kill('SIGINT');
    expect(await exit).toEqual([130, null]);
    expect(readdirSync(root)).toEqual([]);
  });

  it('refuses a wrong command line with its reason and status 2', async () => {
    for (const args of [
      ['-p', 'recordcont=1'],
      ['--workload', 'z'],
      ['--kill', 'leader@1s'],
      ['--sweep', '2,1'],
    ]) {
      const { status, stdout, stderr } = await runCommand(['bench', ...args]);
      expect({ status, stdout }, stderr).toEqual({ status: 2, stdout: '' });
      expect(stderr).toMatch(/^error: /);
    }
  });
});
