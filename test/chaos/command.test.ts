/**
 * `ringkeep chaos` as people run it: what it says, what it leaves behind, how it ends. That every fault takes effect is
 * drivers.test.ts, that a broken build is found is mutants.test.ts.
 */
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import type { ChaosEvent } from '../../src/chaos/run.ts';
import type { ChaosSummary } from '../../src/chaos/summary.ts';
import { startChaos } from '../support/chaos-run.ts';
import { runCommand, runProgram } from '../support/command.ts';
import { eventually } from '../support/processes.ts';

const TIMEOUT_MS = 180_000;

async function folder(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'ringkeep-chaos-test-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

function eventsOf(stderr: string): ChaosEvent[] {
  return stderr
    .split('\n')
    .filter((line) => line.startsWith('{'))
    .map((line) => JSON.parse(line) as ChaosEvent);
}

/** Command lines of processes that work in a directory; the guardian is one until it has done its work. */
async function processesIn(directory: string): Promise<string[]> {
  const { stdout } = await runProgram('ps', ['-eo', 'pid,stat,args']);
  return stdout.split('\n').filter((line) => line.includes(directory) && !/ps -eo| -e /.test(line));
}

it('splits, kills and pauses, and says that the guarantees held', { timeout: TIMEOUT_MS }, async () => {
  const directory = await folder();
  const files = ['--html', join(directory, 'chaos.html'), '--history', join(directory, 'history.jsonl')];
  const { status, stdout, stderr } = await runCommand(
    ['chaos', '--faults', 'split-one,kill,pause', '--seconds', '40', '--seed', '3', '--json', ...files],
    { timeoutMs: TIMEOUT_MS },
  );
  expect(status, stderr).toBe(0);
  // The verdict is the last line, and the only one.
  const lines = stdout.trim().split('\n');
  expect(lines).toHaveLength(1);
  const summary = JSON.parse(lines[0]!) as ChaosSummary;
  const results = new Map(summary.rulings.map(({ guarantee, result }) => [guarantee, result]));
  expect(summary.verdict).toBe('held');
  for (const guarantee of ['G1', 'G2', 'G4', 'G6', 'session', 'stale', 'recovery'] as const)
    expect(results.get(guarantee), guarantee).toBe('held');
  for (const guarantee of ['G7', 'G8', 'G9'] as const)
    expect(results.get(guarantee), guarantee).toBe('not exercised');
  expect(new Set(summary.kinds.map(({ kind }) => kind))).toEqual(new Set(['split-one', 'kill', 'pause']));
  expect(summary.totals.unconfirmed).toBe(0);
  expect(summary.totals.operations).toBeGreaterThan(1_000);
  expect(summary.leaderChanges.length).toBeGreaterThan(0);
  expect(eventsOf(stderr).filter(({ event }) => event === 'over')).toHaveLength(summary.totals.faults);

  const page = await readFile(join(directory, 'chaos.html'), 'utf8');
  for (const { kind, target } of summary.faults) expect(page).toContain(`${kind}: ${target}`);
  expect(page).not.toMatch(/https?:\/\/(?!www\.w3\.org)/);
  const checked = await runCommand(['check-history', join(directory, 'history.jsonl'), '--json']);
  expect(checked.status).toBe(0);
  expect(JSON.parse(checked.stdout)).toMatchObject({ result: 'ok' });
});

it('ends in good order when it is interrupted, and leaves no process and no directory', {
  timeout: TIMEOUT_MS,
}, async () => {
  const { output, end } = await startChaos('--faults', 'split-one,pause', '--seconds', '600');
  const started = eventsOf(output.stderr).find(({ event }) => event === 'started');
  const { directory } = started as Extract<ChaosEvent, { event: 'started' }>;
  expect(await processesIn(directory)).toHaveLength(4);
  expect(await end('SIGINT'), output.stderr).toBe(0);
  expect(JSON.parse(output.stdout.trim())).toMatchObject({ verdict: 'held' });
  expect(await processesIn(directory)).toEqual([]);
  await expect(readFile(join(directory, 'n1.log'))).rejects.toThrow('ENOENT');
});

it('ends its processes also when it is killed', { timeout: TIMEOUT_MS }, async () => {
  // Also a process that is stopped must not be left.
  const { output, end } = await startChaos('--faults', 'pause', '--seconds', '600');
  const started = eventsOf(output.stderr).find(({ event }) => event === 'started');
  const { directory } = started as Extract<ChaosEvent, { event: 'started' }>;
  onTestFinished(() => rm(directory, { recursive: true, force: true }));
  await end('SIGKILL');
  await eventually('no process in its directory', async (missing) => {
    const left = await processesIn(directory);
    return left.length === 0 ? true : missing(left.join('\n'));
  });
});

it.each([
  [['--faults', 'nothing'], 'there is no fault nothing'],
  [['--scenario', 'nothing'], 'Allowed choices'],
  [['--seconds', '0'], 'whole number'],
  [['--seed', 'x'], 'whole number'],
])('refuses %j', async (args, text) => {
  const { status, stderr } = await runCommand(['chaos', ...args]);
  expect(status).toBe(2);
  expect(stderr).toContain(text);
});

it('lists every fault and scenario, as docs/CHAOS.md does', async () => {
  const { status, stdout } = await runCommand(['chaos', '--list']);
  expect(status).toBe(0);
  const docs = await readFile(new URL('../../docs/CHAOS.md', import.meta.url), 'utf8');
  const kinds = stdout
    .split('\n\n')[0]!
    .split('\n')
    .map((line) => line.split(/ +/)[1]!);
  expect(kinds.length).toBeGreaterThan(25);
  for (const kind of kinds) expect(docs, kind).toContain(`\`${kind}\``);
});
